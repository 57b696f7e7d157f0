// Package drive drives clusters by their own clients.
package drive

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
	"roadstead.dev/bench/internal/load"
)

const (
	// prefetch is what a consumer may have unacked.
	prefetch = 500
	// unconfirmed is what a producer may have waiting for confirms before it waits itself.
	unconfirmed = 20_000
)

// RabbitMQ drives quorum queues: persistent messages, publisher confirms, manual acks.
type RabbitMQ struct {
	Nodes []string // amqp://… of each
}

var errRefused = errors.New("the broker did not confirm it (basic.nack)")

// home is the node to connect to: with one queue the one that leads it, as queues are led where
// they are declared; else all in turn.
func (r RabbitMQ) home(number int, queues []string) string {
	if len(queues) == 1 {
		return r.Nodes[0]
	}
	return r.Nodes[number%len(r.Nodes)]
}

// Make declares quorum queues, in turn on the nodes.
func (r RabbitMQ) Make(_ context.Context, queues []string, _ int) error {
	return r.each(queues, func(channel *amqp.Channel, queue string) error {
		arguments := amqp.Table{
			amqp.QueueTypeArg:             amqp.QueueTypeQuorum,
			"x-quorum-initial-group-size": len(r.Nodes),
		}
		_, err := channel.QueueDeclare(queue, true, false, false, false, arguments)
		return err
	})
}

// Drop deletes them.
func (r RabbitMQ) Drop(_ context.Context, queues []string) error {
	return r.each(queues, func(channel *amqp.Channel, queue string) error {
		_, err := channel.QueueDelete(queue, false, false, false)
		return err
	})
}

func (r RabbitMQ) each(queues []string, do func(*amqp.Channel, string) error) error {
	for number := range min(len(r.Nodes), len(queues)) {
		link, err := dialRabbitMQ(r.Nodes[number])
		if err != nil {
			return err
		}
		defer link.Close()
		for _, queue := range load.Share(queues, number, len(r.Nodes)) {
			if err := do(link.channel, queue); err != nil {
				return fmt.Errorf("queue %s: %w", queue, err)
			}
		}
	}
	return nil
}

// Ready is at once: a consumer is served when its basic.consume was answered.
func (r RabbitMQ) Ready(context.Context, []string, int) error { return nil }

// rabbitLink is one connection with one channel.
type rabbitLink struct {
	connection *amqp.Connection
	channel    *amqp.Channel
}

func dialRabbitMQ(address string) (rabbitLink, error) {
	connection, err := amqp.Dial(address)
	if err != nil {
		return rabbitLink{}, fmt.Errorf("cannot connect to %s: %w", address, err)
	}
	channel, err := connection.Channel()
	if err != nil {
		connection.Close()
		return rabbitLink{}, fmt.Errorf("cannot open a channel to %s: %w", address, err)
	}
	return rabbitLink{connection, channel}, nil
}

func (l rabbitLink) Close() { l.connection.Close() }

// rabbitProducer relies on confirmations in the order of publishing, which the client sees to.
type rabbitProducer struct {
	rabbitLink
	answers chan func(error)
}

// Producer publishes with confirms.
func (r RabbitMQ) Producer(
	_ context.Context, number int, queues []string,
) (load.Producer, error) {
	link, err := dialRabbitMQ(r.home(number, queues))
	if err != nil {
		return nil, err
	}
	if err := link.channel.Confirm(false); err != nil {
		link.Close()
		return nil, fmt.Errorf("cannot ask for confirms: %w", err)
	}
	confirms := link.channel.NotifyPublish(make(chan amqp.Confirmation, unconfirmed))
	p := rabbitProducer{link, make(chan func(error), unconfirmed)}
	go func() {
		for confirm := range confirms {
			answer := <-p.answers
			if confirm.Ack {
				answer(nil)
			} else {
				answer(errRefused)
			}
		}
	}()
	return p, nil
}

func (p rabbitProducer) Send(
	ctx context.Context, queue string, body []byte, answer func(error),
) error {
	select {
	case p.answers <- answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}
	return p.channel.PublishWithContext(ctx, "", queue, false, false, message)
}

// Consumer receives on one channel and acks one by one.
func (r RabbitMQ) Consumer(
	_ context.Context, number int, queues []string, sink load.Sink,
) (load.Closer, error) {
	link, err := dialRabbitMQ(r.home(number, queues))
	if err != nil {
		return nil, err
	}
	go func() {
		// The channel is closed without an error where this side closes it.
		for err := range link.channel.NotifyClose(make(chan *amqp.Error, 1)) {
			sink.Broken(err)
		}
	}()
	if err := link.channel.Qos(prefetch, 0, false); err != nil {
		link.Close()
		return nil, fmt.Errorf("cannot set the prefetch: %w", err)
	}
	for _, queue := range queues {
		messages, err := link.channel.Consume(queue, "", false, false, false, false, nil)
		if err != nil {
			link.Close()
			return nil, fmt.Errorf("cannot consume %s: %w", queue, err)
		}
		go func() {
			for message := range messages {
				sink.Take(message.Body)
				sink.Acked(message.Ack(false))
			}
		}()
	}
	return link, nil
}
