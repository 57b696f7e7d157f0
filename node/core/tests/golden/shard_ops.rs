//! One op of each kind of a shard, with everything in it that an op can carry.

use bytes::Bytes;
use roadstead_core::shard::*;

const PARTITION: PartitionId = PartitionId {
    queue: 7,
    partition: 1,
};
const TARGET: PartitionId = PartitionId {
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
        ("configure groups", configure_groups(PARTITION)),
        ("seek beginning", seek(PARTITION, SeekTo::Beginning)),
        ("seek end", seek(PARTITION, SeekTo::End)),
        ("seek sequence", seek(PARTITION, SeekTo::Sequence(300))),
        ("seek time", seek(PARTITION, SeekTo::Time(70_000))),
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
    };
    let config = PartitionConfig {
        revision: 3,
        groups: vec![default, GroupConfig { id: 2, ..default }, other],
        retain_ms: 60_000,
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

/// A queue of two groups, one of which has settled a message, and one that both have settled.
fn grouped() -> Vec<Op> {
    let partition = PartitionId {
        queue: 11,
        partition: 0,
    };
    let groups = vec![GroupConfig {
        id: 2,
        ..GroupConfig::default()
    }];
    let config = PartitionConfig {
        groups,
        retain_ms: 60_000,
        delivery: Delivery::AtMostOnce,
        ..PartitionConfig::default()
    };
    let message = NewMessage {
        body: Bytes::from_static(b"body"),
        ..NewMessage::default()
    };
    let receive = |group, max| {
        Op::Receive(Receive {
            partition,
            group,
            session: None,
            max,
            lease_ms: None,
        })
    };
    vec![
        Op::Configure(Configure { partition, config }),
        Op::Send(Send {
            partition,
            producer: None,
            messages: vec![message; 3],
        }),
        receive(0, 1),
        receive(2, 2),
    ]
}

fn configure_deduplication(partition: PartitionId) -> Op {
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

fn send_with_ids(partition: PartitionId) -> Op {
    let of = |identity| NewMessage {
        identity: Some(identity),
        body: Bytes::from_static(b"b"),
        ..NewMessage::default()
    };
    Op::Send(Send {
        partition,
        producer: None,
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
        messages: vec![message, plain],
    })
}

fn receive() -> Op {
    Op::Receive(Receive {
        partition: PARTITION,
        group: DEFAULT_GROUP,
        session: Some(SESSION),
        max: 10,
        lease_ms: Some(30_000),
    })
}

fn accept() -> Op {
    let moved = MovedMessage {
        id: MessageId {
            queue: 9,
            partition: 0,
            sequence: 4,
        },
        enqueued_at: 1_000,
        key: Some(5),
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

/// Ops after which a shard has rows of every kind.
pub fn row_makers() -> Vec<Op> {
    let none = PartitionId {
        queue: 9,
        partition: 0,
    };
    let dead_letter = Some(DeadLetterTarget {
        queue: 8,
        partitions: 1,
    });
    let keyed = PartitionConfig {
        ordering: Ordering::PerKey,
        dead_letter,
        ..PartitionConfig::default()
    };
    let by_content = PartitionId {
        queue: 10,
        partition: 0,
    };
    let configure = |partition, config| Op::Configure(Configure { partition, config });
    let of = |key, delay_ms| NewMessage {
        key: Some(key),
        delay_ms,
        body: Bytes::from_static(b"body"),
        ..NewMessage::default()
    };
    let producer = Some(ProducerRef {
        id: Bytes::from_static(b"p1"),
        first: 1,
    });
    let messages = vec![of(1, 0), of(1, 0), of(2, 0), of(3, 0), of(4, 0), of(5, 900)];
    let send = Send {
        partition: PARTITION,
        producer,
        messages,
    };
    let delayed = Send {
        partition: none,
        producer: None,
        messages: vec![of(1, 70)],
    };
    let ops = vec![
        configure(PARTITION, keyed),
        configure(TARGET, PartitionConfig::default()),
        configure(none, PartitionConfig::default()),
        Op::Send(send),
        Op::Send(delayed),
        receive(),
        fail(),
        accept_first(),
        configure_deduplication(by_content),
        send_with_ids(by_content),
    ];
    [ops, grouped()].concat()
}

fn accept_first() -> Op {
    let Op::Accept(accept) = accept() else {
        unreachable!("it is one")
    };
    Op::Accept(Accept { first: 1, ..accept })
}

/// Nacks the first message of a delivery without and the second with a delay, rejects the third.
fn fail() -> Op {
    let item = |slot, action| Settlement {
        delivery: 1,
        slot,
        epoch: 0,
        action,
    };
    let error = Bytes::from_static(b"no");
    let nack = |delay_ms| Action::Nack {
        delay_ms,
        error: error.clone(),
        unstarted: false,
    };
    let reject = Action::Reject {
        error: error.clone(),
    };
    let items = vec![
        item(0, nack(Some(0))),
        item(1, nack(Some(50))),
        item(2, reject),
    ];
    Op::Settle(Settle {
        partition: PARTITION,
        group: DEFAULT_GROUP,
        items,
    })
}
