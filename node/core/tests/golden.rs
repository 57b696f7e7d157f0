//! The bytes of every op are in logs and must never change their meaning; and no bytes, whatever
//! they are, make a machine panic.

use bytes::Bytes;
use proptest::prelude::*;
use roadstead_core::catalog::{self, CatalogMachine, QueueName, QueueSpec};
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::*;

const PARTITION: PartitionId = PartitionId {
    queue: 7,
    partition: 1,
};
const TARGET: PartitionId = PartitionId {
    queue: 8,
    partition: 0,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shard_ops() -> Vec<(&'static str, Op)> {
    let text = Bytes::from_static(b"no");
    let item = |action| Settlement {
        delivery: 300,
        slot: 2,
        epoch: 0,
        action,
    };
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
        ..PartitionConfig::default()
    };
    let message = NewMessage {
        key: Some(0x0102),
        delay_ms: 500,
        header: Bytes::from_static(b"h"),
        body: Bytes::from_static(b"body"),
    };
    let plain = NewMessage {
        body: Bytes::from_static(b"b"),
        ..NewMessage::default()
    };
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
    let receive = Receive {
        partition: PARTITION,
        group: DEFAULT_GROUP,
        session: Some(SessionId(0xfeed)),
        max: 10,
        lease_ms: Some(30_000),
    };
    let items = vec![
        item(Action::Ack),
        item(Action::Nack {
            delay_ms: 9,
            error: text.clone(),
            unstarted: false,
        }),
        item(Action::Nack {
            delay_ms: 0,
            error: Bytes::new(),
            unstarted: true,
        }),
        item(Action::Reject { error: text }),
        item(Action::Extend { lease_ms: 60_000 }),
    ];
    let producer = Some(ProducerRef {
        id: Bytes::from_static(b"p1"),
        first: 40,
    });
    vec![
        (
            "configure",
            Op::Configure(Configure {
                partition: PARTITION,
                config,
            }),
        ),
        (
            "drop",
            Op::Drop(DropPartition {
                partition: PARTITION,
                only_if_empty: true,
            }),
        ),
        (
            "settle",
            Op::Settle(Settle {
                partition: PARTITION,
                group: DEFAULT_GROUP,
                items,
            }),
        ),
        (
            "send",
            Op::Send(Send {
                partition: PARTITION,
                producer,
                messages: vec![message, plain],
            }),
        ),
        ("receive", Op::Receive(receive)),
        (
            "release session",
            Op::ReleaseSession(ReleaseSession {
                partition: PARTITION,
                session: SessionId(0xfeed),
            }),
        ),
        ("tick", Op::Tick),
        (
            "accept",
            Op::Accept(Accept {
                source: PARTITION,
                target: TARGET,
                first: 6,
                messages: vec![moved],
            }),
        ),
        (
            "outbox done",
            Op::OutboxDone(OutboxDone {
                source: PARTITION,
                target: TARGET,
                through: 6,
            }),
        ),
        (
            "purge",
            Op::Purge(Purge {
                partition: PARTITION,
                from: None,
            }),
        ),
    ]
}

fn catalog_ops() -> Vec<(&'static str, catalog::Op)> {
    let node = catalog::NodeInfo {
        node_id: 1,
        name: "n".into(),
        peer_address: "p:1".into(),
        client_address: "c:1".into(),
        zone: "z".into(),
        binary_version: "0.1".into(),
        command_version: 1,
        boot: 2,
    };
    let name = QueueName::new("ns", "q");
    let spec = QueueSpec {
        dead_letter: Some("d".into()),
        ..QueueSpec::default()
    };
    let bootstrap = catalog::Bootstrap {
        cluster_id: "c".into(),
        founders: vec![node.clone()],
        shards: 2,
        replication_factor: 1,
    };
    let placement = catalog::Placement {
        voters: vec![1],
        learners: vec![2],
        founding: false,
    };
    use catalog::Op;
    vec![
        ("bootstrap", Op::Bootstrap(bootstrap)),
        (
            "add member",
            Op::AddMember(catalog::AddMember {
                node: node.clone(),
                fence: 3,
            }),
        ),
        (
            "update member",
            Op::UpdateMember(catalog::UpdateMember { node }),
        ),
        (
            "drain member",
            Op::DrainMember(catalog::DrainMember {
                node_id: 1,
                drain: true,
                fence: 0,
            }),
        ),
        (
            "remove member",
            Op::RemoveMember(catalog::RemoveMember {
                node_id: 1,
                fence: 0,
            }),
        ),
        (
            "create queue",
            Op::CreateQueue(catalog::CreateQueue {
                name: name.clone(),
                spec: spec.clone(),
            }),
        ),
        (
            "update queue",
            Op::UpdateQueue(catalog::UpdateQueue {
                name: name.clone(),
                spec,
                expected_generation: 1,
            }),
        ),
        (
            "delete queue",
            Op::DeleteQueue(catalog::DeleteQueue { name }),
        ),
        (
            "finish delete",
            Op::FinishDelete(catalog::FinishDelete {
                queue: 1,
                undo: false,
            }),
        ),
        (
            "set placement",
            Op::SetPlacement(catalog::SetPlacement {
                group: 1,
                placement,
            }),
        ),
        (
            "finalize version",
            Op::FinalizeVersion(catalog::FinalizeVersion { version: 1 }),
        ),
    ]
}

fn shard_entry(op: &Op) -> Bytes {
    let mut builder = EntryBuilder::new(1_000);
    builder.push(op);
    builder.finish()
}

fn all() -> String {
    let mut lines = Vec::new();
    for (name, op) in shard_ops() {
        lines.push(format!("shard {name}: {}", hex(&shard_entry(&op))));
    }
    for (name, op) in catalog_ops() {
        lines.push(format!(
            "catalog {name}: {}",
            hex(&catalog::encode_entry(1_000, &[op]))
        ));
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_bytes_of_every_op_are_frozen() {
    assert_eq!(all(), include_str!("golden/ops.txt"));
}

#[test]
fn every_op_can_be_read_again() {
    for (name, op) in shard_ops() {
        assert_eq!(inspect(&shard_entry(&op)), Ok((1_000, 1)), "{name}");
    }
    let mut machine = CatalogMachine::open(&MemoryKv::new()).expect("no rows");
    for (name, op) in catalog_ops() {
        let entry = catalog::encode_entry(1_000, &[op]);
        let applied = machine.apply(&mut MemoryKv::new(), 1, &entry);
        assert_eq!(applied.expect(name).replies.len(), 1, "{name}");
    }
}

/// An entry with one byte changed, one cut off, or one put in.
fn damaged() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let shard = shard_ops()
        .into_iter()
        .map(|(_, op)| (true, shard_entry(&op).to_vec()));
    let catalog = catalog_ops().into_iter();
    let catalog = catalog.map(|(_, op)| (false, catalog::encode_entry(1_000, &[op]).to_vec()));
    let entries: Vec<_> = shard.chain(catalog).collect();
    let damage = (any::<prop::sample::Index>(), any::<u8>(), 0..3);
    (
        prop::sample::select(entries),
        prop::collection::vec(damage, 1..4),
    )
        .prop_map(|((is_shard, mut bytes), damage)| {
            for (at, byte, how) in damage {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, byte),
                }
            }
            (is_shard, bytes)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_entries_are_refused_or_applied((is_shard, bytes) in damaged()) {
        let mut kv = MemoryKv::new();
        let data = Bytes::from(bytes);
        if is_shard {
            let mut machine = ShardMachine::open(&kv).expect("no rows");
            let first = shard_entry(&shard_ops()[0].1);
            machine.apply(&mut kv, 1, &first).expect("it is whole");
            if machine.apply(&mut kv, 2, &data).is_ok() {
                ShardMachine::open(&kv).expect("its own rows can be read");
            }
        } else {
            let mut machine = CatalogMachine::open(&kv).expect("no rows");
            if machine.apply(&mut kv, 1, &data).is_ok() {
                CatalogMachine::open(&kv).expect("its own rows can be read");
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_applied(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let data = Bytes::from([&[1], &bytes[..]].concat());
        let mut kv = MemoryKv::new();
        let mut machine = ShardMachine::open(&kv).expect("no rows");
        let _ = machine.apply(&mut kv, 1, &data);
        let mut kv = MemoryKv::new();
        let mut machine = CatalogMachine::open(&kv).expect("no rows");
        let _ = machine.apply(&mut kv, 1, &data);
        let _ = Receipt::decode(&data);
        let _ = split_payload(&data);
    }
}
