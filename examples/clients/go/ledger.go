package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "example.com/orders/stubs/roadstead/v1"
)

// A message whose number ends so takes longer than its lease.
const slow = "00"

// Ledger says what was sent, how often each message came under which id, and what was acked.
type Ledger struct {
	run         string
	acks        chan struct{}
	mu          sync.Mutex
	sent, acked map[string]bool
	came        map[string]map[string]int
}

func newLedger(run string, count int) *Ledger {
	return &Ledger{
		run: run, acks: make(chan struct{}, count),
		sent: map[string]bool{}, acked: map[string]bool{}, came: map[string]map[string]int{},
	}
}

// Handle is the work. A message may come twice: what is done here has to bear that.
func (l *Ledger) Handle(ctx context.Context, delivery *pb.Delivery) error {
	body := string(delivery.Body)
	if !strings.HasPrefix(body, l.run) {
		return nil // an earlier run did not take it
	}
	l.mu.Lock()
	if l.came[body] == nil {
		l.came[body] = map[string]int{}
	}
	l.came[body][delivery.MessageId]++
	l.mu.Unlock()
	if strings.HasSuffix(body, slow) {
		select {
		case <-time.After(lease * 3 / 2):
		case <-ctx.Done(): // the lease is lost
			return ctx.Err()
		}
	}
	return nil
}

// OnAck hears of each ack that is certain.
func (l *Ledger) OnAck(delivery *pb.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	body := string(delivery.Body)
	if strings.HasPrefix(body, l.run) && !l.acked[body] {
		l.acked[body] = true
		l.acks <- struct{}{}
	}
}

// Sent hears of each batch that was accepted.
func (l *Ledger) Sent(bodies []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, body := range bodies {
		l.sent[body] = true
	}
}

// Report prints one line, and says whether all were acked and none was stored twice.
func (l *Ledger) Report() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, duplicates, doubled := 0, 0, 0
	for body := range l.sent {
		if l.came[body] == nil {
			lost++
		}
	}
	for _, ids := range l.came {
		duplicates--
		for _, times := range ids {
			duplicates += times
		}
		if len(ids) > 1 {
			doubled++
		}
	}
	line := fmt.Sprintf("sent=%d acked=%d lost=%d duplicates=%d",
		len(l.sent), len(l.acked), lost, duplicates)
	if doubled > 0 {
		line += fmt.Sprintf(" doubled=%d", doubled)
	}
	fmt.Println(line)
	return len(l.acked) == len(l.sent) && lost == 0 && doubled == 0
}
