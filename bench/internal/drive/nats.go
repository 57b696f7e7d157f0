package drive

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"roadstead.dev/bench/internal/load"
)

const (
	// natsWindow is what a producer may have unconfirmed before publishing waits.
	natsWindow = 4_000
	// natsUnacked is what all consumers of a queue may have unacked.
	natsUnacked = 20_000
	natsGroup   = "workers"
	// natsStall is how long publishing waits for room before the run has failed.
	natsStall = 10 * time.Second
)

// NATS drives JetStream: a stream with three replicas and work-queue retention for each queue,
// asynchronous publishing, a pull consumer with explicit acks.
type NATS struct {
	Nodes map[string]string // nats://… by server name
}

// anyNode is all addresses; the client chooses.
func (n NATS) anyNode() string {
	var all []string
	for _, address := range n.Nodes {
		all = append(all, address)
	}
	return strings.Join(all, ",")
}

func (n NATS) dial(address string) (natsLink, error) {
	connection, err := nats.Connect(address, nats.Timeout(10*time.Second))
	if err != nil {
		return natsLink{}, fmt.Errorf("cannot connect to %s: %w", address, err)
	}
	stream, err := jetstream.New(connection,
		jetstream.WithPublishAsyncMaxPending(natsWindow),
		jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		connection.Close()
		return natsLink{}, err
	}
	return natsLink{connection, stream}, nil
}

// home connects to the node that leads the stream where there is one stream, else to any.
func (n NATS) home(ctx context.Context, queues []string) (natsLink, error) {
	link, err := n.dial(n.anyNode())
	if err != nil || len(queues) > 1 {
		return link, err
	}
	stream, err := link.stream.Stream(ctx, queues[0])
	if err != nil {
		link.Close()
		return natsLink{}, err
	}
	leader := stream.CachedInfo().Cluster.Leader
	if leader == link.connection.ConnectedServerName() || n.Nodes[leader] == "" {
		return link, nil
	}
	link.Close()
	return n.dial(n.Nodes[leader])
}

// natsLink is one connection.
type natsLink struct {
	connection *nats.Conn
	stream     jetstream.JetStream
}

func (l natsLink) Close() { l.connection.Close() }

// Make makes streams, and a consumer for each.
func (n NATS) Make(ctx context.Context, queues []string, _ int) error {
	link, err := n.dial(n.anyNode())
	if err != nil {
		return err
	}
	defer link.Close()
	for _, queue := range queues {
		_, err := link.stream.CreateStream(ctx, jetstream.StreamConfig{
			Name:      queue,
			Subjects:  []string{queue},
			Retention: jetstream.WorkQueuePolicy,
			Storage:   jetstream.FileStorage,
			Replicas:  len(n.Nodes),
		})
		if err != nil {
			return fmt.Errorf("stream %s: %w", queue, err)
		}
		_, err = link.stream.CreateConsumer(ctx, queue, jetstream.ConsumerConfig{
			Durable:       natsGroup,
			AckPolicy:     jetstream.AckExplicitPolicy,
			MaxAckPending: natsUnacked,
			AckWait:       time.Minute,
		})
		if err != nil {
			return fmt.Errorf("consumer of stream %s: %w", queue, err)
		}
	}
	return nil
}

// Drop deletes the streams.
func (n NATS) Drop(ctx context.Context, queues []string) error {
	link, err := n.dial(n.anyNode())
	if err != nil {
		return err
	}
	defer link.Close()
	for _, queue := range queues {
		if err := link.stream.DeleteStream(ctx, queue); err != nil {
			return fmt.Errorf("stream %s: %w", queue, err)
		}
	}
	return nil
}

// Ready is at once: a pull request waits on the server.
func (n NATS) Ready(context.Context, []string, int) error { return nil }

type natsProducer struct {
	natsLink
	unanswered chan natsAnswer
}

type natsAnswer struct {
	future jetstream.PubAckFuture
	answer func(error)
}

// Producer publishes asynchronously.
func (n NATS) Producer(ctx context.Context, _ int, queues []string) (load.Producer, error) {
	link, err := n.home(ctx, queues)
	if err != nil {
		return nil, err
	}
	p := natsProducer{link, make(chan natsAnswer, natsWindow)}
	go func() {
		// A stream confirms in order.
		for one := range p.unanswered {
			select {
			case <-one.future.Ok():
				one.answer(nil)
			case err := <-one.future.Err():
				one.answer(err)
			}
		}
	}()
	return p, nil
}

func (p natsProducer) Send(
	ctx context.Context, queue string, body []byte, answer func(error),
) error {
	future, err := p.stream.PublishMsgAsync(&nats.Msg{Subject: queue, Data: body},
		jetstream.WithStallWait(natsStall))
	if err != nil {
		return err
	}
	select {
	case p.unanswered <- natsAnswer{future, answer}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p natsProducer) Close() {
	close(p.unanswered)
	p.natsLink.Close()
}

// Consumer pulls, and acks one by one.
func (n NATS) Consumer(
	ctx context.Context, _ int, queues []string, sink load.Sink,
) (load.Closer, error) {
	link, err := n.home(ctx, queues)
	if err != nil {
		return nil, err
	}
	for _, queue := range queues {
		consumer, err := link.stream.Consumer(ctx, queue, natsGroup)
		if err != nil {
			link.Close()
			return nil, fmt.Errorf("consumer of stream %s: %w", queue, err)
		}
		_, err = consumer.Consume(func(message jetstream.Msg) {
			sink.Take(message.Data())
			sink.Acked(message.Ack())
		}, jetstream.PullMaxMessages(prefetch))
		if err != nil {
			link.Close()
			return nil, fmt.Errorf("cannot consume stream %s: %w", queue, err)
		}
	}
	return link, nil
}
