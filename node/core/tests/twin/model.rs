//! The dumb twin: every message in one list, every rule by walking it.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_core::shard::{
    DeadLetterReason, DeadLetterTarget, EventKind, MessageId, OnExpiry, Ordering, OutboxReason,
    Overflow, PartitionConfig, PartitionId, SessionId, Totals, partition_of_key,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Waiting,
    Returned,
    BackingOff(u64),
    Leased {
        delivery: u64,
        slot: u16,
        deadline: u64,
        session: Option<SessionId>,
    },
    Blocked,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub id: MessageId,
    pub sequence: u64,
    /// Given when it enters the line.
    pub position: u64,
    pub key: u64,
    pub body: Bytes,
    pub size: u64,
    pub enqueued_at: u64,
    pub ready_from: u64,
    /// Its own time to live; 0: none.
    pub ttl: u64,
    /// When it is due; 0: at once.
    pub due: u64,
    pub state: State,
    pub count: u32,
    pub error: Bytes,
}

/// A message in an outbox. The twin does not predict its number, it only checks that it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub target: PartitionId,
    pub number: Option<u64>,
    pub id: MessageId,
    pub key: u64,
    pub body: Bytes,
    pub enqueued_at: u64,
    /// 0: at once.
    pub due: u64,
    /// 0: none.
    pub ttl: u64,
    pub reason: OutboxReason,
    pub count: u32,
    pub at: u64,
    pub error: Bytes,
}

#[derive(Debug, Default, Clone)]
pub struct Producer {
    pub accepted: BTreeMap<u64, u64>,
    pub highest: u64,
    pub last_used: u64,
}

/// An id of an accepted message.
#[derive(Debug, Clone)]
pub struct Remembered {
    pub what: u128,
    pub sequence: u64,
    /// When it is forgotten.
    pub until: u64,
}

#[derive(Debug, Clone)]
pub struct Partition {
    pub id: PartitionId,
    pub config: PartitionConfig,
    /// In order of position; the delayed ones are not among them.
    pub messages: Vec<Message>,
    pub delayed: Vec<Message>,
    pub outbox: Vec<Leaving>,
    pub accepted: BTreeMap<PartitionId, u64>,
    pub producers: BTreeMap<Bytes, Producer>,
    pub ids: Vec<Remembered>,
    pub sequence: u64,
    /// The next position.
    pub tail: u64,
    pub delivery: u64,
    pub totals: Totals,
    pub dropping: bool,
}

/// What an entry does beside its replies.
#[derive(Debug, Default)]
pub struct Effects {
    pub now: u64,
    pub freed: Vec<Bytes>,
    pub events: Vec<(PartitionId, MessageId, EventKind)>,
}

impl Partition {
    pub fn new(id: PartitionId, config: PartitionConfig) -> Self {
        Self {
            id,
            config,
            messages: Vec::new(),
            delayed: Vec::new(),
            outbox: Vec::new(),
            accepted: BTreeMap::new(),
            producers: BTreeMap::new(),
            ids: Vec::new(),
            sequence: 0,
            tail: 0,
            delivery: 0,
            totals: Totals::default(),
            dropping: false,
        }
    }

    pub fn live(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().chain(&self.delayed)
    }

    pub fn bytes(&self) -> u64 {
        self.live().map(|m| m.size).sum()
    }

    pub fn in_flight(&self) -> u64 {
        let leased = |m: &&Message| matches!(m.state, State::Leased { .. });
        self.messages.iter().filter(leased).count() as u64
    }

    /// The message of this key (strict: of the partition) that the others wait for.
    pub fn engaged(&self, key: u64) -> bool {
        let strict = self.config.ordering == Ordering::Strict;
        self.messages
            .iter()
            .any(|m| (strict || m.key == key) && holds_key(m))
    }

    pub fn expires_at(&self, m: &Message) -> Option<u64> {
        let ttls = [self.config.ttl_ms, m.ttl];
        let shortest = ttls.into_iter().filter(|ttl| *ttl != 0).min();
        shortest.map(|ttl| m.ready_from + ttl)
    }

    /// Adds a message at the end of the line.
    pub fn enter(&mut self, mut m: Message) {
        if self.config.ordering == Ordering::PerKey && m.due != 0 {
            let first = !self.messages.iter().any(|other| other.key == m.key);
            m.state = if first {
                State::BackingOff(m.due)
            } else {
                State::Blocked
            };
        }
        m.position = self.tail;
        self.tail += 1;
        self.messages.push(m);
    }

    /// Strict order: a delayed message that has come to the front backs off.
    pub fn settle_front(&mut self, now: u64) {
        if self.config.ordering != Ordering::Strict || self.engaged(0) {
            return;
        }
        if let Some(front) = self.messages.iter_mut().find(|m| m.state == State::Waiting)
            && front.due > now
        {
            front.state = State::BackingOff(front.due);
        }
    }

    /// Takes a message out of the line; the next one of its key may go.
    pub fn remove(&mut self, sequence: u64, now: u64) -> Message {
        let at = self
            .messages
            .iter()
            .position(|m| m.sequence == sequence)
            .expect("it is there");
        let gone = self.messages.remove(at);
        if self.config.ordering == Ordering::PerKey && !self.engaged(gone.key) {
            let next = self.messages.iter_mut().find(|m| m.key == gone.key);
            if let Some(next) = next.filter(|m| m.state == State::Blocked) {
                next.state = if next.due > now {
                    State::BackingOff(next.due)
                } else {
                    State::Returned
                };
            }
        }
        self.settle_front(now);
        gone
    }

    pub fn message(&mut self, sequence: u64) -> &mut Message {
        self.messages
            .iter_mut()
            .find(|m| m.sequence == sequence)
            .expect("it is there")
    }

    pub fn expire(&mut self, sequence: u64, fx: &mut Effects) {
        if self.config.on_expiry == OnExpiry::DeadLetter && self.config.dead_letter.is_some() {
            return self.fail(sequence, DeadLetterReason::Expired, fx);
        }
        let gone = self.remove(sequence, fx.now);
        self.totals.expired += 1;
        fx.events.push((self.id, gone.id, EventKind::Expired));
        fx.freed.push(gone.body);
    }

    /// A lease ended and the message shall be delivered again, not before `due`.
    pub fn give_back(&mut self, sequence: u64, due: u64, fx: &mut Effects) {
        let now = fx.now;
        let m = self.message(sequence).clone();
        if self.expires_at(&m).is_some_and(|at| at <= now) {
            return self.expire(sequence, fx);
        }
        self.message(sequence).state = if due > now {
            State::BackingOff(due)
        } else {
            State::Returned
        };
    }

    /// How long a message waits after a delivery that failed.
    pub fn backoff(&self, m: &Message) -> u64 {
        let backoff = self.config.backoff;
        backoff.map_or(0, |backoff| backoff.wait(m.count, m.sequence))
    }

    /// A message failed for good.
    pub fn fail(&mut self, sequence: u64, reason: DeadLetterReason, fx: &mut Effects) {
        let gone = self.remove(sequence, fx.now);
        let kept = reason != DeadLetterReason::Overflow
            || self.config.overflow == Overflow::DeadLetterOldest;
        let Some(to) = self.config.dead_letter.filter(|_| kept) else {
            self.totals.dropped += 1;
            fx.events
                .push((self.id, gone.id, EventKind::Dropped(reason)));
            fx.freed.push(gone.body);
            return;
        };
        let leaves = OutboxReason::DeadLettered(reason);
        let (id, target) = (gone.id, self.leave(gone, to, leaves, fx.now));
        self.totals.dead_lettered += 1;
        fx.events
            .push((self.id, id, EventKind::DeadLettered(reason, target)));
    }

    /// Puts a message that was taken out of the line into the outbox.
    pub fn leave(
        &mut self,
        gone: Message,
        to: DeadLetterTarget,
        reason: OutboxReason,
        now: u64,
    ) -> PartitionId {
        let spread = if gone.key == 0 {
            roadstead_core::shard::key_hash(&gone.sequence.to_be_bytes())
        } else {
            gone.key
        };
        let partition = partition_of_key(spread, to.partitions);
        let target = PartitionId {
            queue: to.queue,
            partition,
        };
        let redriven = reason == OutboxReason::Redriven;
        self.outbox.push(Leaving {
            target,
            number: None,
            id: gone.id,
            key: gone.key,
            body: gone.body,
            enqueued_at: gone.enqueued_at,
            due: 0,
            ttl: 0,
            reason,
            count: gone.count,
            at: now,
            error: if redriven { Bytes::new() } else { gone.error },
        });
        target
    }

    /// A lease ended without a settlement.
    pub fn lease_over(&mut self, sequence: u64, kind: Option<SessionId>, fx: &mut Effects) {
        let m = self.message(sequence).clone();
        self.totals.lease_expired += 1;
        let kind = kind.map_or(EventKind::LeaseExpired(m.count), EventKind::SessionReleased);
        fx.events.push((self.id, m.id, kind));
        if m.count >= self.config.max_deliveries {
            self.fail(sequence, DeadLetterReason::MaxDeliveries, fx);
        } else {
            self.give_back(sequence, fx.now + self.backoff(&m), fx);
        }
    }

    /// Everything that is due.
    pub fn tick(&mut self, fx: &mut Effects) {
        let now = fx.now;
        let overdue =
            |m: &Message| matches!(m.state, State::Leased { deadline, .. } if deadline <= now);
        while let Some(m) = self.messages.iter().find(|m| overdue(m)) {
            self.lease_over(m.sequence, None, fx);
        }
        for m in &mut self.messages {
            if matches!(m.state, State::BackingOff(due) if due <= now) {
                m.state = State::Returned;
            }
        }
        let leased = |m: &Message| matches!(m.state, State::Leased { .. });
        while let Some(m) = self
            .messages
            .iter()
            .find(|m| !leased(m) && self.expires_at(m).is_some_and(|at| at <= now))
        {
            self.expire(m.sequence, fx);
        }
        self.delayed.sort_by_key(|m| (m.due, m.sequence));
        while self.delayed.first().is_some_and(|m| m.due <= now) {
            let m = self.delayed.remove(0);
            self.enter(Message {
                due: 0,
                ready_from: now,
                ..m
            });
        }
        self.producers
            .retain(|_, producer| producer.last_used + 600_000 > now);
        self.ids.retain(|id| id.until > now);
        self.settle_front(now);
    }

    /// When something is due at the earliest.
    pub fn earliest(&self) -> Option<u64> {
        let of = |m: &Message| match m.state {
            State::Leased { deadline, .. } => Some(deadline),
            State::BackingOff(due) => Some(self.expires_at(m).map_or(due, |at| at.min(due))),
            _ => self.expires_at(m),
        };
        let messages = self.messages.iter().filter_map(of);
        let ids = self.ids.iter().map(|id| id.until);
        let messages = messages.chain(self.delayed.iter().map(|m| m.due));
        messages.chain(ids).min()
    }
}

fn holds_key(m: &Message) -> bool {
    matches!(
        m.state,
        State::Leased { .. } | State::Returned | State::BackingOff(_)
    )
}
