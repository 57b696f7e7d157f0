// Sends COUNT messages to a queue and receives them all, whichever node is lost meanwhile.
//
//	orders HOST:PORT[,HOST:PORT...] [NAMESPACE/]QUEUE COUNT
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Without an ack for so long, what is missing is lost.
const batch, idle = 50, 30 * time.Second

func main() {
	log.SetFlags(0)
	count, err := strconv.Atoi(os.Args[len(os.Args)-1])
	if len(os.Args) != 4 || err != nil {
		log.Fatal("usage: orders HOST:PORT[,HOST:PORT...] [NAMESPACE/]QUEUE COUNT")
	}
	ledger := newLedger(uuid.NewString(), count)
	if err := run(strings.Split(os.Args[1], ","), os.Args[2], count, ledger); err != nil {
		log.Fatal(err)
	}
	if !ledger.Report() {
		os.Exit(1)
	}
}

// run returns when all are acked, or none was for long.
func run(endpoints []string, queue string, count int, ledger *Ledger) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cluster, err := Dial(endpoints)
	if err != nil {
		return err
	}
	producer, err := NewProducer(ctx, cluster, queue)
	if err != nil {
		return err
	}
	consumer := &Consumer{Cluster: cluster, Queue: queue, Handle: ledger.Handle, OnAck: ledger.OnAck}
	failed := make(chan error, 2)
	go func() { failed <- consumer.Run(ctx) }()
	go func() {
		if err := send(ctx, producer, ledger, count); err != nil {
			failed <- err
		}
	}()
	for acked := 0; acked < count; acked++ {
		select {
		case err := <-failed:
			return err
		case <-ledger.acks:
		case <-time.After(idle):
			return nil
		}
	}
	return nil
}

func send(ctx context.Context, producer *Producer, ledger *Ledger, count int) error {
	for first := 0; first < count; first += batch {
		var bodies []string
		for number := first; number < min(first+batch, count); number++ {
			bodies = append(bodies, fmt.Sprintf("%s/%d", ledger.run, number))
		}
		if err := producer.Send(ctx, bodies); err != nil {
			return err
		}
		ledger.Sent(bodies)
	}
	return nil
}
