package main

import (
	"context"
	"log"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/orders/stubs/roadstead/v1"
)

// Consumer calls Handle for up to `credit` messages at once, and OnAck when one is gone for good.
type Consumer struct {
	Cluster *Cluster
	Queue   string
	Handle  func(context.Context, *pb.Delivery) error // an error is a nack
	OnAck   func(*pb.Delivery)

	session string // the same for every stream, so that leases go on
	streams uint64
	mu      sync.Mutex          // of what follows, and of what is written to the stream
	held    map[string]struct{} // receipts of what is not settled
	stream  grpc.BidiStreamingClient[pb.ReceiveStreamRequest, pb.ReceiveStreamResponse]
}

// Run receives until the context ends; a stream that breaks is followed by another one.
func (c *Consumer) Run(ctx context.Context) error {
	c.session, c.held = uuid.NewString(), map[string]struct{}{}
	for {
		open := func(conn *grpc.ClientConn) error { return c.open(ctx, conn) }
		if err := c.Cluster.call(ctx, open); err != nil {
			return err
		}
		if fault := c.receive(ctx); !fault.Retryable {
			return fault
		}
	}
}

func (c *Consumer) open(ctx context.Context, conn *grpc.ClientConn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams++
	start := &pb.ReceiveStreamOpen{
		Queue:     queueRef(c.Queue),
		SessionId: c.session,
		Stream:    c.streams,
		Lease:     durationpb.New(lease),
	}
	for receipt := range c.held {
		start.HeldReceipts = append(start.HeldReceipts, []byte(receipt))
	}
	ctx, cancel := context.WithCancel(ctx)
	tooLong := time.AfterFunc(5*time.Second, cancel)
	defer tooLong.Stop()
	stream, err := pb.NewMessageServiceClient(conn).ReceiveStream(ctx)
	if err != nil {
		return err
	}
	c.stream = stream
	c.send(&pb.ReceiveStreamRequest{Frame: &pb.ReceiveStreamRequest_Open{Open: start}})
	if _, err := stream.Recv(); err != nil { // else it is `opened`
		return err
	}
	c.grant(credit - len(c.held))
	return nil
}

// receive returns when the stream has ended.
func (c *Consumer) receive(ctx context.Context) *Fault {
	for {
		frame, err := c.stream.Recv()
		if err != nil {
			return faultOf(err)
		}
		for _, delivery := range frame.GetDeliveries().GetDeliveries() {
			c.mu.Lock()
			c.held[string(delivery.Receipt)] = struct{}{}
			c.mu.Unlock()
			go c.work(ctx, delivery)
		}
	}
}

// send needs the lock. An error is none: Recv says that the stream has ended, and why.
func (c *Consumer) send(frame *pb.ReceiveStreamRequest) { _ = c.stream.Send(frame) }

// grant lets so many more messages come; needs the lock.
func (c *Consumer) grant(messages int) {
	more := &pb.ReceiveCredit{Messages: uint32(messages)}
	c.send(&pb.ReceiveStreamRequest{Frame: &pb.ReceiveStreamRequest_Credit{Credit: more}})
}

// work extends the lease for as long as the handler works, then settles.
func (c *Consumer) work(ctx context.Context, delivery *pb.Delivery) {
	handling, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Handle(handling, delivery) }()
	if err := c.settleWhen(ctx, done, delivery); err != nil && ctx.Err() == nil {
		log.Printf("%s will be delivered again: %v", delivery.MessageId, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, string(delivery.Receipt))
	c.grant(1)
}

func (c *Consumer) settleWhen(ctx context.Context, done <-chan error, d *pb.Delivery) error {
	extend := &pb.Settlement_Extend{Extend: &pb.Extend{Lease: durationpb.New(lease)}}
	ticker := time.NewTicker(lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := c.settle(ctx, &pb.Settlement{Receipt: d.Receipt, Action: extend}); err != nil {
				return err
			}
		case failed := <-done:
			if failed != nil {
				nack := &pb.Settlement_Nack{Nack: &pb.Nack{Error: failed.Error()}}
				return c.settle(ctx, &pb.Settlement{Receipt: d.Receipt, Action: nack})
			}
			ack := &pb.Settlement_Ack{Ack: &pb.Ack{}}
			err := c.settle(ctx, &pb.Settlement{Receipt: d.Receipt, Action: ack})
			if err == nil {
				c.OnAck(d)
			}
			return err
		}
	}
}

func (c *Consumer) settle(ctx context.Context, settlement *pb.Settlement) error {
	request := &pb.SettleRequest{
		Queue:       queueRef(c.Queue),
		Settlements: []*pb.Settlement{settlement},
	}
	tries := 0
	return c.Cluster.call(ctx, func(conn *grpc.ClientConn) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		tries++
		answer, err := pb.NewMessageServiceClient(conn).Settle(ctx, request)
		if err != nil {
			return err
		}
		fault := answer.Results[0].Error
		// Gone at the second try: the first one did it, and its answer was lost.
		if fault == nil || (codes.Code(fault.Code) == codes.NotFound && tries > 1) {
			return nil
		}
		return entryFault(fault)
	})
}
