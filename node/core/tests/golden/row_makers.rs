//! Ops after which a shard has rows of every kind.

use bytes::Bytes;
use roadstead_core::shard::*;

use super::shard_ops::{
    PARTITION, TARGET, accept, configure_deduplication, receive, send_with_ids,
};
use super::sticky_ops::sticky;

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
        atomic: false,
        messages,
    };
    let delayed = Send {
        partition: none,
        producer: None,
        atomic: false,
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
        redrive_fifth(),
        accept_first(),
        configure_deduplication(by_content),
        send_with_ids(by_content),
    ];
    [ops, grouped(), laned(), sticky().to_vec()].concat()
}

/// Moves a message away, and has it say something else.
fn redrive_fifth() -> Op {
    let payload = NewPayload {
        header: Bytes::new(),
        body: Bytes::from_static(b"new"),
    };
    let to = DeadLetterTarget {
        queue: 8,
        partitions: 1,
    };
    let location = Location::Position(1);
    Op::Redrive(Redrive {
        partition: PARTITION,
        moves: vec![Move {
            location,
            to,
            payload: Some(payload),
        }],
    })
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

/// A queue of lanes and tenants, in which a tenant has had one message of its turn.
fn laned() -> Vec<Op> {
    let partition = PartitionId {
        queue: 12,
        partition: 0,
    };
    let weights = vec![TenantWeight {
        tenant: 300,
        weight: 2,
    }];
    let config = PartitionConfig {
        weights,
        ..PartitionConfig::default()
    };
    let message = |priority, tenant| NewMessage {
        priority,
        tenant,
        body: Bytes::from_static(b"body"),
        ..NewMessage::default()
    };
    let messages = vec![
        message(0, None),
        message(5, Some(300)),
        message(5, Some(301)),
        message(9, None),
    ];
    let receive = Receive {
        partition,
        group: DEFAULT_GROUP,
        session: None,
        max: 2,
        lease_ms: None,
        at_most_once: false,
        key_slots: KeySlots::ALL,
    };
    vec![
        Op::Configure(Configure { partition, config }),
        Op::Send(Send {
            partition,
            producer: None,
            atomic: false,
            messages,
        }),
        Op::Receive(receive),
    ]
}

/// A queue of two groups, one of which has settled a message, and one that both have settled.
fn grouped() -> Vec<Op> {
    let partition = PartitionId {
        queue: 11,
        partition: 0,
    };
    let breaker = Some(CircuitBreaker {
        error_percent: 50,
        min_deliveries: 300,
        window_ms: 10_000,
        open_ms: 30_000,
    });
    let groups = vec![GroupConfig {
        id: 2,
        breaker,
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
            at_most_once: false,
            key_slots: KeySlots::ALL,
        })
    };
    vec![
        Op::Configure(Configure { partition, config }),
        Op::Send(Send {
            partition,
            producer: None,
            atomic: false,
            messages: vec![message; 3],
        }),
        receive(0, 1),
        receive(2, 2),
    ]
}
