package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// drain is how long messages that are still on their way are received after the window.
	drain = time.Second
	// grace is how long answers to sends are waited for after the window.
	grace = 5 * time.Second
	// patience is how long making and deleting queues may take, and consumers to be served.
	patience = 2 * time.Minute
	// pause is between everything being ready and the first message.
	pause = 200 * time.Millisecond
)

// Drive carries out a schedule by a driver. Queues get the name and a number, and are deleted
// afterwards. Begun is called when the window begins.
func Drive(
	ctx context.Context, driver Driver, schedule Schedule, name string, begun func(),
) (Result, error) {
	if err := schedule.Check(); err != nil {
		return Result{}, err
	}
	queues := make([]string, schedule.Queues)
	for i := range queues {
		queues[i] = fmt.Sprintf("%s-%d", name, i)
	}
	making, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := driver.Make(making, queues, schedule.Partitions); err != nil {
		return Result{}, fmt.Errorf("cannot make %d queues: %w", len(queues), err)
	}
	r := &run{driver: driver, schedule: schedule, queues: queues}
	result, err := r.measure(ctx, begun)
	dropping, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if dropped := driver.Drop(dropping, queues); err == nil && dropped != nil {
		err = fmt.Errorf("cannot delete %d queues: %w", len(queues), dropped)
	}
	return result, err
}

// run is a schedule that is being carried out.
type run struct {
	driver   Driver
	schedule Schedule
	queues   []string
	slots    slots // of the whole way; nil otherwise
}

func (r *run) measure(ctx context.Context, begun func()) (Result, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if r.schedule.Outstanding > 0 {
		r.slots = newSlots(r.schedule.Outstanding)
	}
	stamps := NewStamps(r.schedule.Size, time.Now())
	producers, err := r.producers(ctx)
	defer closeAll(producers)
	if err != nil {
		return Result{}, err
	}
	// Consumers come before the window is known.
	sinks, consumers, err := r.consumers(ctx, stamps, fail)
	defer closeAll(consumers)
	if err != nil {
		return Result{}, err
	}
	ready, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.driver.Ready(ready, r.queues, len(consumers)); err != nil {
		return Result{}, fmt.Errorf("consumers are not served: %w", err)
	}
	window := r.schedule.window(time.Now().Add(pause))
	for _, sink := range sinks {
		sink.begin(window)
	}
	timer := time.AfterFunc(time.Until(window.From), begun)
	defer timer.Stop()
	senders := r.senders(producers, stamps, window)
	var sending sync.WaitGroup
	for _, one := range senders {
		sending.Go(func() {
			if err := one.run(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("a producer cannot go on: %w", err))
			}
		})
	}
	sending.Wait()
	sleep(ctx, time.Until(window.Until.Add(drain)))
	result := NewResult()
	for _, one := range senders {
		one.meter.addTo(&result)
	}
	for _, sink := range sinks {
		sink.meter.Load().addTo(&result)
	}
	return result, context.Cause(ctx)
}

func (r *run) producers(ctx context.Context) ([]Producer, error) {
	var all []Producer
	for i := range r.schedule.Producers {
		queues := Share(r.queues, i, r.schedule.Producers)
		one, err := r.driver.Producer(ctx, i, queues)
		if err != nil {
			return all, fmt.Errorf("cannot start producer %d: %w", i, err)
		}
		all = append(all, one)
	}
	return all, nil
}

func (r *run) consumers(
	ctx context.Context, stamps *Stamps, fail context.CancelCauseFunc,
) (sinks []*sink, all []Closer, err error) {
	for i := range r.schedule.Consumers {
		sink := &sink{stamps: stamps, slots: r.slots, fail: fail}
		sink.begin(Window{})
		queues := Share(r.queues, i, r.schedule.Consumers)
		one, err := r.driver.Consumer(ctx, i, queues, sink)
		if err != nil {
			return sinks, all, fmt.Errorf("cannot start consumer %d: %w", i, err)
		}
		sinks, all = append(sinks, sink), append(all, one)
	}
	return sinks, all, nil
}

func (r *run) senders(producers []Producer, stamps *Stamps, window Window) []*sender {
	senders := make([]*sender, len(producers))
	for i, producer := range producers {
		senders[i] = &sender{
			schedule: r.schedule,
			producer: producer,
			queues:   Share(r.queues, i, r.schedule.Producers),
			stamps:   stamps,
			meter:    newMeter(window),
			slots:    r.slots,
		}
		if r.schedule.Batch > 0 {
			senders[i].slots = newSlots(r.schedule.Batch)
		}
	}
	return senders
}

func closeAll[T Closer](all []T) {
	for _, one := range all {
		one.Close()
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// errBroken is the cause where a consumer says that it cannot go on.
var errBroken = errors.New("a consumer cannot go on")
