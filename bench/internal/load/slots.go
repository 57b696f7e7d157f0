package load

import (
	"context"
	"time"
)

// slots bound what a closed loop has on its way.
type slots chan struct{}

func newSlots(n int) slots {
	s := make(slots, n)
	for range n {
		s <- struct{}{}
	}
	return s
}

// take waits for a slot; false when the time is over before.
func (s slots) take(ctx context.Context, over <-chan time.Time) bool {
	select {
	case <-s:
		return true
	case <-over:
	case <-ctx.Done():
	}
	return false
}

// give returns one. A message that is acked twice returns one only.
func (s slots) give() {
	select {
	case s <- struct{}{}:
	default:
	}
}
