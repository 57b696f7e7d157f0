package load

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// memory is a driver whose cluster is one channel. It takes nothing for a while, once.
type memory struct {
	queue   chan []byte
	stall   time.Duration
	refuse  bool
	stalled sync.Once
	began   time.Time
	onWay   atomic.Int64
	most    atomic.Int64
	dropped []string
}

func newMemory() *memory { return &memory{queue: make(chan []byte, 100_000), began: time.Now()} }

func (m *memory) Make(context.Context, []string, int) error { return nil }
func (m *memory) Drop(_ context.Context, queues []string) error {
	m.dropped = queues
	return nil
}
func (m *memory) Ready(context.Context, []string, int) error { return nil }
func (m *memory) Close()                                     {}

func (m *memory) Producer(context.Context, int, []string) (Producer, error) { return m, nil }

func (m *memory) Send(_ context.Context, _ string, body []byte, answer func(error)) error {
	if m.refuse {
		go answer(errors.New("no room"))
		return nil
	}
	if m.stall > 0 && time.Since(m.began) > 800*time.Millisecond {
		m.stalled.Do(func() { time.Sleep(m.stall) })
	}
	on := m.onWay.Add(1)
	if on > m.most.Load() {
		m.most.Store(on)
	}
	m.queue <- body
	answer(nil)
	return nil
}

func (m *memory) Consumer(_ context.Context, _ int, _ []string, sink Sink) (Closer, error) {
	go func() {
		for body := range m.queue {
			sink.Take(body)
			m.onWay.Add(-1)
			sink.Acked(nil)
		}
	}()
	return m, nil
}

func drive(t *testing.T, m *memory, schedule Schedule) Result {
	t.Helper()
	begun := 0
	result, err := Drive(t.Context(), m, schedule, "test", func() { begun++ })
	if err != nil {
		t.Fatal(err)
	}
	if begun != 1 || len(m.dropped) != schedule.Queues {
		t.Errorf("begun %d times, dropped %v", begun, m.dropped)
	}
	return result
}

// A closed loop over the whole way has no more on its way than it may, and goes on.
func TestAClosedLoopIsBounded(t *testing.T) {
	t.Parallel()
	m, schedule := newMemory(), small()
	schedule.Queues, schedule.Outstanding, schedule.Producers, schedule.Consumers = 3, 5, 2, 2
	result := drive(t, m, schedule)
	if most := m.most.Load(); most > 5 {
		t.Errorf("%d were on their way", most)
	}
	if result.Acked < 1_000 || result.Failed > 0 {
		t.Errorf("%d acked, %d failed", result.Acked, result.Failed)
	}
}

// With a batch, a slot comes back with the confirmation.
func TestABatchIsOfUnconfirmed(t *testing.T) {
	t.Parallel()
	schedule := small()
	schedule.Batch = 1
	if result := drive(t, newMemory(), schedule); result.Confirmed < 1_000 {
		t.Errorf("%d confirmed", result.Confirmed)
	}
}

// A stall is felt by all that was due meanwhile, not by one message: no coordinated omission.
func TestAStallIsFeltByWhatWasDueMeanwhile(t *testing.T) {
	t.Parallel()
	m, schedule := newMemory(), small()
	m.stall = 200 * time.Millisecond
	schedule.Rate, schedule.Duration = 1_000, time.Second
	result := drive(t, m, schedule)
	if sent := result.Confirmed; sent < 900 || sent > 1_010 {
		t.Errorf("%d sent at 1,000/s in a second", sent)
	}
	// Some 200 of 1,000 waited, from 200 ms down to none.
	if p90 := result.EndToEnd.Ms(0.9); p90 < 50 {
		t.Errorf("p90 is %f ms", p90)
	}
	if p50 := result.EndToEnd.Ms(0.5); p50 > 50 {
		t.Errorf("p50 is %f ms", p50)
	}
}

// Refused sends are counted, named, and do not stop a closed loop for ever.
func TestRefusedSendsAreNamed(t *testing.T) {
	t.Parallel()
	m, schedule := newMemory(), small()
	m.refuse = true
	schedule.Outstanding = 2
	result := drive(t, m, schedule)
	if result.Failed < 10 || result.Error != "no room" || result.Acked > 0 {
		t.Errorf("%d failed (%s), %d acked", result.Failed, result.Error, result.Acked)
	}
}
