//! Where a key is at home while the partitions of its queue grow in number.
//!
//! With more partitions a key may belong to one of the new ones, never to another old one. It
//! stays where it lives: as long as a message of it is there, also one that is only retained, the
//! next one comes there too. Once there is none, none is ever added there again, and the key lives
//! in its next home. So who sends asks the homes of the key one after the other, each decides in
//! its log by what it knows itself, and only the last one takes a key that lives nowhere.
//!
//! A partition that is no home of a key was chosen by the sender, and takes it.

use super::config::{Ordering, PartitionConfig};
use super::id::{PartitionId, partition_of_key};
use super::machine::ShardMachine;
use super::partition::{Shared, Step};
use super::producer::FORGET_MS;
use crate::catalog::MAX_WINDOW_MS;
use crate::kv::{self, Kv, KvError};

/// Numbers of partitions before the present one that are remembered at most: a queue has at most
/// 1,024 partitions, and only grows.
pub(crate) const MAX_EARLIER: usize = 1_024;

impl PartitionConfig {
    /// The partitions of the queue where a key, by its hash, has belonged so far, in this order;
    /// the last one is where it belongs now. More of them only come behind.
    pub fn homes(&self, key: u64) -> Vec<u32> {
        let counts = self.earlier.iter().chain([&self.partitions]);
        let mut homes: Vec<u32> = counts.map(|count| partition_of_key(key, *count)).collect();
        homes.dedup();
        homes
    }

    /// Whether a key may have had another home before.
    pub fn has_grown(&self) -> bool {
        self.ordering == Ordering::PerKey && !self.earlier.is_empty()
    }
}

impl Shared {
    /// The next home of a key whose home this partition was; None: it is the last one, or none.
    fn next_home(&self, key: u64) -> Option<u32> {
        if !self.config.has_grown() {
            return None;
        }
        let homes = self.config.homes(key);
        let place = homes.iter().position(|home| *home == self.id().partition)?;
        homes.get(place + 1).copied()
    }

    /// Whether a message of a key is here that is not gone.
    fn lives(&self, kv: &dyn Kv, key: u64) -> Result<bool, KvError> {
        let (from, end) = (self.keys.keyed(key, 0), self.keys.keyed(key, u64::MAX));
        Ok(kv::first(kv, &from, &end)?.is_some())
    }

    /// Whether a key was at home here and is no more.
    pub(crate) fn has_moved(&self, kv: &dyn Kv, key: u64) -> Result<bool, KvError> {
        Ok(self.next_home(key).is_some() && !self.lives(kv, key)?)
    }

    /// The home to which a message goes on that came by the outbox of `source`; None: it stays.
    /// Another partition of the queue has looked in all homes before this one.
    pub(crate) fn way_on(
        &self,
        kv: &dyn Kv,
        source: PartitionId,
        key: u64,
    ) -> Result<Option<u32>, KvError> {
        if !self.config.has_grown() || self.lives(kv, key)? {
            return Ok(None);
        }
        let (here, homes) = (self.id(), self.config.homes(key));
        let place = homes.iter().position(|home| *home == here.partition);
        Ok(match place {
            Some(place) if place == 0 || source.queue == here.queue => {
                homes.get(place + 1).copied()
            }
            Some(_) => Some(homes[0]),
            None => None,
        })
    }

    /// The number of partitions has grown: the keys of all that is here may have a next home now.
    pub(crate) fn grown(&mut self, now: u64) {
        if !self.config.has_grown() {
            return;
        }
        self.state.grown_at = self.state.tail;
        self.state.leaving = self.state.messages + self.state.retained;
        // Ids may have been remembered for longer than now.
        let window = if self.state.ids > 0 { MAX_WINDOW_MS } else { 0 };
        self.state.leaving_until = now.saturating_add(FORGET_MS.max(window));
    }

    /// A message of a key was added.
    pub(crate) fn count_leaving(&mut self, step: &Step<'_>, key: u64) {
        if self.next_home(key).is_some() {
            self.state.leaving += 1;
            let window = self.config.deduplication.map_or(0, |it| it.window_ms);
            let until = step.now.saturating_add(FORGET_MS.max(window));
            self.state.leaving_until = self.state.leaving_until.max(until);
        }
    }

    /// A message of a key is gone.
    pub(crate) fn uncount_leaving(&mut self, position: u64, key: u64) {
        if self.state.leaving > 0
            && (position < self.state.grown_at || self.next_home(key).is_some())
        {
            self.state.leaving -= 1;
        }
    }
}

impl ShardMachine {
    /// The number of partitions among which nobody has to ask this one any more for keys with a
    /// next home: none lives here, and no message of one is known here that may be sent again. So
    /// it stays until the number grows. 0: they have to.
    pub fn left_among(&self, partition: PartitionId) -> u32 {
        self.partition(partition)
            .filter(|p| p.state.leaving == 0 && p.state.leaving_until <= self.time())
            .map_or(0, |p| p.config.partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_homes_one_after_the_other_and_more_come_behind() {
        let mut counts = vec![1, 2, 3, 8, 9, 64, 1_000, 1_024];
        let of = |counts: &[u32], key| {
            let (partitions, earlier) = counts.split_last().expect("one at least");
            let config = PartitionConfig {
                partitions: *partitions,
                earlier: earlier.to_vec(),
                ..PartitionConfig::default()
            };
            config.homes(key)
        };
        let all = counts.clone();
        assert_eq!(of(&[1], 17), [0]);
        for n in 0..2_000_u64 {
            let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let homes = of(&all, key);
            assert!(homes.is_sorted_by(|a, b| a < b), "{homes:?}");
            while counts.pop().is_some() && !counts.is_empty() {
                assert!(homes.starts_with(&of(&counts, key)));
            }
            counts.clone_from(&all);
        }
    }
}
