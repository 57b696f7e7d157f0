package load

import (
	"context"
	"fmt"
	"sync/atomic"
)

// sink measures what one consumer receives.
type sink struct {
	stamps *Stamps
	meter  atomic.Pointer[meter]
	slots  slots // of the whole way; nil otherwise
	fail   context.CancelCauseFunc
}

// begin measures in this window from now on.
func (s *sink) begin(window Window) { s.meter.Store(newMeter(window)) }

func (s *sink) Take(body []byte) {
	if due, ok := s.stamps.Read(body); ok {
		s.meter.Load().received(due)
	}
}

func (s *sink) Acked(err error) {
	s.meter.Load().acked(err)
	if s.slots != nil && err == nil {
		s.slots.give()
	}
}

func (s *sink) Broken(err error) { s.fail(fmt.Errorf("%w: %w", errBroken, err)) }
