package load

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// sender is one producer of a run.
type sender struct {
	schedule Schedule
	producer Producer
	queues   []string
	stamps   *Stamps
	meter    *meter
	slots    slots // nil at a fixed rate
	sent     int
	unasked  sync.WaitGroup // messages without an answer
}

// run sends until the window ends, and waits for the answers.
func (s *sender) run(ctx context.Context) error {
	time.Sleep(time.Until(s.meter.window.Start))
	var err error
	if s.schedule.Rate > 0 {
		err = s.fixedRate(ctx)
	} else {
		err = s.closedLoop(ctx)
	}
	answered := make(chan struct{})
	go func() { s.unasked.Wait(); close(answered) }()
	select {
	case <-answered:
	case <-time.After(time.Until(s.meter.window.Until.Add(grace))):
	}
	return err
}

// closedLoop sends a message for each slot that comes free.
func (s *sender) closedLoop(ctx context.Context) error {
	over := time.After(time.Until(s.meter.window.Until))
	for s.slots.take(ctx, over) {
		due := time.Now()
		if !due.Before(s.meter.window.Until) {
			break
		}
		if err := s.send(ctx, due); err != nil {
			return err
		}
	}
	return nil
}

// fixedRate sends each message when it is due, however slow the answers are. Its latency counts
// from when it was due: a stall is felt by every message that it holds up. What was due and could
// not be sent within the window is not sent.
func (s *sender) fixedRate(ctx context.Context) error {
	interval := s.schedule.interval()
	due := s.meter.window.Start.Add(time.Duration(rand.Float64() * float64(interval)))
	for ctx.Err() == nil {
		switch decide(due, time.Now(), s.meter.window.Until) {
		case stop:
			return nil
		case wait:
			nap(time.Until(due))
		case send:
			// Naps end a little late; what became due meanwhile goes out together.
			if err := s.send(ctx, due); err != nil {
				return err
			}
			due = due.Add(interval)
		}
	}
	return nil
}

func (s *sender) send(ctx context.Context, due time.Time) error {
	s.sent++
	queue := s.queues[s.sent%len(s.queues)]
	s.unasked.Add(1)
	return s.producer.Send(ctx, queue, s.stamps.Body(due), func(err error) {
		s.meter.confirmed(due, err)
		// Over the whole way a slot comes back with the ack; a failed send has none.
		if s.slots != nil && (s.schedule.Batch > 0 || err != nil) {
			s.slots.give()
		}
		s.unasked.Done()
	})
}

// nap sleeps to some 60 us: the timers of Go are late by up to a millisecond, which would count as
// the cluster's. It may end early.
func nap(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&left, nil)
}

// step is what there is to do about the next message.
type step int

const (
	send step = iota
	wait
	stop
)

// decide goes by the real clock, however many messages are overdue.
func decide(due, now, until time.Time) step {
	switch {
	case !now.Before(until) || !due.Before(until):
		return stop
	case now.Before(due):
		return wait
	default:
		return send
	}
}
