//! Runs one history on the machine and on its twin, and compares them after every entry.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::test_runner::TestCaseError;
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::*;

use super::history::{Config, Entry, Happening, SLOTS};
use super::model::Effects;
use super::ops::{Seen, SeenMessage, Twin};
use super::rows::digested;
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
    pub receipts: BTreeMap<PartitionId, Vec<Receipt>>,
    pub revision: u64,
    pub bodies: u64,
    pub queues: u64,
    pub reopened_at: Vec<usize>,
    pub coverage: Coverage,
    /// With the index of their entry.
    pub digests: Vec<(u64, Digested)>,
    pub walk: Walk,
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
            receipts: BTreeMap::new(),
            revision: 0,
            bodies: 0,
            queues: 3,
            reopened_at: Vec::new(),
            coverage: Coverage::new(),
            digests: Vec::new(),
            walk: Walk::default(),
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
            let expected = self.twin.apply(op, &mut fx);
            self.cover(op, reply);
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
        let told = |e: &Event| format!("{} {} {} {:?}", e.partition, e.group, e.message, e.kind);
        let mut events: Vec<_> = applied.events.iter().map(told).collect();
        let expected = fx.events.iter();
        let mut expected: Vec<_> = expected
            .map(|(p, g, m, k)| format!("{p} {g} {m} {k:?}"))
            .collect();
        events.sort();
        expected.sort();
        proptest::prop_assert_eq!(events, expected, "events");
        for event in &applied.events {
            let kind = format!("{:?}", event.kind);
            let mut words = kind.split(['(', ',']);
            let name = words.next().unwrap_or_default();
            let reason = match event.kind {
                EventKind::DeadLettered(..) | EventKind::Dropped(DeadLetterReason::Overflow) => {
                    words.next().unwrap_or_default()
                }
                _ => "",
            };
            let reason = reason.trim_end_matches(')');
            self.count(format!("event {name} {reason}").trim_end().to_owned());
        }
        Ok(())
    }

    fn cover(&mut self, op: &Op, reply: &Reply) {
        let name = |text: String| {
            text.split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let partition = match op {
            Op::Complete(op) => Some(op.partition),
            Op::Send(op) => Some(op.partition),
            Op::Receive(op) => Some(op.partition),
            Op::Settle(op) => Some(op.partition),
            Op::Purge(op) => Some(op.partition),
            Op::ReleaseSession(op) => Some(op.partition),
            Op::Accept(op) => Some(op.target),
            Op::Redrive(op) => Some(op.partition),
            Op::DeleteMessage(op) => Some(op.partition),
            Op::Seek(op) => Some(op.partition),
            _ => None,
        };
        let kind = name(format!("{op:?}"));
        if let Some(order) = partition.and_then(|id| self.orders.get(&id)) {
            let order = *order;
            self.count(format!("{kind} {order:?}"));
        }
        match reply {
            Reply::Refused(refusal) => {
                self.count(format!("refused {}", name(format!("{refusal:?}"))));
            }
            Reply::Sent(outcomes) => {
                for outcome in outcomes {
                    self.count(match outcome {
                        SendOutcome::Refused(refusal) => format!("sent {refusal:?}"),
                        other => format!("sent {}", name(format!("{other:?}"))),
                    });
                }
                if let Op::Send(op) = op {
                    let refused = |o: &SendOutcome| matches!(o, SendOutcome::Refused(_));
                    if op.atomic && outcomes.len() > 1 && !outcomes.iter().any(refused) {
                        self.count("atomic batch accepted".into());
                    }
                    self.cover_duplicates(op, outcomes);
                }
            }
            Reply::Completed { .. } => {
                if matches!(op, Op::Complete(op) if !op.outputs.is_empty()) {
                    self.count("completed with outputs".into());
                }
            }
            Reply::Settled(outcomes) => {
                for outcome in outcomes {
                    self.count(format!("settled {outcome:?}"));
                }
            }
            Reply::Sought { messages, .. } if *messages > 0 => {
                self.count("messages to replay".into());
            }
            Reply::Accepted { stopped, .. } => {
                if let Some(why) = stopped {
                    self.count(format!("accept {why:?}"));
                } else if matches!(op, Op::Accept(op)
                    if op.messages.iter().any(|m| m.due > self.now))
                {
                    self.count("accepted one that is due later".into());
                }
            }
            Reply::Redriven(outcomes) => {
                let Op::Redrive(op) = op else { return };
                for (one, outcome) in op.moves.iter().zip(outcomes) {
                    let how = match (one.location, &one.payload) {
                        (Location::Delayed { .. }, _) => " of a delayed one",
                        (_, Some(_)) => " with edit",
                        _ => "",
                    };
                    self.count(format!("redriven {outcome:?}{how}"));
                }
            }
            Reply::Deleted(removal) => {
                let Op::DeleteMessage(op) = op else { return };
                let how = match (op.location, op.lease) {
                    (Location::Delayed { .. }, _) => " of a delayed one",
                    (_, Some(_)) => " with a lease",
                    _ => "",
                };
                self.count(format!("deleted {removal:?}{how}"));
            }
            Reply::Digested(Digested { next: None, .. }) => self.count("digest to the end".into()),
            Reply::Digested(_) => self.count("digest of a piece".into()),
            _ => {}
        }
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
