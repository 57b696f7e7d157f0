//! How a message gets into an outbox.

use bytes::Bytes;

use super::config::DeadLetterTarget;
use super::header::Header;
use super::id::{PartitionId, PayloadRef, key_hash, partition_of_key};
use super::keys;
use super::outbox::{Numbers, loose_row};
use super::partition::{Shared, Step};
use super::reply::{OutboxMessage, OutboxReason};

/// How a message leaves for another queue.
pub(crate) struct Departure {
    pub(crate) to: DeadLetterTarget,
    /// In place of its own.
    pub(crate) payload: Option<PayloadRef>,
    pub(crate) reason: OutboxReason,
    pub(crate) delivery_count: u32,
    pub(crate) error: Bytes,
}

impl Shared {
    /// Puts a message that was removed into the outbox. The partition that it goes to.
    pub(crate) fn depart(
        &mut self,
        step: &mut Step<'_>,
        header: &Header,
        departure: Departure,
    ) -> PartitionId {
        let spread = if header.key == 0 {
            spread(header.sequence)
        } else {
            header.key
        };
        let target = PartitionId {
            queue: departure.to.queue,
            partition: partition_of_key(spread, departure.to.partitions),
        };
        let payload = Self::hold_for(step, header, departure.payload);
        let message = OutboxMessage {
            number: 0,
            id: header.id(self.keys.0),
            enqueued_at: header.enqueued_at,
            key: Some(header.key).filter(|key| *key != 0),
            due: 0,
            ttl_ms: 0,
            payload,
            reason: departure.reason,
            delivery_count: departure.delivery_count,
            at: step.now,
            error: departure.error,
        };
        self.put_in_outbox(step, target, message);
        target
    }

    /// Gives a message the next number of an outbox.
    pub(crate) fn put_in_outbox(
        &mut self,
        step: &mut Step<'_>,
        target: PartitionId,
        message: OutboxMessage,
    ) {
        let numbers = self
            .outboxes
            .entry(target)
            .or_insert(Numbers { first: 1, next: 1 });
        let number = numbers.next;
        numbers.next += 1;
        let numbers = numbers.encode();
        step.kv.put(&self.keys.numbers(target), numbers.into());
        let message = OutboxMessage { number, ..message };
        step.kv
            .put(&self.keys.outbox(target, number), message.encode().into());
    }

    /// Keeps the payload of a message that leaves, or the new one that it gets. Which that is.
    fn hold_for(step: &mut Step<'_>, header: &Header, new: Option<PayloadRef>) -> PayloadRef {
        let Some(payload) = new else {
            Self::hold(step, header);
            return header.payload;
        };
        Self::free(step, header);
        step.kv.put(&keys::loose(payload), loose_row(payload));
        payload
    }

    /// Gives the payload of a message that is no longer at a position a row of its own.
    pub(crate) fn hold(step: &mut Step<'_>, header: &Header) {
        if !header.loose {
            step.kv
                .put(&keys::loose(header.payload), loose_row(header.payload));
        }
    }
}

/// Spreads sequences over the whole range of a hash.
fn spread(sequence: u64) -> u64 {
    key_hash(&sequence.to_be_bytes())
}
