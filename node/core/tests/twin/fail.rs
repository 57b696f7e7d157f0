//! What the twin does with messages that fail, expire or come back.

use bytes::Bytes;
use roadstead_core::shard::*;

use super::model::{Effects, Leaving, Message, Partition, State};

impl Partition {
    pub fn expire(&mut self, group: u32, sequence: u64, fx: &mut Effects) {
        if self.config.on_expiry == OnExpiry::DeadLetter && self.config.dead_letter.is_some() {
            return self.fail(group, sequence, DeadLetterReason::Expired, fx);
        }
        let (gone, _) = self.remove(group, sequence, fx);
        self.totals(group).expired += 1;
        fx.events
            .push((self.id, group, gone.id, EventKind::Expired));
    }

    /// A lease ended and the message shall be delivered again, not before `due`.
    pub fn give_back(&mut self, group: u32, sequence: u64, due: u64, fx: &mut Effects) {
        let now = fx.now;
        let m = &self.messages[self.at(sequence)];
        if self.expires_at(m).is_some_and(|at| at <= now) {
            return self.expire(group, sequence, fx);
        }
        self.message(group, sequence).state = if due > now {
            State::BackingOff(due)
        } else {
            State::Returned
        };
    }

    /// How long a message waits after so many deliveries that failed.
    pub fn backoff(&self, count: u32, sequence: u64) -> u64 {
        let backoff = self.config.backoff;
        backoff.map_or(0, |backoff| backoff.wait(count, sequence))
    }

    /// A message failed for good for a group.
    pub fn fail(&mut self, group: u32, sequence: u64, reason: DeadLetterReason, fx: &mut Effects) {
        let m = self.messages[self.at(sequence)].clone();
        let mine = self.message(group, sequence).clone();
        // Named by the outbox first: its payload stays.
        let leaves = OutboxReason::DeadLettered(reason);
        let to = self.config.dead_letter;
        let target = to.map(|to| self.leave((&m, mine.count, mine.attempts()), to, leaves, fx));
        self.remove(group, sequence, fx);
        self.lost((group, m.id), reason, target, fx);
    }

    /// Counts a message that failed for good, and tells of it.
    pub fn lost(
        &mut self,
        (group, id): (u32, MessageId),
        reason: DeadLetterReason,
        target: Option<PartitionId>,
        fx: &mut Effects,
    ) {
        let totals = self.totals(group);
        let event = if let Some(target) = target {
            totals.dead_lettered += 1;
            EventKind::DeadLettered(reason, target)
        } else {
            totals.dropped += 1;
            EventKind::Dropped(reason)
        };
        fx.events.push((self.id, group, id, event));
    }

    /// Puts a message into the outbox; with deliveries, and those that failed.
    pub fn leave(
        &mut self,
        (m, count, attempts): (&Message, u32, Attempts),
        to: DeadLetterTarget,
        reason: OutboxReason,
        fx: &Effects,
    ) -> PartitionId {
        let spread = if m.key == 0 {
            key_hash(&m.sequence.to_be_bytes())
        } else {
            m.key
        };
        let partition = partition_of_key(spread, to.partitions);
        let target = PartitionId {
            queue: to.queue,
            partition,
        };
        self.outbox.push(Leaving {
            target,
            number: None,
            sequence: m.sequence,
            id: m.id,
            key: m.key,
            body: m.body.clone(),
            enqueued_at: m.enqueued_at,
            due: 0,
            ttl: 0,
            priority: m.priority,
            tenant: m.tenant,
            reason,
            count,
            at: fx.now,
            attempts,
        });
        target
    }

    /// A lease ended without a settlement.
    pub fn lease_over(
        &mut self,
        (group, sequence): (u32, u64),
        kind: Option<SessionId>,
        fx: &mut Effects,
    ) {
        let id = self.messages[self.at(sequence)].id;
        let count = self.message(group, sequence).count;
        self.totals(group).lease_expired += 1;
        let how = kind.map_or(AttemptEnd::LeaseExpired, |_| AttemptEnd::SessionReleased);
        self.note_attempt((group, sequence), how, &Bytes::new(), fx.now);
        let kind = kind.map_or(EventKind::LeaseExpired(count), EventKind::SessionReleased);
        fx.events.push((self.id, group, id, kind));
        self.outcome(group, id, true, fx);
        if count >= self.config.max_deliveries {
            self.fail(group, sequence, DeadLetterReason::MaxDeliveries, fx);
        } else {
            let due = fx.now + self.backoff(count, sequence);
            self.give_back(group, sequence, due, fx);
        }
    }
}
