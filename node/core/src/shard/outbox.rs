//! Outboxes: messages on their way to another partition, numbered per source and target.

use std::ops::ControlFlow;

use super::attempts::{Attempt, Attempts};
use super::depart::Departure;
use super::group::View;
use super::id::{PartitionId, PayloadRef, put_message_id, read_message_id};
use super::keys;
use super::overflow::Overflow;
use super::partition::{Shared, Step, corrupt};
use super::place::Removed;
use super::reply::{DeadLetterReason, EventKind, OutboxMessage, OutboxReason};
use crate::codec::{Decoded, Put, Reader};
use crate::kv::{self, Kv, KvError};

/// Numbers of one outbox. They are kept as long as the partition: the target remembers its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The first one that is still in it.
    pub(crate) first: u64,
    /// The next one to be given.
    pub(crate) next: u64,
}

const VERSION: u8 = 1;

impl Numbers {
    pub(crate) fn pending(self) -> u64 {
        self.next - self.first
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_varint(self.first);
        out.put_varint(self.next);
        out
    }

    fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of outbox numbers")?;
        let numbers = Self {
            first: r.varint("first number")?,
            next: r.varint("next number")?,
        };
        r.finish("end of outbox numbers")?;
        if numbers.first > numbers.next {
            r.fail("outbox numbers")
        } else {
            Ok(numbers)
        }
    }
}

impl OutboxMessage {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.push(match self.reason {
            OutboxReason::DeadLettered(DeadLetterReason::MaxDeliveries) => 0,
            OutboxReason::DeadLettered(DeadLetterReason::Rejected) => 1,
            OutboxReason::DeadLettered(DeadLetterReason::Expired) => 2,
            OutboxReason::DeadLettered(DeadLetterReason::Overflow) => 3,
            OutboxReason::Redriven => 4,
            OutboxReason::Sent => 5,
        });
        put_message_id(&mut out, self.id);
        out.put_varint(self.enqueued_at);
        out.put_u64(self.key.unwrap_or(0));
        out.put_varint(self.payload.index);
        out.put_varint(u64::from(self.payload.offset));
        out.put_varint(u64::from(self.payload.len));
        out.put_varint(u64::from(self.delivery_count));
        out.put_varint(self.due);
        out.put_varint(self.ttl_ms);
        out.push(self.priority);
        out.put_varint(self.tenant.unwrap_or(0));
        out.put_varint(self.at);
        self.attempts.encode(&mut out);
        out
    }

    fn decode(number: u64, value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of outbox message")?;
        let reason = match r.u8("reason")? {
            0 => OutboxReason::DeadLettered(DeadLetterReason::MaxDeliveries),
            1 => OutboxReason::DeadLettered(DeadLetterReason::Rejected),
            2 => OutboxReason::DeadLettered(DeadLetterReason::Expired),
            3 => OutboxReason::DeadLettered(DeadLetterReason::Overflow),
            4 => OutboxReason::Redriven,
            5 => OutboxReason::Sent,
            _ => return r.fail("reason"),
        };
        let message = Self {
            number,
            reason,
            id: read_message_id(&mut r)?,
            enqueued_at: r.varint("time of acceptance")?,
            key: Some(r.u64("key hash")?).filter(|key| *key != 0),
            payload: PayloadRef {
                index: r.varint("log index")?,
                offset: r.varint_u32("payload offset")?,
                len: r.varint_u32("payload length")?,
            },
            delivery_count: r.varint_u32("delivery count")?,
            due: r.varint("due time")?,
            ttl_ms: r.varint("time to live")?,
            priority: r.u8("priority")?,
            tenant: Some(r.varint("tenant")?).filter(|tenant| *tenant != 0),
            at: r.varint("time of failure")?,
            attempts: Attempts::decode(&mut r)?,
        };
        r.finish("end of outbox message")?;
        Ok(message)
    }
}

/// A message that failed for good.
pub(crate) struct Failed {
    pub(crate) position: u64,
    /// Deliveries that had failed before the last one.
    pub(crate) before: u32,
    pub(crate) reason: DeadLetterReason,
    /// The delivery that has failed now, if one has.
    pub(crate) last: Option<Attempt>,
}

/// How a message was lost.
pub(crate) struct Lost {
    pub(crate) reason: DeadLetterReason,
    pub(crate) delivery_count: u32,
    pub(crate) attempts: Attempts,
}

impl View<'_> {
    /// Removes a message that has left its place and failed for good: to its dead-letter queue by
    /// way of the outbox, or for ever where there is none.
    pub(crate) fn fail(&mut self, step: &mut Step<'_>, failed: Failed) -> Result<(), KvError> {
        let Failed {
            position,
            before,
            reason,
            last,
        } = failed;
        let mut attempts = self.look().attempts(step.kv, position, before)?;
        let delivery_count = before + u32::from(last.is_some());
        if let Some(last) = last {
            attempts.push(last);
        }
        let removed = self.remove(step, position, before)?;
        let lost = Lost {
            reason,
            delivery_count,
            attempts,
        };
        self.lose(step, &removed, lost)
    }

    /// A message that was removed has failed for good.
    pub(crate) fn lose(
        &mut self,
        step: &mut Step<'_>,
        removed: &Removed,
        lost: Lost,
    ) -> Result<(), KvError> {
        let Lost {
            reason,
            delivery_count,
            attempts,
        } = lost;
        let id = removed.header.id(self.id());
        let kept = reason != DeadLetterReason::Overflow
            || self.config.overflow == Overflow::DeadLetterOldest;
        let Some(to) = self.config.dead_letter.filter(|_| kept) else {
            removed.free(step)?;
            self.group.dropped += 1;
            self.event(step, id, EventKind::Dropped(reason));
            return Ok(());
        };
        let departure = Departure {
            to,
            payload: None,
            reason: OutboxReason::DeadLettered(reason),
            delivery_count,
            attempts,
        };
        let target = self.depart(step, removed, departure)?;
        self.group.dead_lettered += 1;
        self.event(step, id, EventKind::DeadLettered(reason, target));
        Ok(())
    }
}

impl Shared {
    /// Forgets what the target has accepted, at most `max` messages. How many.
    pub(crate) fn outbox_done(
        &mut self,
        step: &mut Step<'_>,
        target: PartitionId,
        through: u64,
        max: u64,
    ) -> Result<u64, KvError> {
        let Some(mut numbers) = self.outboxes.get(&target).copied() else {
            return Ok(0);
        };
        let begin = numbers.first;
        let end = through
            .saturating_add(1)
            .min(numbers.next)
            .min(begin.saturating_add(max));
        while numbers.first < end {
            let message = self.outbox_message(step.kv, target, numbers.first)?;
            step.kv.delete(&self.keys.outbox(target, numbers.first));
            Self::release(step, message.payload)?;
            numbers.first += 1;
        }
        if numbers.first != begin {
            step.kv
                .put(&self.keys.numbers(target), numbers.encode().into());
            self.outboxes.insert(target, numbers);
        }
        Ok(numbers.first - begin)
    }

    fn outbox_message(
        &self,
        kv: &dyn Kv,
        target: PartitionId,
        number: u64,
    ) -> Result<OutboxMessage, KvError> {
        let Some(row) = kv.get(&self.keys.outbox(target, number))? else {
            let id = self.id();
            return Err(KvError(format!(
                "outbox of partition {id}: number {number} is missing"
            )));
        };
        OutboxMessage::decode(number, &row).map_err(|e| corrupt("outbox", self.id(), &e))
    }

    /// The first `max` messages of an outbox.
    pub(crate) fn outbox_heads(
        &self,
        kv: &dyn Kv,
        target: PartitionId,
        max: usize,
    ) -> Result<Vec<OutboxMessage>, KvError> {
        let Some(numbers) = self.outboxes.get(&target) else {
            return Ok(Vec::new());
        };
        let end = numbers.first.saturating_add(max as u64).min(numbers.next);
        (numbers.first..end)
            .map(|number| self.outbox_message(kv, target, number))
            .collect()
    }

    /// Messages on their way to a queue.
    pub(crate) fn outbox_pending_to(&self, queue: u64) -> u64 {
        let to = |partition| PartitionId { queue, partition };
        let outboxes = self.outboxes.range(to(0)..=to(u32::MAX));
        outboxes.map(|(_, numbers)| numbers.pending()).sum()
    }

    /// Messages in all outboxes.
    pub(crate) fn outbox_pending(&self) -> u64 {
        self.outboxes
            .values()
            .map(|numbers| numbers.pending())
            .sum()
    }

    pub(crate) fn load_outboxes(&mut self, kv: &dyn Kv) -> Result<(), KvError> {
        let (from, end) = self.keys.kinds(b'x', b'x' + 1);
        let mut broken = None;
        kv.scan(&from, &end, &mut |key, value| {
            let target = keys::Keys::split(key).and_then(|(_, rest)| keys::target(rest));
            if let (Some(target), Ok(numbers)) = (target, Numbers::decode(value)) {
                self.outboxes.insert(target, numbers);
                return ControlFlow::Continue(());
            }
            broken = Some(KvError(format!(
                "outbox numbers of partition {}",
                self.keys.0
            )));
            ControlFlow::Break(())
        })?;
        broken.map_or(Ok(()), Err)
    }

    /// Highest number accepted from a source.
    pub(crate) fn accepted(&self, kv: &dyn Kv, source: PartitionId) -> Result<u64, KvError> {
        let row = kv.get(&self.keys.accepted(source))?;
        Ok(row.map_or(0, |row| keys::tail(&row)))
    }

    /// Remembers the highest number accepted from a source.
    pub(crate) fn set_accepted(&self, kv: &mut dyn Kv, source: PartitionId, number: u64) {
        let mut row = vec![VERSION];
        row.extend(number.to_be_bytes());
        kv.put(&self.keys.accepted(source), row.into());
    }
}

/// All rows of one kind of a partition that were read, at most `max`.
pub(crate) fn rows_of(
    partition: &Shared,
    kv: &dyn Kv,
    kind: u8,
    max: usize,
) -> Result<Vec<kv::Row>, KvError> {
    let (from, end) = partition.keys.kinds(kind, kind + 1);
    kv::take(kv, &from, &end, max)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::shard::{AttemptEnd, MessageId};

    #[test]
    fn rows_come_back_and_their_bytes_are_frozen() {
        let numbers = Numbers {
            first: 3,
            next: 300,
        };
        assert_eq!(numbers.encode(), [1, 3, 0xac, 2]);
        assert_eq!(Numbers::decode(&numbers.encode()), Ok(numbers));
        assert!(Numbers::decode(&[1, 5, 4]).is_err());
        let mut message = OutboxMessage {
            number: 7,
            id: MessageId {
                queue: 1,
                partition: 2,
                sequence: 3,
            },
            enqueued_at: 4,
            key: Some(5),
            payload: PayloadRef {
                index: 6,
                offset: 7,
                len: 8,
            },
            reason: OutboxReason::DeadLettered(DeadLetterReason::Rejected),
            delivery_count: 9,
            due: 11,
            ttl_ms: 12,
            priority: 8,
            tenant: Some(13),
            at: 10,
            attempts: Attempts::default(),
        };
        message.attempts.push(Attempt {
            delivered_at: 9,
            ended_at: 10,
            how: AttemptEnd::Rejected,
            error: Bytes::from_static(b"no"),
        });
        let expected = [
            1, 1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8, 9, 11, 12, 8, 13, 10, 1, 9, 1, 0, 1,
            2, b'n', b'o',
        ];
        assert_eq!(message.encode(), expected);
        assert_eq!(
            OutboxMessage::decode(7, &message.encode()),
            Ok(message.clone())
        );
        assert!(OutboxMessage::decode(7, &expected[..10]).is_err());
        let redriven = OutboxMessage {
            reason: OutboxReason::Redriven,
            ..message.clone()
        };
        assert_eq!(redriven.encode()[1], 4);
        assert_eq!(OutboxMessage::decode(7, &redriven.encode()), Ok(redriven));
    }
}
