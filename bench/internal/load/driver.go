package load

import "context"

// Driver drives one kind of cluster by its own client.
type Driver interface {
	// Make makes queues with so many partitions each, empty and ready to be used.
	Make(ctx context.Context, queues []string, partitions int) error
	// Drop deletes them with what is in them.
	Drop(ctx context.Context, queues []string) error
	// Producer makes one that sends to these queues; numbers count from 0.
	Producer(ctx context.Context, number int, queues []string) (Producer, error)
	// Consumer makes one that receives from these queues, hands each message to the sink and then
	// acks it by itself, until it is closed.
	Consumer(ctx context.Context, number int, queues []string, sink Sink) (Closer, error)
	// Ready returns when so many consumers are served.
	Ready(ctx context.Context, queues []string, consumers int) error
}

// Producer sends; used by one goroutine.
type Producer interface {
	// Send hands a message over, and may wait for room. The answer is called once, when the cluster
	// has confirmed or refused it, by any goroutine.
	Send(ctx context.Context, queue string, body []byte, answer func(error)) error
	Closer
}

// Closer lets go of its connections.
type Closer interface {
	Close()
}

// Sink takes what one consumer receives; its methods may be called by any goroutine.
type Sink interface {
	// Take is called for each message, before it is acked.
	Take(body []byte)
	// Acked is called for each ack: when the cluster confirmed it, or where its protocol has no
	// confirmation, when the client has taken it over.
	Acked(err error)
	// Broken is called when the consumer cannot go on.
	Broken(err error)
}
