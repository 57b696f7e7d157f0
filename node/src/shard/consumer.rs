//! One consumer at its shard: what it asked for, its credit, and how it hears.

use roadstead_core::shard::{PartitionId, Received, SessionId};
use roadstead_proto::v1::{Consumer as ConsumerLabel, QueueRef};
use tokio::sync::mpsc;

use super::drains::GroupOf;
use super::replica::Unapplied;

/// A partition and a consumer group: where a consumer waits.
pub type Line = (PartitionId, u32);

/// Number of a subscription in its shard, never used again.
pub type ConsumerId = u64;

/// What a consumer hears.
#[derive(Debug)]
pub enum Push {
    /// Messages leased to it.
    Leased(Received),
    /// Something is ready that its credit does not cover.
    Available,
    /// Credit taken back unused.
    Returned(u32),
    /// It gets no deliveries for so many ms; None: they go on.
    Draining(Option<u64>),
    /// The subscription is over.
    Closed(Closed),
}

/// Why a subscription is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// Leadership moved.
    Leadership(Unapplied),
    /// The same session was opened again.
    Replaced,
    /// The same session has a newer stream.
    Outdated,
    /// The queue was deleted.
    Gone(QueueRef),
    /// The consumer group was deleted.
    GroupGone(QueueRef),
}

/// Who receives what.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The name of their queue, for people.
    pub queue: QueueRef,
    /// The partitions of this shard that it receives from.
    pub partitions: Vec<PartitionId>,
    /// Id of their consumer group.
    pub group: u32,
    /// Its session.
    pub session: Option<SessionId>,
    /// A try of one receive: its leases end by themselves, not with the session.
    pub one_time: bool,
    /// The session as the client named it.
    pub session_name: String,
    /// Which of the session's streams: a later one has a higher number.
    pub stream: u64,
    /// Lease in ms; None: the queue's.
    pub lease_ms: Option<u64>,
    /// What it is delivered is acked by that.
    pub at_most_once: bool,
    /// Before whom it is served.
    pub rank: Rank,
    /// For people.
    pub label: ConsumerLabel,
}

/// Which of several consumers is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rank {
    /// While one with a higher priority has credit, others get nothing.
    pub priority: u32,
    /// While it is there it alone is served, of several of these the one with the highest
    /// priority, then the one that came first; the others stand by.
    pub exclusive: bool,
}

impl Wish {
    /// Its queue and group; None when it wants no partition.
    pub fn group_of(&self) -> Option<GroupOf> {
        let partition = self.partitions.first()?;
        Some((partition.queue, self.group))
    }

    /// Where it waits.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        let group = self.group;
        self.partitions
            .iter()
            .map(move |partition| (*partition, group))
    }
}

/// One subscription.
#[derive(Debug)]
pub struct Consumer {
    /// What it asked for.
    pub wish: Wish,
    /// What it may still be given, beside `reserved`.
    pub credit: u32,
    /// Asked for in entries that are being written.
    pub reserved: u32,
    /// Granted behind a credit that is being taken back.
    pub(super) later: u32,
    pub(super) taking_back: u32,
    /// Orders to give back that wait until its credit has been looked at.
    pub(super) recalled: u32,
    pub(super) hinted: bool,
    /// When something was delivered to it or it settled something last, or it came.
    pub active_ms: u64,
    /// It gets nothing until then.
    pub drained_until_ms: Option<u64>,
    /// Leased to its session before, and to be delivered again.
    pub(super) owed: Vec<Received>,
    /// Where something may be ready that was not asked for while its credit was on its way.
    starved: Vec<Line>,
    push: mpsc::UnboundedSender<Push>,
}

impl Consumer {
    /// Without credit. `owed` is leased to its session already.
    pub(super) fn new(wish: Wish, owed: Vec<Received>, push: mpsc::UnboundedSender<Push>) -> Self {
        Self {
            wish,
            credit: 0,
            reserved: 0,
            later: 0,
            taking_back: 0,
            recalled: 0,
            hinted: false,
            active_ms: 0,
            drained_until_ms: None,
            owed,
            starved: Vec::new(),
            push,
        }
    }

    pub(super) fn push(&self, push: Push) -> bool {
        self.push.send(push).is_ok()
    }

    /// Delivers again what it is owed, as far as the credit goes.
    pub(super) fn repay(&mut self) {
        while self.credit > 0
            && let Some(mut batch) = self.owed.pop()
        {
            let fits = (self.credit as usize).min(batch.messages.len());
            let rest = batch.messages.split_off(fits);
            if !rest.is_empty() {
                self.owed.push(Received {
                    messages: rest,
                    ..batch.clone()
                });
            }
            self.credit -= fits as u32;
            self.push(Push::Leased(batch));
        }
        if !self.owed.is_empty() {
            self.hint();
        }
    }

    pub(super) fn hint(&mut self) {
        if !self.hinted && self.credit == 0 && self.reserved == 0 && self.taking_back == 0 {
            self.hinted = true;
            self.push(Push::Available);
        }
    }

    /// Something is ready that it has no credit for.
    pub(super) fn starve(&mut self, line: Line) {
        if self.reserved > 0 || self.taking_back > 0 {
            if !self.starved.contains(&line) {
                self.starved.push(line);
            }
        } else {
            self.hint();
        }
    }

    /// What it asked for is known: gives back what it was asked for, and tells where to look.
    pub(super) fn give_back(&mut self) -> Vec<Line> {
        while self.taking_back > 0 && self.reserved == 0 {
            self.taking_back -= 1;
            let unused = std::mem::take(&mut self.credit);
            self.push(Push::Returned(unused));
            if self.taking_back == 0 && self.later > 0 {
                self.credit = std::mem::take(&mut self.later);
                self.hinted = false;
                self.repay();
                self.starved.extend(self.wish.lines());
            }
        }
        if self.reserved > 0 {
            return Vec::new();
        }
        if !self.owed.is_empty() {
            self.hint();
        }
        std::mem::take(&mut self.starved)
    }

    /// It can be given something.
    pub(super) fn wants(&self) -> bool {
        self.credit > 0 && self.taking_back == 0
    }

    /// Whether nobody listens any more.
    pub(super) fn is_gone(&self) -> bool {
        self.push.is_closed()
    }
}
