//! Consumers that are drained get nothing more, and hear so.

use std::collections::BTreeSet;

use roadstead_core::shard::Received;

use super::consumer::{Consumer, ConsumerId, Push};
use super::consumers::Consumers;
use super::drains::{GroupOf, Selector};

impl Consumers {
    /// It is as late as this: drains whose time is over end.
    pub fn pass(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        for group in self.drains.over(now_ms) {
            self.look_at_drains(group);
        }
    }

    /// When it is to be looked for drains that are over.
    pub fn due_ms(&self) -> Option<u64> {
        self.drains.due_ms()
    }

    /// Drains consumers for a time, or takes that back; the sessions that are meant and have a
    /// stream. None when too many are drained already.
    pub fn drain(
        &mut self,
        group: GroupOf,
        selectors: &[Selector],
        for_ms: Option<u64>,
    ) -> Option<BTreeSet<String>> {
        let until_ms = for_ms.map(|ms| self.now_ms + ms);
        if !self.drains.say(group, selectors, (until_ms, self.now_ms)) {
            return None;
        }
        self.look_at_drains(group);
        let meant = |consumer: &&Consumer| selectors.iter().any(|one| one.means(&consumer.wish));
        let sessions = self.streams_of(group).filter(meant);
        Some(sessions.map(|one| one.wish.session_name.clone()).collect())
    }

    /// The consumer was drained under another leader, for so many ms from now on. It hears whether
    /// it still is.
    pub fn drain_again(&mut self, id: ConsumerId, left_ms: u64) {
        let Some(consumer) = self.all.get_mut(&id) else {
            return;
        };
        self.drains.say_again(&consumer.wish, self.now_ms + left_ms);
        consumer.drained_until_ms = self.drains.until_ms(&consumer.wish);
        self.undelivered.append(&mut consumer.forgone());
        consumer.push(consumer.draining(self.now_ms));
        self.look_elsewhere(id);
    }

    /// What is leased to those who are drained and was never delivered: it is for others.
    pub fn undelivered(&mut self) -> Vec<Received> {
        std::mem::take(&mut self.undelivered)
    }

    /// The streams of a group's consumers.
    pub fn streams_of(&self, group: GroupOf) -> impl Iterator<Item = &Consumer> {
        let is_stream = move |consumer: &&Consumer| {
            let wish = &consumer.wish;
            wish.group_of() == Some(group) && wish.session.is_some() && !wish.one_time
        };
        self.all.values().filter(is_stream)
    }

    /// The consumer has settled something.
    pub fn settled(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.all.get_mut(&id) {
            consumer.active_ms = self.now_ms;
        }
    }

    fn look_at_drains(&mut self, group: GroupOf) {
        let mut changed = Vec::new();
        for (id, consumer) in &mut self.all {
            if consumer.wish.group_of() != Some(group) {
                continue;
            }
            let until_ms = self.drains.until_ms(&consumer.wish);
            if consumer.drained_until_ms != until_ms {
                consumer.drained_until_ms = until_ms;
                self.undelivered.append(&mut consumer.forgone());
                consumer.push(consumer.draining(self.now_ms));
                changed.push(*id);
            }
        }
        for id in changed {
            self.look_elsewhere(id);
        }
    }

    /// Others may get what it would have got, or it what they would.
    fn look_elsewhere(&mut self, id: ConsumerId) {
        let lines = self.all.get(&id).into_iter();
        for line in lines.flat_map(|consumer| consumer.wish.lines()) {
            if let Some(waiting) = self.lines.get_mut(&line) {
                waiting.shares.forget();
            }
            self.dirty.insert(line);
        }
    }
}

impl Consumer {
    /// What it is owed, where it is drained. A receive that is tried again gets the same messages.
    pub(super) fn forgone(&mut self) -> Vec<Received> {
        if self.drained_until_ms.is_none() || self.wish.one_time {
            return Vec::new();
        }
        std::mem::take(&mut self.owed)
    }

    /// What it hears of being drained.
    pub(super) fn draining(&self, now_ms: u64) -> Push {
        let left = |until: u64| until.saturating_sub(now_ms).max(1);
        Push::Draining(self.drained_until_ms.map(left))
    }
}

#[cfg(test)]
#[path = "draining_tests.rs"]
mod tests;
