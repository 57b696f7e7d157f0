//! One op of each kind of the catalog, with everything in it that an op can carry.

use roadstead_core::catalog::*;
use roadstead_core::shard::{
    CircuitBreaker, DeduplicateBy, Deduplication, DeduplicationScope, GroupStart, Ordering,
};

pub fn catalog_ops() -> Vec<(&'static str, Op)> {
    [members(), queues(), groups(), quotas()].concat()
}

fn node() -> NodeInfo {
    NodeInfo {
        node_id: 1,
        name: "n".into(),
        peer_address: "p:1".into(),
        client_address: "c:1".into(),
        zone: "z".into(),
        binary_version: "0.1".into(),
        command_version: 1,
        boot: Boot::default().next(11).next(22),
    }
}

fn members() -> Vec<(&'static str, Op)> {
    let node_id = 1;
    let bootstrap = Bootstrap {
        cluster_id: "c".into(),
        founders: vec![node()],
        shards: 2,
        replication_factor: 1,
    };
    let drain = DrainMember {
        node_id,
        drain: true,
        lost: false,
        fence: 0,
    };
    vec![
        ("bootstrap", Op::Bootstrap(bootstrap)),
        (
            "add member",
            Op::AddMember(AddMember {
                node: node(),
                fence: 3,
            }),
        ),
        (
            "update member",
            Op::UpdateMember(UpdateMember { node: node() }),
        ),
        ("drain member", Op::DrainMember(drain)),
        (
            "give up a member",
            Op::DrainMember(DrainMember {
                lost: true,
                ..drain
            }),
        ),
        (
            "remove member",
            Op::RemoveMember(RemoveMember { node_id, fence: 0 }),
        ),
    ]
}

const BREAKER: CircuitBreaker = CircuitBreaker {
    error_percent: 50,
    min_deliveries: 300,
    window_ms: 10_000,
    open_ms: 30_000,
};

fn fair() -> Op {
    Op::CreateQueue(CreateQueue {
        name: QueueName::new("ns", "fair"),
        spec: QueueSpec {
            groups: vec![ConsumerGroup {
                name: "default".into(),
                start: GroupStart::Beginning,
                paused: false,
                max_in_flight: 0,
                breaker: Some(BREAKER),
                rate_per_second: 200,
            }],
            aging_ms: 500,
            weights: vec![TenantShare {
                tenant: "acme".into(),
                weight: 300,
            }],
            rate_per_second: 1_000,
            ..QueueSpec::default()
        },
    })
}

fn sticky() -> Op {
    Op::CreateQueue(CreateQueue {
        name: QueueName::new("ns", "sticky"),
        spec: QueueSpec {
            ordering: Ordering::PerKey,
            sticky_keys: true,
            ..QueueSpec::default()
        },
    })
}

fn queues() -> Vec<(&'static str, Op)> {
    let name = QueueName::new("ns", "q");
    let spec = QueueSpec {
        dead_letter: Some("d".into()),
        ..QueueSpec::default()
    };
    let create = CreateQueue {
        name: name.clone(),
        spec: spec.clone(),
    };
    let deduplication = Some(Deduplication {
        by: DeduplicateBy::Id,
        scope: DeduplicationScope::Key,
        window_ms: 60_000,
        max_ids: 500,
    });
    let deduplicating = CreateQueue {
        name: QueueName::new("ns", "ids"),
        spec: QueueSpec {
            deduplication,
            ..QueueSpec::default()
        },
    };
    let grouped = CreateQueue {
        name: QueueName::new("ns", "groups"),
        spec: QueueSpec {
            groups: vec![ConsumerGroup {
                name: "billing".into(),
                start: GroupStart::End,
                paused: true,
                max_in_flight: 300,
                breaker: None,
                rate_per_second: 0,
            }],
            retain_ms: 60_000,
            ..QueueSpec::default()
        },
    };
    let update = UpdateQueue {
        name: name.clone(),
        spec,
        expected_generation: 1,
    };
    vec![
        ("create queue", Op::CreateQueue(create)),
        ("update queue", Op::UpdateQueue(update)),
        ("create queue with shares", fair()),
        ("create queue with sticky keys", sticky()),
        (
            "create queue with deduplication",
            Op::CreateQueue(deduplicating),
        ),
        ("create queue with groups", Op::CreateQueue(grouped)),
        ("delete queue", Op::DeleteQueue(DeleteQueue { name })),
        (
            "finish delete",
            Op::FinishDelete(FinishDelete {
                queue: 1,
                undo: false,
            }),
        ),
    ]
}

fn groups() -> Vec<(&'static str, Op)> {
    let placement = Placement {
        voters: vec![1],
        learners: vec![2],
        founding: false,
    };
    vec![
        (
            "set placement",
            Op::SetPlacement(SetPlacement {
                group: 1,
                placement,
            }),
        ),
        (
            "finalize version",
            Op::FinalizeVersion(FinalizeVersion { version: 1 }),
        ),
    ]
}

fn quotas() -> Vec<(&'static str, Op)> {
    let set = |namespace: &str, quota| {
        Op::SetQuota(SetQuota {
            namespace: namespace.into(),
            quota,
            fence: 0,
        })
    };
    let quota = Quota {
        queues: 2,
        messages: 300,
        bytes: 1 << 40,
        partitions: 1_024,
        rate_per_second: 1,
    };
    vec![
        ("set quota", set("ns", Some(quota))),
        ("take quota away", set("*", None)),
    ]
}

/// Ops after which the catalog has rows of every kind.
pub fn row_makers_of_catalog() -> Vec<Op> {
    let name = QueueName::new("ns", "d");
    let dead = Op::CreateQueue(CreateQueue {
        name,
        spec: QueueSpec::default(),
    });
    let mut ops: Vec<Op> = members().into_iter().map(|(_, op)| op).collect();
    ops.push(dead);
    ops.extend(queues().into_iter().map(|(_, op)| op).take(1));
    ops.extend(quotas().into_iter().map(|(_, op)| op));
    ops
}
