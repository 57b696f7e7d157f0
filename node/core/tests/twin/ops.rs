//! What the twin does for each op.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_core::shard::*;

use super::model::{Effects, Leaving, Message, Partition, Producer, State};

/// A reply in a form that both can give: payloads by their bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Same(Reply),
    Received {
        delivery: u64,
        messages: Vec<SeenMessage>,
    },
    /// The twin does not predict the number of steps.
    Ticked,
    /// The twin has no rows.
    Digested,
}

#[derive(Debug, PartialEq, Eq, Clone)]
pub struct SeenMessage {
    pub slot: u16,
    pub count: u32,
    pub id: MessageId,
    pub sequence: u64,
    pub body: Bytes,
    pub enqueued_at: u64,
    pub deadline: u64,
}

#[derive(Debug, Default)]
pub struct Twin {
    pub partitions: BTreeMap<PartitionId, Partition>,
}

impl Twin {
    pub fn apply(&mut self, op: &Op, fx: &mut Effects) -> Seen {
        let id = match op {
            Op::Tick => return self.tick(fx),
            Op::Digest(_) => return Seen::Digested,
            Op::Configure(op) => return Seen::Same(self.configure(op, fx)),
            Op::Drop(op) => return Seen::Same(self.drop_partition(op)),
            Op::Settle(op) => op.partition,
            Op::Send(op) => op.partition,
            Op::Receive(op) => op.partition,
            Op::ReleaseSession(op) => op.partition,
            Op::Accept(op) => op.target,
            Op::OutboxDone(op) => op.source,
            Op::Purge(op) => op.partition,
            Op::Seek(op) => op.partition,
        };
        let Some(p) = self.partitions.get_mut(&id) else {
            return Seen::Same(match op {
                Op::OutboxDone(_) => Reply::OutboxDone { messages: 0 },
                _ => Reply::Refused(Refusal::NoPartition),
            });
        };
        if p.dropping && !matches!(op, Op::OutboxDone(_)) {
            return Seen::Same(Reply::Refused(Refusal::Deleting));
        }
        match op {
            Op::Send(op) => p.send(op, fx),
            Op::Receive(op) => p.receive(op, fx),
            Op::Settle(op) => p.settle_all(op, fx),
            Op::ReleaseSession(op) => p.release(op, fx),
            Op::Accept(op) => p.accept(op, fx),
            Op::OutboxDone(op) => p.outbox_done(op, fx),
            Op::Purge(_) => p.purge(fx),
            Op::Seek(op) => p.seek(op, fx),
            Op::Tick | Op::Digest(_) | Op::Configure(_) | Op::Drop(_) => {
                unreachable!("answered above")
            }
        }
    }

    /// Whether the delivery that a receipt names is still leased.
    pub fn holds(&self, receipt: &Receipt) -> bool {
        let wanted = (receipt.delivery, receipt.slot);
        let Some(p) = self.partitions.get(&receipt.partition) else {
            return false;
        };
        let epoch = p.groups.get(&receipt.group).map(|group| group.epoch);
        let mut open = p.open(receipt.group);
        open.any(|(_, mine)| {
            matches!(mine.state, State::Leased { delivery, slot, .. }
            if (delivery, slot) == wanted)
        }) && epoch == Some(u64::from(receipt.epoch))
    }

    fn tick(&mut self, fx: &mut Effects) -> Seen {
        for p in self.partitions.values_mut() {
            if !p.dropping {
                p.tick(fx);
                continue;
            }
            p.delayed.drain(..).for_each(|m| fx.freed.push(m.body));
            while let Some(m) = p.messages.first() {
                p.gone(m.sequence, fx);
            }
        }
        self.partitions
            .retain(|_, p| !p.dropping || !p.outbox.is_empty());
        Seen::Ticked
    }

    fn configure(&mut self, op: &Configure, fx: &mut Effects) -> Reply {
        let Some(p) = self.partitions.get_mut(&op.partition) else {
            let mut p = Partition::new(op.partition, op.config.clone());
            if !p.may_have(&op.config.groups) {
                return Reply::Refused(Refusal::BadGroups);
            }
            p.set_groups(fx);
            self.partitions.insert(op.partition, p);
            return Reply::Configured(true);
        };
        if p.dropping {
            return Reply::Refused(Refusal::Deleting);
        }
        if op.config.revision <= p.config.revision {
            return Reply::Configured(false);
        }
        if op.config.ordering != p.config.ordering {
            return Reply::Refused(Refusal::OrderingFixed);
        }
        if !p.may_have(&op.config.groups) {
            return Reply::Refused(Refusal::BadGroups);
        }
        p.config = op.config.clone();
        p.set_groups(fx);
        Reply::Configured(true)
    }

    fn drop_partition(&mut self, op: &DropPartition) -> Reply {
        let Some(p) = self
            .partitions
            .get_mut(&op.partition)
            .filter(|p| !p.dropping)
        else {
            return Reply::Dropped { messages: 0 };
        };
        let messages = p.live().count() as u64;
        if op.only_if_empty && messages > 0 {
            return Reply::Refused(Refusal::NotEmpty(messages));
        }
        p.dropping = true;
        Reply::Dropped { messages }
    }
}

/// Bytes that count for a payload: header, its length in front, and body.
fn size(header: &Bytes, body: &Bytes) -> u64 {
    (1 + header.len() + body.len()) as u64
}

impl Partition {
    fn room(&self, size: u64) -> Result<(), Refusal> {
        let config = &self.config;
        if config.max_messages != 0 && self.live().count() as u64 >= config.max_messages {
            return Err(Refusal::MessageLimit);
        }
        if config.max_bytes != 0 && self.bytes() + size > config.max_bytes {
            return Err(Refusal::ByteLimit);
        }
        Ok(())
    }

    fn send(&mut self, op: &Send, fx: &mut Effects) -> Seen {
        if let Some(producer) = &op.producer {
            if producer.first == 0 {
                return Seen::Same(Reply::Refused(Refusal::OutOfRange));
            }
            self.producers
                .entry(producer.id.clone())
                .or_default()
                .last_used = fx.now;
        }
        self.ids.retain(|id| id.until > fx.now);
        let mut outcomes: Vec<SendOutcome> = Vec::new();
        let full = |o: &&SendOutcome| {
            let limits = [Refusal::MessageLimit, Refusal::ByteLimit, Refusal::IdLimit];
            matches!(o, SendOutcome::Refused(refusal) if limits.contains(refusal))
        };
        for (n, m) in op.messages.iter().enumerate() {
            let producer = op
                .producer
                .as_ref()
                .map(|p| (p.id.clone(), p.first + n as u64));
            let ordered = self.config.ordering != Ordering::None;
            let outcome = match outcomes.iter().rfind(full).filter(|_| ordered) {
                Some(refused) => *refused,
                None => self.send_one(m, producer, fx.now),
            };
            outcomes.push(outcome);
        }
        self.settle_fronts(fx.now);
        Seen::Same(Reply::Sent(outcomes))
    }

    fn send_one(
        &mut self,
        m: &NewMessage,
        producer: Option<(Bytes, u64)>,
        now: u64,
    ) -> SendOutcome {
        if let Some((id, number)) = &producer {
            let known = &self.producers[id];
            if number + 1_024 <= known.highest {
                return SendOutcome::Refused(Refusal::OutOfRange);
            }
            if let Some(&sequence) = known.accepted.get(number) {
                return SendOutcome::Duplicate { sequence };
            }
            if self.config.ordering != Ordering::None && *number <= known.highest {
                return SendOutcome::Refused(Refusal::Overtaken);
            }
        }
        if let Err(refusal) = self.may_come(m, now) {
            return SendOutcome::Refused(refusal);
        }
        let known = self.known(m);
        let size = size(&m.header, &m.body);
        let room = self.room(size).and_then(|()| self.room_for_id(m));
        let (sequence, outcome) = match (known, room) {
            (Some(sequence), _) => (sequence, SendOutcome::Duplicate { sequence }),
            (None, Err(refusal)) => return SendOutcome::Refused(refusal),
            (None, Ok(())) => {
                let sequence = self.add(m, size, now);
                self.note(m, sequence, now);
                (sequence, SendOutcome::Accepted { sequence })
            }
        };
        if let Some((id, number)) = producer {
            let known: &mut Producer = self.producers.entry(id).or_default();
            known.accepted.insert(number, sequence);
            known.highest = known.highest.max(number);
        }
        outcome
    }

    fn may_come(&self, m: &NewMessage, now: u64) -> Result<(), Refusal> {
        let max = self.config.max_message_bytes as usize;
        if max != 0 && m.body.len() > max {
            return Err(Refusal::TooLarge);
        }
        if self.config.ordering == Ordering::PerKey && m.key.is_none() {
            return Err(Refusal::KeyRequired);
        }
        if m.not_before > now + MAX_DELAY_MS {
            return Err(Refusal::TooLate);
        }
        match m.identity {
            Some(Identity::Id(_)) if self.config.deduplication.is_none() => {
                Err(Refusal::NoDeduplication)
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, m: &NewMessage, size: u64, now: u64) -> u64 {
        self.sequence += 1;
        self.sent += 1;
        let sequence = self.sequence;
        let PartitionId { queue, partition } = self.id;
        let due = (now + m.delay_ms).max(m.not_before);
        let due = if due <= now { 0 } else { due };
        let message = Message {
            id: MessageId {
                queue,
                partition,
                sequence,
            },
            sequence,
            key: m.key.unwrap_or(0),
            body: m.body.clone(),
            size,
            enqueued_at: now,
            ready_from: due.max(now),
            ttl: m.ttl_ms,
            due,
            position: 0,
            early: false,
            of: BTreeMap::new(),
            settled_at: None,
        };
        if due != 0 && self.config.ordering == Ordering::None {
            self.delayed.push(message);
        } else {
            self.enter(message, now, false);
        }
        sequence
    }

    fn accept(&mut self, op: &Accept, fx: &mut Effects) -> Seen {
        let mut through = self.accepted.get(&op.source).copied().unwrap_or(0);
        let mut stopped = None;
        for (number, m) in (op.first..).zip(&op.messages) {
            if number <= through {
                continue;
            }
            let size = size(&m.header, &m.body);
            let refusal = if number > through + 1 {
                Err(Refusal::Gap)
            } else {
                self.room(size)
            };
            if let Err(refusal) = refusal {
                stopped = Some(refusal);
                break;
            }
            self.sequence += 1;
            self.sent += 1;
            through = number;
            // Without a key where keys are needed, a message is a key of its own.
            let own = self.config.ordering == Ordering::PerKey && m.key.is_none();
            let key = if own {
                own_key(m.id)
            } else {
                m.key.unwrap_or(0)
            };
            let message = Message {
                id: m.id,
                sequence: self.sequence,
                key,
                body: m.body.clone(),
                size,
                enqueued_at: m.enqueued_at,
                ready_from: fx.now,
                ttl: 0,
                due: 0,
                position: 0,
                early: false,
                of: BTreeMap::new(),
                settled_at: None,
            };
            self.enter(message, fx.now, false);
        }
        self.accepted.insert(op.source, through);
        self.settle_fronts(fx.now);
        Seen::Same(Reply::Accepted { through, stopped })
    }

    fn outbox_done(&mut self, op: &OutboxDone, fx: &mut Effects) -> Seen {
        let done = |m: &Leaving| m.target == op.target && m.number.is_some_and(|n| n <= op.through);
        let mut messages = 0;
        while let Some(at) = self.outbox.iter().position(done) {
            let gone = self.outbox.remove(at);
            let mut all = self.messages.iter().map(|m| m.sequence);
            let mut others = self.outbox.iter().map(|m| m.sequence);
            // The last one that names a payload frees it.
            if !all.any(|n| n == gone.sequence) && !others.any(|n| n == gone.sequence) {
                fx.freed.push(gone.body);
            }
            messages += 1;
        }
        Seen::Same(Reply::OutboxDone { messages })
    }
}

/// The key of a message that has none, where keys are needed: made of its id.
fn own_key(id: MessageId) -> u64 {
    let mut bytes = Vec::new();
    for mut n in [id.queue, u64::from(id.partition), id.sequence] {
        while n >= 0x80 {
            bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
    }
    key_hash(&bytes)
}
