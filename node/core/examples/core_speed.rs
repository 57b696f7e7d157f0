//! Prints what one message operation costs in the shard machine, in memory, on one thread:
//! `cargo run -p roadstead-core --example core_speed`.

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures and prints"
)]

use std::time::Instant;

use bytes::Bytes;
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::{
    Action, ApplyError, Configure, DEFAULT_GROUP, EntryBuilder, NewMessage, Op, Ordering,
    PartitionConfig, PartitionId, Receive, Reply, Send, Settle, Settlement, ShardMachine, key_hash,
};

const PARTITION: PartitionId = PartitionId {
    queue: 1,
    partition: 0,
};
const BATCH: usize = 100;

/// What is measured.
#[derive(Clone, Copy, Default)]
struct Load {
    ordering: Ordering,
    /// Ordering keys, lanes and tenants that the messages are spread over; 0: none.
    keys: u64,
    lanes: u64,
    tenants: u64,
}

struct Bench {
    load: Load,
    kv: MemoryKv,
    machine: ShardMachine,
    index: u64,
}

impl Bench {
    fn new(load: Load) -> Result<Self, ApplyError> {
        let kv = MemoryKv::new();
        let mut bench = Self {
            load,
            machine: ShardMachine::open(&kv)?,
            kv,
            index: 0,
        };
        let config = PartitionConfig {
            ordering: load.ordering,
            max_in_flight: 0,
            ..PartitionConfig::default()
        };
        bench.apply(&Op::Configure(Configure {
            partition: PARTITION,
            config,
        }))?;
        Ok(bench)
    }

    /// Encodes and applies an entry of one op. Seconds for applying, and the reply.
    fn apply(&mut self, op: &Op) -> Result<(f64, Vec<Reply>), ApplyError> {
        self.index += 1;
        let mut builder = EntryBuilder::new(1_000 + self.index);
        builder.push(op);
        let entry = builder.finish();
        let begin = Instant::now();
        let applied = self.machine.apply(&mut self.kv, self.index, &entry)?;
        Ok((begin.elapsed().as_secs_f64(), applied.replies))
    }

    fn send(&mut self) -> Result<f64, ApplyError> {
        let load = self.load;
        let one_of = |n: u64, of: u64| (of != 0).then(|| key_hash(&(n % of).to_be_bytes()));
        let body = Bytes::from_static(&[b'x'; 100]);
        let message = |n: u64| NewMessage {
            key: one_of(n, load.keys),
            priority: (n % load.lanes.max(1)) as u8,
            tenant: one_of(n, load.tenants),
            body: body.clone(),
            ..NewMessage::default()
        };
        let first = self.index * BATCH as u64;
        let messages = (0..BATCH as u64).map(|n| message(first + n)).collect();
        let op = Op::Send(Send {
            partition: PARTITION,
            producer: None,
            atomic: false,
            messages,
        });
        Ok(self.apply(&op)?.0)
    }

    /// Receives and acks one batch. Seconds for either, and how many messages it were.
    fn consume(&mut self) -> Result<(f64, f64, usize), ApplyError> {
        let receive = Receive {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            session: None,
            max: BATCH as u32,
            lease_ms: None,
            at_most_once: false,
        };
        let (receiving, replies) = self.apply(&Op::Receive(receive))?;
        let Some(Reply::Received(got)) = replies.first() else {
            return Ok((receiving, 0.0, 0));
        };
        let receipts = got.messages.iter().filter_map(|m| got.receipt(m));
        let items: Vec<_> = receipts.map(|r| Settlement::new(&r, Action::Ack)).collect();
        let count = items.len();
        let settle = Op::Settle(Settle {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            items,
        });
        let (acking, _) = if count == 0 {
            (0.0, Vec::new())
        } else {
            self.apply(&settle)?
        };
        Ok((receiving, acking, count))
    }
}

/// With `backlog` messages waiting, sends and consumes `rounds` batches.
fn measure(name: &str, load: Load, backlog: usize) -> Result<(), ApplyError> {
    let mut bench = Bench::new(load)?;
    for _ in 0..backlog / BATCH {
        bench.send()?;
    }
    let rounds = 4_000;
    let mut costs = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let sending = bench.send()?;
        let (receiving, acking, count) = bench.consume()?;
        costs[0].push(sending / BATCH as f64);
        costs[1].push(receiving / count.max(1) as f64);
        costs[2].push(acking / count.max(1) as f64);
    }
    // The median round: a round that was preempted says nothing of the machine.
    let ns = costs.map(|mut rounds| {
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2] * 1e9
    });
    println!(
        "{name:<12} backlog {backlog:>9}: send {:>4.0} ns, receive {:>4.0} ns, ack {:>4.0} ns",
        ns[0], ns[1], ns[2],
    );
    Ok(())
}

fn main() -> Result<(), ApplyError> {
    let plain = Load::default();
    let keyed = Load {
        ordering: Ordering::PerKey,
        keys: 10_000,
        ..plain
    };
    let lanes = Load { lanes: 10, ..plain };
    let tenants = Load {
        tenants: 100,
        ..plain
    };
    for backlog in [1_000, 100_000, 1_000_000] {
        measure("no order", plain, backlog)?;
    }
    for backlog in [1_000, 100_000] {
        measure("10,000 keys", keyed, backlog)?;
    }
    for backlog in [1_000, 100_000] {
        measure("10 lanes", lanes, backlog)?;
    }
    for backlog in [1_000, 100_000] {
        measure("100 tenants", tenants, backlog)?;
    }
    Ok(())
}
