// Package load puts a schedule of messages on a cluster and measures how they pass through it.
package load

import (
	"errors"
	"fmt"
	"time"
)

// Schedule says what is sent, how fast, and for how long. Exactly one of Rate, Outstanding and
// Batch is set.
type Schedule struct {
	Queues     int `json:"queues"`
	Partitions int `json:"partitions"` // of each queue, where the cluster has them
	Producers  int `json:"producers"`
	Consumers  int `json:"consumers"`
	Size       int `json:"size"` // bytes per body, at least StampBytes
	// Rate is open loop: messages a second over all producers, each sent when it is due.
	Rate float64 `json:"rate,omitempty"`
	// Outstanding is closed loop over the whole way: messages of all producers that may be on
	// their way, from being sent to being acked.
	Outstanding int `json:"outstanding,omitempty"`
	// Batch is closed loop of sending: messages that each producer may have unconfirmed.
	Batch    int           `json:"batch,omitempty"`
	WarmUp   time.Duration `json:"warmUp"`
	Duration time.Duration `json:"duration"`
}

// Check says what is wrong with a schedule.
func (s Schedule) Check() error {
	kinds := 0
	for _, set := range []bool{s.Rate > 0, s.Outstanding > 0, s.Batch > 0} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return errors.New("a schedule has exactly one of rate, outstanding and batch")
	case s.Queues < 1 || s.Partitions < 1 || s.Producers < 1 || s.Consumers < 1:
		return errors.New("a schedule has at least one queue, partition, producer and consumer")
	case s.Size < StampBytes:
		return fmt.Errorf("a body of %d bytes has no room for its stamp of %d", s.Size, StampBytes)
	case s.Duration <= 0:
		return errors.New("a schedule measures for some time")
	}
	return nil
}

// interval is the time between two messages of one producer at a fixed rate.
func (s Schedule) interval() time.Duration {
	return time.Duration(float64(s.Producers) / s.Rate * float64(time.Second))
}

// Share is what the one with this number of so many has to do with: everything has one of them, and
// each of them has something.
func Share[T any](all []T, number, of int) []T {
	var some []T
	for i := number % len(all); i < len(all); i += of {
		some = append(some, all[i])
	}
	return some
}

// Window is when a run begins, is measured, and ends.
type Window struct {
	Start, From, Until time.Time
}

func (s Schedule) window(start time.Time) Window {
	from := start.Add(s.WarmUp)
	return Window{Start: start, From: from, Until: from.Add(s.Duration)}
}

// Measures says whether what happens at this time counts.
func (w Window) Measures(at time.Time) bool {
	return !at.Before(w.From) && at.Before(w.Until)
}
