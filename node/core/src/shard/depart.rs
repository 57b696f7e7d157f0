//! How a message gets into an outbox.

use super::attempts::Attempts;
use super::config::DeadLetterTarget;
use super::id::{PartitionId, PayloadRef, key_hash, partition_of_key};
use super::outbox::Numbers;
use super::partition::{Shared, Step};
use super::place::Removed;
use super::reply::{OutboxMessage, OutboxReason};
use crate::kv::KvError;

/// How a message leaves for another queue.
pub(crate) struct Departure {
    pub(crate) to: DeadLetterTarget,
    /// In place of its own.
    pub(crate) payload: Option<PayloadRef>,
    pub(crate) reason: OutboxReason,
    pub(crate) delivery_count: u32,
    pub(crate) attempts: Attempts,
}

impl Shared {
    /// Puts a message that was removed into the outbox. The partition that it goes to.
    pub(crate) fn depart(
        &mut self,
        step: &mut Step<'_>,
        removed: &Removed,
        departure: Departure,
    ) -> Result<PartitionId, KvError> {
        let header = &removed.header;
        let spread = if header.key == 0 {
            spread(header.sequence)
        } else {
            header.key
        };
        let target = PartitionId {
            queue: departure.to.queue,
            partition: partition_of_key(spread, departure.to.partitions),
        };
        let payload = if let Some(new) = departure.payload {
            removed.free(step)?;
            Self::hold(step, new);
            new
        } else {
            self.hold_for_outbox(step, removed)?;
            header.payload
        };
        let message = OutboxMessage {
            number: 0,
            id: header.id(self.keys.0),
            enqueued_at: header.enqueued_at,
            key: Some(header.key).filter(|key| *key != 0),
            due: 0,
            ttl_ms: 0,
            priority: header.priority,
            tenant: Some(header.tenant).filter(|tenant| *tenant != 0),
            payload,
            reason: departure.reason,
            delivery_count: departure.delivery_count,
            at: step.now,
            attempts: departure.attempts,
        };
        self.put_in_outbox(step, target, message);
        Ok(target)
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
}

/// Spreads sequences over the whole range of a hash.
fn spread(sequence: u64) -> u64 {
    key_hash(&sequence.to_be_bytes())
}
