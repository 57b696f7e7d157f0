//! Runs one history on the machine and on its twin, and compares them after every entry.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::test_runner::TestCaseError;
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::*;

use super::config::Config;
use super::cover_breaker::Breakers;
use super::history::{Entry, Happening, SLOTS};
use super::model::{Effects, Stream};
use super::ops::{Seen, SeenMessage, Twin};
use super::rows::digested;
use super::table::{self, Reached};
use super::walk::{self, Walk};

pub type Check = Result<(), TestCaseError>;

/// How often what was reached, by name.
pub type Coverage = BTreeMap<String, u64>;

pub struct World {
    pub kv: MemoryKv,
    pub machine: ShardMachine,
    pub twin: Twin,
    /// The log: entry `i` has index `i + 1`.
    pub log: Vec<Bytes>,
    pub now: u64,
    pub slots: [PartitionId; SLOTS],
    pub orders: BTreeMap<PartitionId, Ordering>,
    pub sticky: BTreeMap<PartitionId, bool>,
    /// How often each queue has grown.
    pub growth: BTreeMap<u64, usize>,
    pub receipts: BTreeMap<PartitionId, Vec<Receipt>>,
    pub revision: u64,
    pub bodies: u64,
    pub queues: u64,
    pub reopened_at: Vec<usize>,
    pub coverage: Coverage,
    pub reached: Reached,
    /// With the index of their entry.
    pub digests: Vec<(u64, Digested)>,
    pub walk: Walk,
    /// Which streams there ever were, and whether they are there now.
    pub streams: BTreeMap<PartitionId, BTreeMap<Stream, bool>>,
    /// As they were after the entry before.
    pub breakers: Breakers,
}

/// The digests that an entry asked for.
pub fn digests_of(index: u64, applied: &Applied) -> Vec<(u64, Digested)> {
    let digests = applied.replies.iter().filter_map(|reply| match reply {
        Reply::Digested(digested) => Some((index, digested.clone())),
        _ => None,
    });
    digests.collect()
}

impl World {
    pub fn new() -> Self {
        let slot = |queue, partition| PartitionId { queue, partition };
        Self {
            kv: MemoryKv::new(),
            machine: ShardMachine::open(&MemoryKv::new()).expect("no rows are an empty shard"),
            twin: Twin::default(),
            log: Vec::new(),
            now: 1_000_000,
            slots: [slot(1, 0), slot(2, 0), slot(2, 1), slot(3, 0)],
            orders: BTreeMap::new(),
            sticky: BTreeMap::new(),
            growth: BTreeMap::new(),
            receipts: BTreeMap::new(),
            revision: 0,
            bodies: 0,
            queues: 3,
            reopened_at: Vec::new(),
            coverage: Coverage::new(),
            reached: Reached::new(),
            digests: Vec::new(),
            walk: Walk::default(),
            streams: BTreeMap::new(),
            breakers: Breakers::new(),
        }
    }

    pub fn run(&mut self, first: &[(Ordering, Config)], entries: &[Entry]) -> Check {
        let configure = |(slot, (ordering, config)): (usize, &(Ordering, Config))| {
            let config = Config {
                ordering: Some(*ordering),
                ..config.clone()
            };
            Happening::Configure {
                slot,
                config,
                stale: false,
            }
        };
        let events: Vec<_> = first.iter().enumerate().map(configure).collect();
        self.entry(&Entry {
            passes: 0,
            events,
            reopen: false,
        })?;
        for entry in entries {
            self.entry(entry)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Check {
        self.now += entry.passes;
        let ops: Vec<Op> = entry
            .events
            .iter()
            .flat_map(|event| self.ops(event))
            .collect();
        let mut builder = EntryBuilder::new(self.now);
        for op in &ops {
            builder.push(op);
        }
        self.log.push(builder.finish());
        let index = self.log.len() as u64;
        let data = self.log[self.log.len() - 1].clone();
        let applied = self
            .machine
            .apply(&mut self.kv, index, &data)
            .expect("it can be applied");
        let mut fx = Effects {
            now: self.now,
            ..Effects::default()
        };
        assert_eq!(applied.replies.len(), ops.len());
        for (op, reply) in ops.iter().zip(&applied.replies) {
            let foreseen = self.foresee(op);
            let met = table::met(&self.twin, op);
            let expected = self.twin.apply(op, &mut fx);
            self.cover(op, reply, foreseen);
            self.reached.add(op, reply, met);
            let got = self.see(reply);
            if got != expected {
                return Err(TestCaseError::fail(format!(
                    "at {}: {op:?}\n machine: {got:?}\n twin:    {expected:?}",
                    self.now
                )));
            }
            if let Reply::Received(received) = reply {
                let receipts = received.messages.iter().filter_map(|m| received.receipt(m));
                self.receipts
                    .entry(received.partition)
                    .or_default()
                    .extend(receipts);
            }
        }
        if let (Some(Op::Digest(op)), Some(Reply::Digested(got))) =
            (ops.last(), applied.replies.last())
        {
            proptest::prop_assert_eq!(got, &digested(&self.kv, op));
        }
        self.digests.extend(digests_of(index, &applied));
        self.compare_effects(&applied, fx)?;
        super::compare::all(self)?;
        walk::go_on(self)?;
        if entry.reopen {
            self.machine = ShardMachine::open(&self.kv).expect("it can be opened");
            self.reopened_at.push(self.log.len());
            super::compare::all(self)?;
        }
        Ok(())
    }

    /// The body of a payload, from the log.
    pub fn body(&self, payload: PayloadRef) -> Bytes {
        let PayloadRef { index, offset, len } = payload;
        let entry = &self.log[index as usize - 1];
        split_payload(&entry.slice(offset as usize..(offset + len) as usize))
            .expect("it can be read")
            .1
    }

    fn see(&self, reply: &Reply) -> Seen {
        match reply {
            Reply::Ticked { .. } => Seen::Ticked,
            Reply::Digested(_) => Seen::Digested,
            Reply::Received(received) => Seen::Received {
                delivery: received.delivery,
                messages: received.messages.iter().map(|m| self.seen(m)).collect(),
            },
            other => Seen::Same(other.clone()),
        }
    }

    pub fn seen(&self, m: &Delivered) -> SeenMessage {
        SeenMessage {
            slot: m.slot,
            count: m.delivery_count,
            id: m.id,
            sequence: m.sequence,
            body: self.body(m.payload),
            enqueued_at: m.enqueued_at,
            deadline: m.deadline,
            times: (m.first_delivered_at, m.last_delivered_at),
        }
    }

    fn compare_effects(&mut self, applied: &Applied, mut fx: Effects) -> Check {
        let mut freed: Vec<_> = applied
            .freed
            .iter()
            .map(|payload| self.body(*payload))
            .collect();
        freed.sort();
        fx.freed.sort();
        proptest::prop_assert_eq!(freed, fx.freed, "freed payloads");
        let told = |p: PartitionId, group: u32, m: MessageId, kind: EventKind| match kind {
            // Of leases that a tick ends together, any may be the last one.
            EventKind::BreakerOpened { .. } => format!("{p} {group} {kind:?}"),
            _ => format!("{p} {group} {m} {kind:?}"),
        };
        let events = applied.events.iter();
        let mut events: Vec<_> = events
            .map(|e| told(e.partition, e.group, e.message, e.kind))
            .collect();
        let expected = fx.events.iter();
        let mut expected: Vec<_> = expected
            .map(|(p, group, m, kind)| told(*p, *group, *m, *kind))
            .collect();
        events.sort();
        expected.sort();
        proptest::prop_assert_eq!(events, expected, "events");
        self.cover_events(applied);
        Ok(())
    }

    pub fn count(&mut self, name: String) {
        *self.coverage.entry(name).or_default() += 1;
    }

    /// Whether any payload of the log range is visited twice, and which bodies are live in it.
    pub fn live_bodies(&self, first: u64, last: u64) -> Vec<Bytes> {
        let mut bodies = Vec::new();
        self.machine
            .live_payloads(&self.kv, first, last, &mut |payload| {
                assert!((first..=last).contains(&payload.index));
                bodies.push(self.body(payload));
                ControlFlow::Continue(())
            })
            .expect("it can be read");
        bodies.sort();
        bodies
    }
}
