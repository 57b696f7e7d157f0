package drive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"roadstead.dev/bench/internal/load"
)

const (
	// kafkaBuffer is what a producer may have unconfirmed before producing waits.
	kafkaBuffer = 20_000
	// poll is how often it is asked whether the members of a group have their partitions.
	poll = 100 * time.Millisecond
)

// Kafka drives topics that are read by a share group: acks from all replicas in sync, an accept for
// each message.
type Kafka struct {
	Nodes []string // host:port
	// Linger is how long a producer waits for company for a message.
	Linger time.Duration
}

// group is the share group of a run, whichever of its queues these are.
func group(queues []string) string {
	return "workers-" + queues[0][:strings.LastIndexByte(queues[0], '-')]
}

func (k Kafka) admin(do func(*kadm.Client) error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Nodes...))
	if err != nil {
		return err
	}
	defer client.Close()
	return do(kadm.NewClient(client))
}

// Make makes topics, and has their share group read from the beginning.
func (k Kafka) Make(ctx context.Context, queues []string, partitions int) error {
	return k.admin(func(admin *kadm.Client) error {
		made, err := admin.CreateTopics(ctx, int32(partitions), int16(len(k.Nodes)), nil, queues...)
		if err != nil {
			return err
		}
		if err := made.Error(); err != nil {
			return err
		}
		return fromTheBeginning(ctx, k.Nodes, group(queues))
	})
}

// fromTheBeginning makes a share group read what was sent before it came.
func fromTheBeginning(ctx context.Context, nodes []string, group string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(nodes...))
	if err != nil {
		return err
	}
	defer client.Close()
	setting := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	setting.Name = "share.auto.offset.reset"
	setting.Value = kmsg.StringPtr("earliest")
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType = kmsg.ConfigResourceTypeGroupConfig
	resource.ResourceName = group
	resource.Configs = append(resource.Configs, setting)
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	for _, one := range response.Resources {
		if err := kerr.ErrorForCode(one.ErrorCode); err != nil {
			return fmt.Errorf("share group %s: %w", group, err)
		}
	}
	return nil
}

// Drop deletes the topics and the group.
func (k Kafka) Drop(ctx context.Context, queues []string) error {
	return k.admin(func(admin *kadm.Client) error {
		deleted, err := admin.DeleteTopics(ctx, queues...)
		if err != nil {
			return err
		}
		return deleted.Error()
	})
}

// Ready waits until every partition is read by somebody, and every member reads.
func (k Kafka) Ready(ctx context.Context, queues []string, consumers int) error {
	return k.admin(func(admin *kadm.Client) error {
		for {
			groups, err := admin.DescribeShareGroups(ctx, group(queues))
			if err == nil && served(groups[group(queues)], consumers) {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("share group %s: %w", group(queues), errors.Join(ctx.Err(), err))
			case <-time.After(poll):
			}
		}
	})
}

func served(group kadm.DescribedShareGroup, consumers int) bool {
	if group.Err != nil || len(group.Members) != consumers {
		return false
	}
	for _, member := range group.Members {
		if len(member.Assignment) == 0 {
			return false
		}
	}
	return group.GroupState == "Stable"
}

type kafkaProducer struct{ *kgo.Client }

// Producer produces with acks of all replicas, idempotently.
func (k Kafka) Producer(context.Context, int, []string) (load.Producer, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(k.Nodes...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(k.Linger),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(kafkaBuffer),
	)
	return kafkaProducer{client}, err
}

func (p kafkaProducer) Send(
	ctx context.Context, queue string, body []byte, answer func(error),
) error {
	record := &kgo.Record{Topic: queue, Value: body}
	p.Produce(ctx, record, func(_ *kgo.Record, err error) { answer(err) })
	return nil
}

// kafkaConsumer polls until it is closed.
type kafkaConsumer struct {
	client *kgo.Client
	stop   context.CancelFunc
	ended  chan struct{}
}

// Consumer is a member of the share group.
func (k Kafka) Consumer(
	_ context.Context, _ int, queues []string, sink load.Sink,
) (load.Closer, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(k.Nodes...),
		kgo.ConsumeTopics(queues...),
		kgo.ShareGroup(group(queues)),
		kgo.ShareMaxRecords(prefetch),
		kgo.ShareAckCallback(func(_ *kgo.Client, results kgo.ShareAckResults) {
			for _, one := range results {
				if one.Err != nil {
					sink.Acked(one.Err)
				}
			}
		}),
	)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := kafkaConsumer{client, stop, make(chan struct{})}
	go c.run(ctx, sink)
	return c, nil
}

func (c kafkaConsumer) run(ctx context.Context, sink load.Sink) {
	defer close(c.ended)
	for ctx.Err() == nil {
		fetches := c.client.PollFetches(ctx)
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			if ctx.Err() == nil {
				sink.Broken(fmt.Errorf("partition %d of %s: %w", partition, topic, err))
			}
		})
		fetches.EachRecord(func(record *kgo.Record) {
			sink.Take(record.Value)
			record.Ack(kgo.AckAccept)
			sink.Acked(nil)
		})
	}
}

func (c kafkaConsumer) Close() {
	c.stop()
	<-c.ended
	c.client.Close()
}

// Serves says what is missing until every broker is known.
func (k Kafka) Serves(ctx context.Context) error {
	return k.admin(func(admin *kadm.Client) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		brokers, err := admin.ListBrokers(ctx)
		if err == nil && len(brokers) != len(k.Nodes) {
			err = fmt.Errorf("%d of %d brokers are known", len(brokers), len(k.Nodes))
		}
		return err
	})
}
