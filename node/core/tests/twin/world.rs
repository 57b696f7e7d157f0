//! Runs one history on the machine and on its twin, and compares them after every entry.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::test_runner::TestCaseError;
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::*;

use super::history::{Config, DeadLetter, Entry, Happening, SLOTS, Sent, Settled};
use super::model::Effects;
use super::ops::{Seen, SeenMessage, Twin};

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
    slots: [PartitionId; SLOTS],
    orders: BTreeMap<PartitionId, Ordering>,
    receipts: BTreeMap<PartitionId, Vec<Receipt>>,
    revision: u64,
    bodies: u64,
    queues: u64,
    pub reopened_at: Vec<usize>,
    pub coverage: Coverage,
}

impl World {
    pub fn new() -> Self {
        let slot = |queue, partition| PartitionId { queue, partition };
        Self {
            kv: MemoryKv::new(),
            machine: ShardMachine::open(&MemoryKv::new()).unwrap(),
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
        ops.iter().for_each(|op| builder.push(op));
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
        self.compare_effects(&applied, fx)?;
        super::compare::all(self)?;
        if entry.reopen {
            self.machine = ShardMachine::open(&self.kv).expect("it can be opened");
            self.reopened_at.push(self.log.len());
            super::compare::all(self)?;
        }
        Ok(())
    }

    fn ops(&mut self, event: &Happening) -> Vec<Op> {
        let id = |slot: &usize| self.slots[*slot];
        match event {
            Happening::Configure {
                slot,
                config,
                stale,
            } => vec![self.configure(*slot, config, *stale)],
            Happening::Drop {
                slot,
                only_if_empty,
            } => {
                let partition = id(slot);
                self.queues += 1;
                self.slots[*slot] = PartitionId {
                    queue: self.queues,
                    partition: 0,
                };
                let drop = DropPartition {
                    partition,
                    only_if_empty: *only_if_empty,
                };
                if drop.only_if_empty
                    && self
                        .twin
                        .partitions
                        .get(&partition)
                        .is_some_and(|p| p.live().count() > 0)
                {
                    self.slots[*slot] = partition;
                }
                vec![Op::Drop(drop)]
            }
            Happening::Send {
                slot,
                producer,
                messages,
            } => {
                let partition = id(slot);
                let producer = producer.map(|(name, first)| ProducerRef {
                    id: Bytes::from(vec![b'p', name]),
                    first,
                });
                let messages = messages.iter().map(|sent| self.message(sent)).collect();
                vec![Op::Send(Send {
                    partition,
                    producer,
                    messages,
                })]
            }
            Happening::Receive {
                slot,
                session,
                max,
                lease,
            } => vec![Op::Receive(Receive {
                partition: id(slot),
                group: DEFAULT_GROUP,
                session: Some(SessionId(*session)).filter(|s| s.0 != 0),
                max: *max,
                lease_ms: *lease,
            })],
            Happening::Settle { slot, picks } => {
                let partition = id(slot);
                let known = self
                    .receipts
                    .get(&partition)
                    .filter(|known| !known.is_empty());
                let Some(known) = known else {
                    return Vec::new();
                };
                let live: Vec<_> = known.iter().filter(|r| self.twin.holds(r)).collect();
                let items = picks.iter().map(|(pick, how)| {
                    // Mostly of what is still leased: the others are stale.
                    let any = live.is_empty() || pick.index(8) == 0;
                    let list = if any { known.len() } else { live.len() };
                    let at = pick.index(list);
                    Settlement::new(if any { &known[at] } else { live[at] }, action(*how))
                });
                let items = items.collect();
                vec![Op::Settle(Settle {
                    partition,
                    group: DEFAULT_GROUP,
                    items,
                })]
            }
            Happening::Release { slot, session } => {
                let session = SessionId(session + 1);
                vec![Op::ReleaseSession(ReleaseSession {
                    partition: id(slot),
                    session,
                })]
            }
            Happening::Tick => vec![Op::Tick],
            Happening::Purge { slot } => vec![Op::Purge(Purge {
                partition: id(slot),
                from: None,
            })],
            Happening::Shuttle { .. } => self.shuttle(event),
        }
    }

    fn configure(&mut self, slot: usize, config: &Config, stale: bool) -> Op {
        let partition = self.slots[slot];
        self.revision += u64::from(!stale);
        let ordering = match config.ordering {
            Some(ordering) => ordering,
            None => self.orders.get(&partition).copied().unwrap_or_default(),
        };
        self.orders.entry(partition).or_insert(ordering);
        let queue = |slot: usize| self.slots[slot].queue;
        let dead_letter = match config.dead_letter {
            DeadLetter::None => None,
            DeadLetter::Pair => {
                let partitions = if queue(1) == queue(2) { 2 } else { 1 };
                Some(DeadLetterTarget {
                    queue: queue(1),
                    partitions,
                })
            }
            DeadLetter::Other => Some(DeadLetterTarget {
                queue: queue(3),
                partitions: 1,
            }),
            DeadLetter::Gone => Some(DeadLetterTarget {
                queue: 1_000_000,
                partitions: 1,
            }),
        };
        let config = PartitionConfig {
            revision: self.revision,
            ordering,
            delivery: config.delivery,
            lease_ms: config.lease_ms,
            ttl_ms: config.ttl_ms,
            max_deliveries: config.max_deliveries,
            dead_letter,
            max_messages: config.max_messages,
            max_bytes: config.max_bytes,
            max_message_bytes: config.max_message_bytes,
            max_in_flight: config.max_in_flight,
        };
        Op::Configure(Configure { partition, config })
    }

    fn message(&mut self, sent: &Sent) -> NewMessage {
        self.bodies += 1;
        let body = format!("{:0width$}", self.bodies, width = sent.len);
        NewMessage {
            key: sent.key.map(|key| key_hash(&[key])),
            delay_ms: sent.delay,
            header: Bytes::from_static(b"h"),
            body: body.into(),
        }
    }

    fn shuttle(&mut self, event: &Happening) -> Vec<Op> {
        let Happening::Shuttle {
            pick,
            max,
            accept,
            gap,
            done,
        } = event
        else {
            return Vec::new();
        };
        let outboxes = self.machine.outboxes();
        if outboxes.is_empty() {
            return Vec::new();
        }
        let Outbox { source, target, .. } = outboxes[pick.index(outboxes.len())];
        let mut ops = Vec::new();
        if *accept {
            let mut heads = self
                .machine
                .outbox_heads(&self.kv, source, target, *max)
                .unwrap();
            if *gap && heads.len() > 1 {
                heads.remove(0);
            }
            let first = heads[0].number;
            let messages = heads.iter().map(|head| self.moved(head)).collect();
            ops.push(Op::Accept(Accept {
                source,
                target,
                first,
                messages,
            }));
        }
        let p = self.twin.partitions.get(&target);
        let through = p
            .and_then(|p| p.accepted.get(&source))
            .copied()
            .unwrap_or(0);
        if *done && through > 0 {
            ops.push(Op::OutboxDone(OutboxDone {
                source,
                target,
                through,
            }));
        }
        ops
    }

    fn moved(&self, head: &OutboxMessage) -> MovedMessage {
        MovedMessage {
            id: head.id,
            enqueued_at: head.enqueued_at,
            key: head.key,
            header: Bytes::from_static(b"h"),
            body: self.body(head.payload),
        }
    }

    /// The body of a payload, from the log.
    pub fn body(&self, payload: PayloadRef) -> Bytes {
        let PayloadRef { index, offset, len } = payload;
        let entry = &self.log[index as usize - 1];
        split_payload(&entry.slice(offset as usize..(offset + len) as usize))
            .unwrap()
            .1
    }

    fn see(&self, reply: &Reply) -> Seen {
        match reply {
            Reply::Ticked { .. } => Seen::Ticked,
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
        let told = |e: &Event| format!("{} {} {:?}", e.partition, e.message, e.kind);
        let mut events: Vec<_> = applied.events.iter().map(told).collect();
        let expected = fx.events.iter();
        let mut expected: Vec<_> = expected.map(|(p, m, k)| format!("{p} {m} {k:?}")).collect();
        events.sort();
        expected.sort();
        proptest::prop_assert_eq!(events, expected, "events");
        for event in &applied.events {
            let kind = format!("{:?}", event.kind);
            let name = kind.split('(').next().unwrap_or_default();
            self.count(format!("event {name}"));
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
            Op::Send(op) => Some(op.partition),
            Op::Receive(op) => Some(op.partition),
            Op::Settle(op) => Some(op.partition),
            Op::Purge(op) => Some(op.partition),
            Op::ReleaseSession(op) => Some(op.partition),
            Op::Accept(op) => Some(op.target),
            _ => None,
        };
        let kind = name(format!("{op:?}"));
        if let Some(order) = partition.and_then(|id| self.orders.get(&id)) {
            let order = *order;
            self.count(format!("{kind} {order:?}"));
        }
        match reply {
            Reply::Refused(refusal) => {
                self.count(format!("refused {:?}", name(format!("{refusal:?}"))))
            }
            Reply::Sent(outcomes) => {
                for outcome in outcomes {
                    self.count(match outcome {
                        SendOutcome::Refused(refusal) => format!("sent {refusal:?}"),
                        other => format!("sent {}", name(format!("{other:?}"))),
                    });
                }
            }
            Reply::Settled(outcomes) => {
                outcomes
                    .iter()
                    .for_each(|outcome| self.count(format!("settled {outcome:?}")));
            }
            Reply::Accepted {
                stopped: Some(why), ..
            } => self.count(format!("accept {why:?}")),
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
            .unwrap();
        bodies.sort();
        bodies
    }
}

fn action(how: Settled) -> Action {
    let text = |error: bool| {
        if error {
            Bytes::from_static(b"boom")
        } else {
            Bytes::new()
        }
    };
    match how {
        Settled::Ack => Action::Ack,
        Settled::Nack {
            delay,
            error,
            unstarted,
        } => Action::Nack {
            delay_ms: delay,
            error: text(error && !unstarted),
            unstarted,
        },
        Settled::Reject { error } => Action::Reject { error: text(error) },
        Settled::Extend { lease } => Action::Extend { lease_ms: lease },
    }
}
