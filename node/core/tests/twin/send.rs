//! What the twin does for sends.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_core::clock::YEAR_MS;
use roadstead_core::shard::*;

use super::model::{Effects, Message, Mine, Partition, Producer, State};
use super::ops::Seen;

/// Bytes that count for a payload: header, its length in front, and body.
pub fn size(header: &Bytes, body: &Bytes) -> u64 {
    (1 + header.len() + body.len()) as u64
}

impl Partition {
    pub fn send(&mut self, op: &Send, fx: &mut Effects) -> Seen {
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
        if op.atomic {
            return Seen::Same(Reply::Sent(self.send_together(op, fx)));
        }
        let mut outcomes: Vec<SendOutcome> = Vec::new();
        for (m, producer) in numbered(op) {
            let ordered = self.config.ordering != Ordering::None;
            let full = |o: &&SendOutcome| match o {
                SendOutcome::Refused(refusal) => self.holds_up(*refusal),
                _ => false,
            };
            let refused = outcomes.iter().rfind(full).filter(|_| ordered);
            let outcome = match refused.copied() {
                Some(refused) => refused,
                None => self.send_one(m, producer, fx),
            };
            outcomes.push(outcome);
        }
        self.settle_fronts(fx.now);
        Seen::Same(Reply::Sent(outcomes))
    }

    /// Tries the batch on a copy, where nothing makes room for anything.
    fn send_together(&mut self, op: &Send, fx: &mut Effects) -> Vec<SendOutcome> {
        let mut copy = self.clone();
        copy.config.overflow = Overflow::Reject;
        copy.asked = Some(0);
        let tried = numbered(op).map(|(m, producer)| copy.send_one(m, producer, fx));
        let tried: Vec<_> = tried.collect();
        let before = self.sequence;
        let refused = |o: &SendOutcome| matches!(o, SendOutcome::Refused(_));
        let added = |o: &SendOutcome| matches!(o, SendOutcome::Accepted { .. });
        let apart = tried.contains(&SendOutcome::Moved) && tried.iter().any(added);
        if !apart && !tried.iter().any(refused) {
            *self = Self {
                config: self.config.clone(),
                asked: None,
                ..copy
            };
            self.settle_fronts(fx.now);
            return tried;
        }
        let together = |outcome| match outcome {
            SendOutcome::Accepted { .. } => SendOutcome::Refused(Refusal::BatchRefused),
            SendOutcome::Duplicate { sequence } if sequence > before => {
                SendOutcome::Refused(Refusal::BatchRefused)
            }
            other => other,
        };
        tried.into_iter().map(together).collect()
    }

    fn send_one(
        &mut self,
        m: &NewMessage,
        producer: Option<(Bytes, u64)>,
        fx: &mut Effects,
    ) -> SendOutcome {
        if let Some((id, number)) = &producer {
            let known = &self.producers[id];
            if number + 1_024 <= known.highest {
                return SendOutcome::Refused(Refusal::OutOfRange);
            }
            match known.accepted.get(number) {
                Some(0) => return SendOutcome::Moved,
                Some(&sequence) => return SendOutcome::Duplicate { sequence },
                None => {}
            }
            if self.config.ordering != Ordering::None && *number <= known.highest {
                return SendOutcome::Refused(Refusal::Overtaken);
            }
        }
        if let Err(refusal) = self.may_come(m, fx.now) {
            return SendOutcome::Refused(refusal);
        }
        let size = size(&m.header, &m.body);
        let (sequence, outcome) = if let Some(sequence) = self.known(m) {
            (sequence, SendOutcome::Duplicate { sequence })
        } else if self.has_moved(m.key.unwrap_or(0)) {
            (0, SendOutcome::Moved)
        } else {
            if self.is_over_rate() {
                return SendOutcome::Refused(Refusal::BatchOverRate);
            }
            let room = self.room_for_id(m);
            let room = room.and_then(|()| self.room_in_rate(fx.now));
            if let Err(refusal) =
                room.and_then(|()| self.make_room(size, m.priority.min(MAX_PRIORITY), fx))
            {
                return SendOutcome::Refused(refusal);
            }
            self.use_rate(fx.now);
            let sequence = self.add(m, size, fx.now);
            self.note(m, sequence, fx.now);
            (sequence, SendOutcome::Accepted { sequence })
        };
        if let Some((id, number)) = producer {
            let known: &mut Producer = self.producers.entry(id).or_default();
            known.accepted.insert(number, sequence);
            known.highest = known.highest.max(number);
        }
        outcome
    }

    /// Room for one more message; the oldest that is ready of the lowest lane makes it, where the
    /// queue says so, unless its lane is higher than the message's priority.
    pub fn make_room(&mut self, size: u64, priority: u8, fx: &mut Effects) -> Result<(), Refusal> {
        let Err(full) = self.room(1, size) else {
            return Ok(());
        };
        let mut copy = self.clone();
        let mut nothing = Effects {
            now: fx.now,
            ..Effects::default()
        };
        let max = self.config.max_bytes;
        if self.config.overflow == Overflow::Reject || (max != 0 && size > max) {
            return Err(full);
        }
        let may = |m: &&Message| m.stream.0 <= priority && may_be_displaced(m, fx.now);
        let mut oldest: Vec<_> = self.messages.iter().filter(may).collect();
        oldest.sort_by_key(|m| m.stream.0);
        let oldest: Vec<u64> = oldest.into_iter().map(|m| m.sequence).collect();
        for (enough, sequence) in (1..).zip(&oldest) {
            copy.displace(*sequence, &mut nothing);
            if copy.room(1, size).is_ok() {
                for sequence in &oldest[..enough] {
                    self.displace(*sequence, fx);
                }
                return Ok(());
            }
        }
        Err(full)
    }

    /// A message goes for all groups; what the first one that needed it knows of it goes along.
    fn displace(&mut self, sequence: u64, fx: &mut Effects) {
        let m = self.messages.iter().find(|m| m.sequence == sequence);
        let m = m.expect("it is there").clone();
        let mine = m.of.values().next().expect("a group needs it").clone();
        let reason = DeadLetterReason::Overflow;
        let kept = self.config.overflow == Overflow::DeadLetterOldest;
        let to = self.config.dead_letter.filter(|_| kept);
        let leaves = OutboxReason::DeadLettered(reason);
        let target = to.map(|to| self.leave((&m, mine.count, mine.attempts()), to, leaves, fx));
        self.take_out(sequence, fx);
        self.lost((DEFAULT_GROUP, m.id), reason, target, fx);
    }

    fn may_come(&self, m: &NewMessage, now: u64) -> Result<(), Refusal> {
        let max = self.config.max_message_bytes as usize;
        if max != 0 && m.body.len() > max {
            return Err(Refusal::TooLarge);
        }
        if self.config.ordering == Ordering::PerKey && m.key.is_none() {
            return Err(Refusal::KeyRequired);
        }
        if self.config.sticky_keys && m.tenant.is_some() {
            return Err(Refusal::StickyTenant);
        }
        if m.not_before > now + YEAR_MS {
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
            position: 0,
            key: m.key.unwrap_or(0),
            body: m.body.clone(),
            size,
            enqueued_at: now,
            ready_from: due.max(now),
            ttl: m.ttl_ms,
            due,
            priority: m.priority.min(MAX_PRIORITY),
            tenant: m.tenant.unwrap_or(0),
            stream: (0, 0),
            early: false,
            of: BTreeMap::new(),
            settled_at: None,
        };
        self.come(message, now);
        sequence
    }

    /// Adds a message, which may be due later.
    pub fn come(&mut self, message: Message, now: u64) {
        if message.due != 0 && self.config.ordering == Ordering::None {
            self.delayed.push(message);
        } else {
            self.enter(message, now, false);
        }
    }

    fn room(&self, messages: u64, size: u64) -> Result<(), Refusal> {
        let config = &self.config;
        let count = self.live().count() as u64 + messages;
        if config.max_messages != 0 && count > config.max_messages {
            return Err(Refusal::MessageLimit);
        }
        if config.max_bytes != 0 && self.bytes() + size > config.max_bytes {
            return Err(Refusal::ByteLimit);
        }
        Ok(())
    }
}

/// Whether it is live, and receivable for every group that needs it, or would be if none of its
/// key stood before it.
fn may_be_displaced(m: &Message, now: u64) -> bool {
    let ready = |mine: &Mine| match mine.state {
        State::Waiting => !m.early,
        State::Returned => true,
        _ => false,
    };
    m.due <= now && m.settled_at.is_none() && m.of.values().all(ready)
}

/// The messages of a send with their producer and number.
fn numbered(op: &Send) -> impl Iterator<Item = (&NewMessage, Option<(Bytes, u64)>)> {
    let of = |n: usize| {
        let producer = op.producer.as_ref();
        producer.map(|p| (p.id.clone(), p.first + n as u64))
    };
    op.messages.iter().enumerate().map(move |(n, m)| (m, of(n)))
}
