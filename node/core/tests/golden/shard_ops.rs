//! One op of each kind of a shard, with everything in it that an op can carry.

use bytes::Bytes;
use roadstead_core::shard::*;

use super::sticky_ops::sticky;

pub const PARTITION: PartitionId = PartitionId {
    queue: 7,
    partition: 1,
};
pub const TARGET: PartitionId = PartitionId {
    queue: 8,
    partition: 0,
};
const SESSION: SessionId = SessionId(0xfeed);

pub fn shard_ops() -> Vec<(&'static str, Op)> {
    let (partition, source, target) = (PARTITION, PARTITION, TARGET);
    let drop = DropPartition {
        partition,
        only_if_empty: true,
    };
    let [configure_sticky, _, receive_of_slots] = sticky();
    vec![
        ("configure", configure()),
        ("drop", Op::Drop(drop)),
        ("settle", settle()),
        ("send", send()),
        ("receive", receive()),
        (
            "release session",
            Op::ReleaseSession(ReleaseSession {
                partition,
                session: SESSION,
            }),
        ),
        ("tick", Op::Tick),
        ("accept", accept()),
        (
            "outbox done",
            Op::OutboxDone(OutboxDone {
                source,
                target,
                through: 6,
            }),
        ),
        (
            "purge",
            Op::Purge(Purge {
                partition,
                from: None,
            }),
        ),
        (
            "digest",
            Op::Digest(Digest::largest(Bytes::from_static(b"\x10k"))),
        ),
        (
            "configure deduplication",
            configure_deduplication(PARTITION),
        ),
        ("send with ids", send_with_ids(PARTITION)),
        ("configure overflow", configure_overflow(PARTITION)),
        ("send atomic", send_atomic(PARTITION)),
        ("complete", complete(PARTITION)),
        ("redrive", redrive()),
        ("delete message", delete(vec![LEASE])),
        ("delete message that is not leased", delete(Vec::new())),
        ("configure groups", configure_groups(PARTITION)),
        ("configure lanes", configure_lanes(PARTITION)),
        ("receive at most once", receive_once()),
        ("configure breaker and rate", configure_breaker(PARTITION)),
        ("seek beginning", seek(PARTITION, SeekTo::Beginning)),
        ("seek end", seek(PARTITION, SeekTo::End)),
        ("seek sequence", seek(PARTITION, SeekTo::Sequence(300))),
        ("seek time", seek(PARTITION, SeekTo::Time(70_000))),
        ("configure sticky keys", configure_sticky),
        ("receive of some slots", receive_of_slots),
    ]
}

fn configure_groups(partition: PartitionId) -> Op {
    let default = GroupConfig {
        paused: true,
        ..GroupConfig::default()
    };
    let other = GroupConfig {
        id: 300,
        start: GroupStart::End,
        paused: true,
        max_in_flight: 500,
        breaker: None,
        rate: 0,
    };
    let config = PartitionConfig {
        revision: 3,
        groups: vec![default, GroupConfig { id: 2, ..default }, other],
        retain_ms: 60_000,
        ..PartitionConfig::default()
    };
    Op::Configure(Configure { partition, config })
}

fn configure_breaker(partition: PartitionId) -> Op {
    let breaker = CircuitBreaker {
        error_percent: 50,
        min_deliveries: 300,
        window_ms: 10_000,
        open_ms: 30_000,
    };
    let config = PartitionConfig {
        revision: 3,
        groups: vec![GroupConfig {
            breaker: Some(breaker),
            rate: 3_500,
            ..GroupConfig::default()
        }],
        rate: 2_500,
        ..PartitionConfig::default()
    };
    Op::Configure(Configure { partition, config })
}

fn configure_lanes(partition: PartitionId) -> Op {
    let weights = [(5, 3), (0x0102, 300)];
    let weights = weights.map(|(tenant, weight)| TenantWeight { tenant, weight });
    let config = PartitionConfig {
        revision: 3,
        aging_ms: 500,
        weights: weights.to_vec(),
        partitions: 300,
        earlier: vec![2, 3],
        ..PartitionConfig::default()
    };
    Op::Configure(Configure { partition, config })
}

fn seek(partition: PartitionId, to: SeekTo) -> Op {
    Op::Seek(Seek {
        partition,
        group: 2,
        to,
    })
}

const LEASE: LeaseRef = LeaseRef {
    group: DEFAULT_GROUP,
    delivery: 300,
    slot: 2,
};

fn redrive() -> Op {
    let to = DeadLetterTarget {
        queue: 8,
        partitions: 2,
    };
    let payload = NewPayload {
        header: Bytes::from_static(b"h"),
        body: Bytes::from_static(b"new"),
    };
    let plain = Move {
        location: Location::Position(300),
        to,
        payload: None,
    };
    let changed = Move {
        location: Location::Delayed {
            due: 70_000,
            sequence: 6,
        },
        to,
        payload: Some(payload),
    };
    Op::Redrive(Redrive {
        partition: PARTITION,
        moves: vec![plain, changed],
    })
}

fn delete(leases: Vec<LeaseRef>) -> Op {
    Op::DeleteMessage(DeleteMessage {
        partition: PARTITION,
        location: Location::Position(300),
        leases,
    })
}

pub fn configure_deduplication(partition: PartitionId) -> Op {
    let deduplication = Some(Deduplication {
        by: DeduplicateBy::Content,
        scope: DeduplicationScope::Queue,
        window_ms: 300_000,
        max_ids: 1_000,
    });
    let config = PartitionConfig {
        revision: 3,
        deduplication,
        ..PartitionConfig::default()
    };
    Op::Configure(Configure { partition, config })
}

fn complete(partition: PartitionId) -> Op {
    let message = NewMessage {
        key: Some(0x0102),
        delay_ms: 500,
        body: Bytes::from_static(b"b"),
        ..NewMessage::default()
    };
    let ack = Ack {
        delivery: 300,
        slot: 2,
        epoch: 1,
    };
    Op::Complete(Complete {
        partition,
        group: DEFAULT_GROUP,
        acks: vec![ack],
        outputs: vec![Output {
            target: TARGET,
            message,
        }],
    })
}

fn configure_overflow(partition: PartitionId) -> Op {
    let config = PartitionConfig {
        revision: 3,
        max_messages: 10,
        overflow: Overflow::DeadLetterOldest,
        ..PartitionConfig::default()
    };
    Op::Configure(Configure { partition, config })
}

fn send_atomic(partition: PartitionId) -> Op {
    let message = NewMessage {
        body: Bytes::from_static(b"b"),
        ..NewMessage::default()
    };
    Op::Send(Send {
        partition,
        producer: None,
        messages: vec![message.clone(), message],
        atomic: true,
    })
}

pub fn send_with_ids(partition: PartitionId) -> Op {
    let of = |identity| NewMessage {
        identity: Some(identity),
        body: Bytes::from_static(b"b"),
        ..NewMessage::default()
    };
    Op::Send(Send {
        partition,
        producer: None,
        atomic: false,
        messages: vec![of(Identity::Id(0x0102)), of(Identity::Content(0x0304))],
    })
}

fn configure() -> Op {
    let config = PartitionConfig {
        revision: 3,
        ordering: Ordering::PerKey,
        delivery: Delivery::AtMostOnce,
        dead_letter: Some(DeadLetterTarget {
            queue: 8,
            partitions: 2,
        }),
        max_messages: 1_000,
        max_bytes: 2_000,
        on_expiry: OnExpiry::DeadLetter,
        backoff: Some(Backoff {
            growth: Growth::Linear,
            initial_ms: 1_000,
            max_ms: 60_000,
            jitter_percent: 10,
        }),
        ..PartitionConfig::default()
    };
    Op::Configure(Configure {
        partition: PARTITION,
        config,
    })
}

fn settle() -> Op {
    let text = Bytes::from_static(b"no");
    let item = |action| Settlement {
        delivery: 300,
        slot: 2,
        epoch: 0,
        action,
    };
    let items = vec![
        item(Action::Ack),
        item(Action::Nack {
            delay_ms: Some(9),
            error: text.clone(),
            unstarted: false,
        }),
        item(Action::Nack {
            delay_ms: None,
            error: text.clone(),
            unstarted: false,
        }),
        item(Action::Nack {
            delay_ms: None,
            error: Bytes::new(),
            unstarted: true,
        }),
        item(Action::Reject { error: text }),
        item(Action::Extend { lease_ms: 60_000 }),
    ];
    Op::Settle(Settle {
        partition: PARTITION,
        group: DEFAULT_GROUP,
        items,
    })
}

fn send() -> Op {
    let message = NewMessage {
        key: Some(0x0102),
        delay_ms: 500,
        not_before: 70_000,
        ttl_ms: 80_000,
        identity: None,
        priority: 8,
        tenant: Some(0x0304),
        header: Bytes::from_static(b"h"),
        body: Bytes::from_static(b"body"),
    };
    let plain = NewMessage {
        body: Bytes::from_static(b"b"),
        ..NewMessage::default()
    };
    let producer = Some(ProducerRef {
        id: Bytes::from_static(b"p1"),
        first: 40,
    });
    Op::Send(Send {
        partition: PARTITION,
        producer,
        atomic: false,
        messages: vec![message, plain],
    })
}

pub fn receive() -> Op {
    Op::Receive(Receive {
        partition: PARTITION,
        group: DEFAULT_GROUP,
        session: Some(SESSION),
        max: 10,
        lease_ms: Some(30_000),
        at_most_once: false,
        key_slots: KeySlots::ALL,
    })
}

fn receive_once() -> Op {
    Op::Receive(Receive {
        partition: PARTITION,
        group: 2,
        session: None,
        max: 10,
        lease_ms: None,
        at_most_once: true,
        key_slots: KeySlots::ALL,
    })
}

pub fn accept() -> Op {
    let moved = MovedMessage {
        id: MessageId {
            queue: 9,
            partition: 0,
            sequence: 4,
        },
        enqueued_at: 1_000,
        key: Some(5),
        due: 90_000,
        ttl_ms: 60_000,
        priority: 7,
        tenant: Some(6),
        header: Bytes::new(),
        body: Bytes::from_static(b"b"),
    };
    Op::Accept(Accept {
        source: PARTITION,
        target: TARGET,
        first: 6,
        messages: vec![moved],
    })
}
