package main

//go:generate sh generate.sh

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "example.com/orders/stubs/roadstead/v1"
)

const (
	patience = 45 * time.Second // a send that is repeated within a minute is known again
	credit   = 100              // messages that are with the handlers at the same time
	lease    = 10 * time.Second
)

// Fault says why a call, or one entry of a batch, failed.
type Fault struct {
	Code      codes.Code
	Message   string
	Retryable bool // the same request may succeed later, or at another endpoint
}

func (f *Fault) Error() string { return f.Message }

func faultOf(err error) *Fault {
	var fault *Fault
	if errors.As(err, &fault) {
		return fault
	}
	answer := status.Convert(err)
	for _, detail := range answer.Details() {
		if detail, ok := detail.(*pb.ErrorDetail); ok {
			return &Fault{answer.Code(), answer.Message(), detail.Retryable}
		}
	}
	// No node of Roadstead said it: it is dead, or this is not its port.
	return &Fault{codes.Unavailable, answer.Message(), true}
}

func entryFault(e *pb.EntryError) *Fault {
	return &Fault{codes.Code(e.GetCode()), e.GetMessage(), e.GetRetryable()}
}

func queueRef(name string) *pb.QueueRef {
	if namespace, short, ok := strings.Cut(name, "/"); ok {
		return &pb.QueueRef{Namespace: namespace, Name: short}
	}
	return &pb.QueueRef{Namespace: "default", Name: name}
}

// Cluster goes to the first endpoint that answers: any node serves any request.
type Cluster struct {
	mu    sync.Mutex
	conns []*grpc.ClientConn
}

// Dial takes addresses, host:port each. Connections are made when they are needed.
func Dial(endpoints []string) (*Cluster, error) {
	cluster := &Cluster{}
	for _, endpoint := range endpoints {
		conn, err := grpc.NewClient(endpoint,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{
				Time: 10 * time.Second, Timeout: 5 * time.Second,
			}))
		if err != nil {
			return nil, err
		}
		cluster.conns = append(cluster.conns, conn)
	}
	return cluster, nil
}

func (c *Cluster) first() *grpc.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conns[0]
}

// leave moves on to the next endpoint, unless somebody else did.
func (c *Cluster) leave(conn *grpc.ClientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn == c.conns[0] {
		c.conns = append(c.conns[1:], conn)
	}
}

// call makes the attempt at one endpoint after the other, as long as that may help.
func (c *Cluster) call(ctx context.Context, attempt func(*grpc.ClientConn) error) error {
	giveUp := time.Now().Add(patience)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		conn := c.first()
		err := attempt(conn)
		if err == nil {
			return nil
		}
		fault := faultOf(err)
		if !fault.Retryable || time.Now().After(giveUp) {
			return fault
		}
		c.leave(conn)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

// Producer sends one batch after the other, to each partition of a queue in turn.
type Producer struct {
	cluster *Cluster
	queue   *pb.QueueRef
	id      string
	next    []uint64 // the number of each partition's next message
	turn    int
}

// NewProducer asks for the number of partitions; it fails where there is no such queue.
func NewProducer(ctx context.Context, cluster *Cluster, queue string) (*Producer, error) {
	p := &Producer{cluster: cluster, queue: queueRef(queue), id: uuid.NewString()}
	return p, cluster.call(ctx, func(conn *grpc.ClientConn) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		answer, err := pb.NewQueueServiceClient(conn).GetQueue(ctx, &pb.GetQueueRequest{Queue: p.queue})
		for range answer.GetQueue().GetSpec().GetPartitions() {
			p.next = append(p.next, 1)
		}
		return err
	})
}

// Send returns when all are on disk on a majority. A retry carries the same numbers.
func (p *Producer) Send(ctx context.Context, bodies []string) error {
	partition := uint32(p.turn % len(p.next))
	request := &pb.SendRequest{
		Queue:     p.queue,
		Partition: &partition,
		Producer:  &pb.Producer{Id: p.id, FirstSequence: p.next[partition]},
	}
	for _, body := range bodies {
		request.Messages = append(request.Messages, &pb.OutgoingMessage{Body: []byte(body)})
	}
	err := p.cluster.call(ctx, func(conn *grpc.ClientConn) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		answer, err := pb.NewMessageServiceClient(conn).Send(ctx, request)
		for _, result := range answer.GetResults() {
			if result.Error != nil {
				return entryFault(result.Error)
			}
		}
		return err
	})
	p.next[partition] += uint64(len(bodies))
	p.turn++
	return err
}
