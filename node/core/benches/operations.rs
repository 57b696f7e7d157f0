//! Prints what one message costs in the shard machine, in memory, on one thread, in batches of 100
//! messages of 100 bytes: `cargo bench --profile dev -p roadstead-core`. Only applying is timed.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::panic,
    missing_docs,
    reason = "it measures"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::{
    Action, Configure, DEFAULT_GROUP, EntryBuilder, GroupConfig, KeySlots, NewMessage, Op,
    Ordering, PartitionConfig, PartitionId, Receive, Received, Reply, Send, Settle, Settlement,
    ShardMachine, key_hash,
};

const PARTITION: PartitionId = PartitionId {
    queue: 1,
    partition: 0,
};
const BATCH: u64 = 100;
/// Far behind what is measured.
const DELAY_MS: u64 = 300 * 24 * 3_600_000;

/// What is sent, and what lies in the queue meanwhile.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    name: &'static str,
    ordering: Ordering,
    /// Ordering keys that messages are spread over; 0: they have none.
    keys: u64,
    /// Priorities that they are spread over; 0: they have none.
    lanes: u64,
    /// Tenants that they are spread over; 0: they have none.
    tenants: u64,
    /// Consumer groups beside the default one, which nobody reads.
    groups: u32,
    /// Messages that wait before, and that are delayed.
    waiting: u64,
    delayed: u64,
}

/// The three steps of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Send,
    Receive,
    Ack,
}

struct Shard {
    kv: MemoryKv,
    machine: ShardMachine,
    index: u64,
    load: Load,
}

impl Shard {
    fn new(load: Load) -> Self {
        let kv = MemoryKv::new();
        let machine = ShardMachine::open(&kv).expect("no rows");
        let mut shard = Self {
            machine,
            kv,
            index: 0,
            load,
        };
        let group = |id| GroupConfig {
            id,
            ..GroupConfig::default()
        };
        let config = PartitionConfig {
            ordering: load.ordering,
            max_in_flight: 0,
            groups: (1..=load.groups).map(group).collect(),
            ..PartitionConfig::default()
        };
        shard.apply(&Op::Configure(Configure {
            partition: PARTITION,
            config,
        }));
        for _ in 0..load.delayed / BATCH {
            shard.send(DELAY_MS);
        }
        for _ in 0..load.waiting / BATCH {
            shard.send(0);
        }
        shard
    }

    /// Encodes and applies an entry of one op.
    fn apply(&mut self, op: &Op) -> (Duration, Option<Reply>) {
        self.index += 1;
        let mut builder = EntryBuilder::new(1_000 + self.index);
        builder.push(op);
        let entry = builder.finish();
        let begin = Instant::now();
        let applied = self.machine.apply(&mut self.kv, self.index, &entry);
        let took = begin.elapsed();
        let applied = applied.expect("it applies");
        (took, applied.replies.into_iter().next())
    }

    fn send(&mut self, delay_ms: u64) -> Duration {
        let load = self.load;
        let first = self.index * BATCH;
        let one_of = |n: u64, many: u64| (many != 0).then(|| key_hash(&(n % many).to_be_bytes()));
        let message = |n: u64| NewMessage {
            key: one_of(n, load.keys),
            priority: (n % load.lanes.max(1)) as u8,
            tenant: one_of(n, load.tenants),
            delay_ms,
            body: Bytes::from_static(&[b'x'; 100]),
            ..NewMessage::default()
        };
        let op = Op::Send(Send {
            partition: PARTITION,
            producer: None,
            atomic: false,
            messages: (first..first + BATCH).map(message).collect(),
        });
        self.apply(&op).0
    }

    fn receive(&mut self) -> (Duration, Received) {
        let receive = Receive {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            session: None,
            max: BATCH as u32,
            lease_ms: None,
            at_most_once: false,
            key_slots: KeySlots::ALL,
        };
        match self.apply(&Op::Receive(receive)) {
            (took, Some(Reply::Received(received))) => (took, received),
            (_, reply) => panic!("received {reply:?}"),
        }
    }

    fn ack(&mut self, received: &Received) -> Duration {
        let receipts = received.messages.iter().filter_map(|m| received.receipt(m));
        let op = Op::Settle(Settle {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            items: receipts
                .map(|receipt| Settlement::new(&receipt, Action::Ack))
                .collect(),
        });
        self.apply(&op).0
    }

    /// Sends a batch, receives one and acks it; how long one of the steps took, for each message
    /// of a full batch.
    fn round(&mut self, step: Step) -> Duration {
        let sent = self.send(0);
        let (receiving, received) = self.receive();
        let count = received.messages.len() as u32;
        assert!(count > 0, "there is something to receive");
        let acked = self.ack(&received);
        let full = BATCH as u32;
        match step {
            Step::Send => sent,
            Step::Receive => receiving * full / count,
            Step::Ack => acked * full / count,
        }
    }
}

const LOADS: [Load; 12] = {
    let plain = Load {
        name: "no order, 1,000 waiting",
        ordering: Ordering::None,
        keys: 0,
        lanes: 0,
        tenants: 0,
        groups: 0,
        waiting: 1_000,
        delayed: 0,
    };
    [
        plain,
        Load {
            name: "no order, 100,000 waiting",
            waiting: 100_000,
            ..plain
        },
        Load {
            name: "no order, 10,000,000 waiting",
            waiting: 10_000_000,
            ..plain
        },
        Load {
            name: "no order, 1,000,000 delayed",
            delayed: 1_000_000,
            ..plain
        },
        Load {
            name: "strict order, 100,000 waiting",
            ordering: Ordering::Strict,
            waiting: 100_000,
            ..plain
        },
        Load {
            name: "1,000 keys, 1,000 waiting",
            ordering: Ordering::PerKey,
            keys: 1_000,
            ..plain
        },
        Load {
            name: "100,000 keys, 100,000 waiting",
            ordering: Ordering::PerKey,
            keys: 100_000,
            waiting: 100_000,
            ..plain
        },
        Load {
            name: "10 hot keys, 1,000,000 waiting",
            ordering: Ordering::PerKey,
            keys: 10,
            waiting: 1_000_000,
            ..plain
        },
        Load {
            name: "1,000 groups, 1,000 waiting",
            groups: 999,
            ..plain
        },
        Load {
            name: "10 priorities, 100,000 waiting",
            lanes: 10,
            waiting: 100_000,
            ..plain
        },
        Load {
            name: "10 tenants, 100,000 waiting",
            tenants: 10,
            waiting: 100_000,
            ..plain
        },
        Load {
            name: "100 tenants, 100,000 waiting",
            tenants: 100,
            waiting: 100_000,
            ..plain
        },
    ]
};

fn operations(criterion: &mut Criterion) {
    for load in LOADS {
        let mut group = criterion.benchmark_group(load.name);
        group.throughput(Throughput::Elements(BATCH));
        group.sample_size(20);
        // Made when it is measured: a filter on the command line leaves the others out.
        let mut shard = None;
        for (name, step) in [
            ("send", Step::Send),
            ("receive", Step::Receive),
            ("ack", Step::Ack),
        ] {
            group.bench_function(name, |bencher| {
                let shard = shard.get_or_insert_with(|| Shard::new(load));
                bencher.iter_custom(|rounds| (0..rounds).map(|_| shard.round(step)).sum());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
