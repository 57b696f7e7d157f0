//! The consumers of one shard: their credit, and what to receive for whom. Pure but for the
//! channels by which a consumer hears.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use roadstead_core::shard::{PartitionId, Receive, Received, SessionId};
use roadstead_proto::v1::QueueRef;
use tokio::sync::mpsc;

use super::batch::Incoming;
use super::consumer::{Closed, Consumer, ConsumerId, Line, Push, Wish};
use super::drains::Drains;
use super::limits::Limits;
use super::replica::Unapplied;
use super::waiting::{Ready, Waiting};

/// Everyone who waits at one shard.
#[derive(Debug, Default)]
pub struct Consumers {
    next: ConsumerId,
    pub(super) all: BTreeMap<ConsumerId, Consumer>,
    pub(super) lines: BTreeMap<Line, Waiting>,
    /// Where something may be ready for somebody.
    pub(super) dirty: BTreeSet<Line>,
    /// The last line that credit was asked for; the next one comes first, so that a backlog in one
    /// partition does not keep credit from the others.
    pub(super) last: Option<Line>,
    pub(super) limits: Limits,
    /// Who gives back what is unused once it was asked for.
    once: Vec<ConsumerId>,
    pub(super) drains: Drains,
    /// Leased to those who are drained, and never delivered.
    pub(super) undelivered: Vec<Received>,
    /// Milliseconds of any monotonic clock, as it was told last.
    pub(super) now_ms: u64,
}

/// A receive that was put into an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// For whom.
    pub consumer: ConsumerId,
    /// The op.
    pub receive: Receive,
    /// What was ready by the applied state when it was asked for.
    pub ready: u64,
}

impl Consumers {
    /// How many subscriptions are open.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether a later stream of the same session is open: this one was long on its way.
    pub fn is_outdated(&self, wish: &Wish) -> bool {
        let mut same = self.same_session(wish);
        wish.session.is_some() && same.any(|id| self.all[&id].wish.stream > wish.stream)
    }

    /// Adds a subscription without credit. `owed` is leased to its session already. One that is
    /// outdated hears so instead.
    pub fn open(
        &mut self,
        wish: Wish,
        owed: Vec<Received>,
        push: mpsc::UnboundedSender<Push>,
    ) -> ConsumerId {
        let id = self.next;
        self.next += 1;
        if self.is_outdated(&wish) {
            let _ = push.send(Push::Closed(Closed::Outdated));
            return id;
        }
        if wish.session.is_some() {
            let same: Vec<_> = self.same_session(&wish).collect();
            for id in same {
                if let Some(old) = self.close(id) {
                    old.push(Push::Closed(Closed::Replaced));
                }
            }
        }
        let (lines, one_time): (Vec<_>, _) = (wish.lines().collect(), wish.one_time);
        let mut consumer = Consumer::new(wish, owed, push);
        consumer.active_ms = self.now_ms;
        consumer.drained_until_ms = self.drains.until_ms(&consumer.wish);
        if consumer.drained_until_ms.is_some() {
            consumer.push(consumer.draining(self.now_ms));
            self.undelivered.append(&mut consumer.forgone());
        }
        consumer.repay();
        self.all.insert(id, consumer);
        for line in lines {
            let waiting = self.lines.entry(line).or_default();
            waiting.consumers.push(id);
            waiting.look_at_ranks(&self.all);
            if !one_time {
                waiting.shares.forget();
            }
            self.dirty.insert(line);
        }
        id
    }

    fn same_session(&self, wish: &Wish) -> impl Iterator<Item = ConsumerId> {
        let overlaps = |other: &Wish| {
            let here = |partition| wish.partitions.contains(partition);
            other.group == wish.group && other.partitions.iter().any(here)
        };
        self.all
            .iter()
            .filter(move |(_, other)| other.wish.session == wish.session && overlaps(&other.wish))
            .map(|(id, _)| *id)
    }

    /// Ends a subscription.
    pub fn close(&mut self, id: ConsumerId) -> Option<Consumer> {
        let consumer = self.all.remove(&id)?;
        for line in consumer.wish.lines() {
            if let Some(waiting) = self.lines.get_mut(&line) {
                waiting.consumers.retain(|other| *other != id);
                let slots_move = !consumer.wish.one_time && waiting.shares.forget();
                if waiting.ranked || slots_move {
                    waiting.look_at_ranks(&self.all);
                    self.dirty.insert(line);
                }
                if waiting.consumers.is_empty() && waiting.asked == 0 {
                    self.dirty.remove(&line);
                    self.forget(line);
                }
            }
        }
        Some(consumer)
    }

    /// Ends all subscriptions: the shard is led elsewhere.
    pub fn close_all(&mut self, why: &Unapplied) {
        for consumer in std::mem::take(&mut self.all).into_values() {
            consumer.push(Push::Closed(Closed::Leadership(why.clone())));
        }
        self.lines.clear();
        self.dirty.clear();
        self.limits.clear();
        self.drains.clear();
        self.undelivered.clear();
    }

    /// The queues that somebody subscribes to, and their groups.
    pub fn groups(&self) -> BTreeSet<(u64, u32)> {
        let lines = self.lines.keys();
        lines
            .map(|(partition, group)| (partition.queue, *group))
            .collect()
    }

    /// Ends the subscriptions of a group that is gone, with its queue or without.
    pub fn close_group(&mut self, (queue, group): (u64, u32), why: impl Fn(QueueRef) -> Closed) {
        let here =
            |wish: &Wish| wish.group == group && wish.partitions.iter().any(|p| p.queue == queue);
        let all = self.all.iter();
        let gone: Vec<_> = all
            .filter(|(_, consumer)| here(&consumer.wish))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if let Some(consumer) = self.close(id) {
                let name = consumer.wish.queue.clone();
                consumer.push(Push::Closed(why(name)));
            }
        }
    }

    /// The consumer may get `messages` more.
    pub fn grant(&mut self, id: ConsumerId, messages: u32) {
        let Some(consumer) = self.all.get_mut(&id) else {
            return;
        };
        if consumer.taking_back + consumer.recalled > 0 {
            consumer.later = consumer.later.saturating_add(messages);
            return;
        }
        consumer.credit = consumer.credit.saturating_add(messages);
        consumer.hinted = false;
        consumer.repay();
        // Where all of it went for what it was owed, it is to hear of what else is ready.
        self.dirty.extend(consumer.wish.lines());
    }

    /// As [`grant`](Self::grant), for what is ready now: the rest is given back at once.
    pub fn grant_once(&mut self, id: ConsumerId, messages: u32) {
        self.grant(id, messages);
        self.take_back(id);
    }

    /// Gives back what is unused, once what is being written is known. Credit that has just been
    /// granted is used first where something is ready: else it could be sent to and fro between
    /// two shards that both have something, and neither would deliver.
    pub fn take_back(&mut self, id: ConsumerId) {
        let Some(consumer) = self.all.get_mut(&id) else {
            return;
        };
        // What came behind an earlier order goes back with this one.
        consumer.credit += std::mem::take(&mut consumer.later);
        if consumer.wish.lines().any(|line| self.dirty.contains(&line)) {
            consumer.recalled += 1;
            self.once.push(id);
        } else {
            consumer.taking_back += 1;
            let starved = consumer.give_back();
            self.dirty.extend(starved);
        }
    }

    /// Something other than a receive happened in the partition.
    pub fn touched(&mut self, partition: PartitionId) {
        for (line, waiting) in self.lines.range_mut(lines_of(partition)) {
            waiting.stuck = false;
            self.limits.look_again(*line);
            self.dirty.insert(*line);
        }
    }

    /// Something may have happened in any partition.
    pub fn touched_all(&mut self) {
        for (line, waiting) in &mut self.lines {
            waiting.stuck = false;
            self.limits.look_again(*line);
            self.dirty.insert(*line);
        }
    }

    /// Whether somebody waits there who is not drained.
    pub fn waits_at(&self, line: Line) -> bool {
        let waiting = self.lines.get(&line);
        let works = |id: &ConsumerId| self.all[id].drained_until_ms.is_none();
        waiting.is_some_and(|waiting| waiting.consumers.iter().any(works))
    }

    /// Those who wait there.
    pub fn at(&self, line: Line) -> Vec<ConsumerId> {
        let waiting = self.lines.get(&line);
        waiting.map_or_else(Vec::new, |waiting| waiting.consumers.clone())
    }

    /// One subscription.
    pub fn get_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.all.get_mut(&id)
    }

    /// Whether a subscription of the session is open.
    pub fn has_session(&self, session: SessionId, line: Line) -> bool {
        self.heir(session, line).is_some()
    }

    /// The same of any group: no two have sessions of one id.
    pub fn is_seated(&self, session: SessionId, partition: PartitionId) -> bool {
        let mut lines = self.lines.range(lines_of(partition));
        lines.any(|(line, _)| self.has_session(session, *line))
    }

    /// Whether there is a partition where something may be ready.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What to receive now. `incoming` are messages that are being written and not applied yet;
    /// `ready` counts what is receivable by the applied state; None: no deliveries at present.
    pub fn ask(
        &mut self,
        incoming: &Incoming,
        ready: impl Fn(Line) -> Option<Ready>,
    ) -> Vec<Asked> {
        let mut asked = Vec::new();
        let mut first = std::mem::take(&mut self.dirty);
        let behind = |last| first.split_off(&last);
        let mut then = self.last.map(behind).unwrap_or_default();
        let last = self.last.filter(|last| then.remove(last));
        let order = then.into_iter().chain(first).chain(last).collect();
        for line in self.limits.in_turn(order) {
            let Some(waiting) = self.lines.get(&line) else {
                continue;
            };
            let Some(ready) = ready(line).filter(|_| !self.limits.is_slowed(line)) else {
                continue;
            };
            let applied = if waiting.stuck {
                ready.nothing()
            } else {
                ready
            };
            let there = applied.left(incoming, line, waiting.asked);
            let all = there.at_most_once;
            let mut left = self.limits.left(line, there, waiting.asked);
            let is_rated = left.at_most_once < all;
            if left.at_most_once > 0 {
                asked.extend(self.serve(line, &applied, &mut left));
            }
            if is_rated && left.at_most_once == 0 {
                self.limits.slow(line, applied.look_at_ms);
            }
        }
        for id in std::mem::take(&mut self.once) {
            if let Some(consumer) = self.all.get_mut(&id) {
                consumer.recalled = consumer.recalled.saturating_sub(1);
                consumer.taking_back += 1;
                let starved = consumer.give_back();
                self.dirty.extend(starved);
            }
        }
        asked
    }

    /// A receive was applied, or failed (`got` is None). What nobody can be given any more comes
    /// back: it is leased, and its consumer is gone.
    pub fn answered(
        &mut self,
        asked: &Asked,
        got: Option<Received>,
        ready: u64,
    ) -> Option<Received> {
        let line = (asked.receive.partition, asked.receive.group);
        let max = asked.receive.max;
        let count = got.as_ref().map_or(0, |got| got.messages.len() as u32);
        // It goes on from where it has come to.
        let more = got.as_ref().is_some_and(|got| got.more);
        if let Some(waiting) = self.lines.get_mut(&line) {
            waiting.asked = waiting.asked.saturating_sub(u64::from(max));
            waiting.shares.answered(asked.consumer, u64::from(max));
            waiting.stuck |= count < max && ready > 0 && ready >= asked.ready && !more;
            if waiting.consumers.is_empty() && waiting.asked == 0 {
                self.forget(line);
            } else {
                self.dirty.insert(line);
            }
        }
        if self.limits.answered(&asked.receive) {
            let others = self.lines.range(lines_of(line.0));
            self.dirty.extend(others.map(|(line, _)| *line));
        }
        if let Some(consumer) = self.all.get_mut(&asked.consumer) {
            consumer.reserved = consumer.reserved.saturating_sub(max);
            consumer.credit += max - count.min(max);
            let left = got.filter(|got| !got.messages.is_empty()).and_then(|got| {
                if consumer.is_gone() {
                    return Some(got);
                }
                consumer.active_ms = self.now_ms;
                consumer.push(Push::Leased(got));
                None
            });
            let starved = consumer.give_back();
            self.dirty.extend(starved);
            return left;
        }
        let got = got.filter(|got| !got.messages.is_empty())?;
        let heir = asked
            .receive
            .session
            .and_then(|session| self.heir(session, line));
        match heir.and_then(|id| self.all.get_mut(&id)) {
            Some(consumer) => {
                consumer.owed.push(got);
                self.undelivered.append(&mut consumer.forgone());
                consumer.repay();
                None
            }
            None => Some(got),
        }
    }

    fn heir(&self, session: SessionId, line: Line) -> Option<ConsumerId> {
        let waiting = self.lines.get(&line)?;
        let same = |id: &&ConsumerId| self.all[id].wish.session == Some(session);
        waiting.consumers.iter().find(same).copied()
    }
}

/// Where consumers of a partition wait, of all groups.
pub(super) fn lines_of(partition: PartitionId) -> RangeInclusive<Line> {
    (partition, 0)..=(partition, u32::MAX)
}

#[cfg(test)]
#[path = "consumers_tests.rs"]
mod tests;
