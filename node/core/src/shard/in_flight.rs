//! How many messages are leased, and how many more may be.
//!
//! The limit of the queue is for all of its groups together, that of a group for itself alone. What
//! is delivered at most once is not leased, and counts in neither.

use super::breaker::Breaker;
use super::config::Delivery;
use super::group::{Look, View};
use super::id::PartitionId;
use super::machine::ShardMachine;
use super::partition::{Partition, Shared};

/// Leases that a limit leaves; 0: there is no limit.
fn room(limit: u32, in_flight: u64) -> u64 {
    match limit {
        0 => u64::MAX,
        limit => u64::from(limit).saturating_sub(in_flight),
    }
}

impl View<'_> {
    /// So many more messages are leased.
    pub(crate) fn count_leased(&mut self, messages: u64) {
        self.group.in_flight += messages;
        self.in_flight += messages;
    }

    /// So many leases have ended.
    pub(crate) fn uncount_leased(&mut self, messages: u64) {
        self.group.in_flight -= messages;
        self.in_flight -= messages;
    }
}

impl Partition {
    /// Counts what all groups lease, from what each of them leases.
    pub(crate) fn sum_in_flight(&mut self) {
        let slots = self.groups.values();
        self.shared.in_flight = slots.map(|slot| slot.group().in_flight).sum();
    }
}

impl Shared {
    /// Messages that may still be leased, by the limit of the queue.
    fn room_of_all(&self) -> u64 {
        if self.config.delivery == Delivery::AtMostOnce {
            return u64::MAX;
        }
        room(self.config.max_in_flight, self.in_flight)
    }
}

impl Look<'_> {
    /// Messages that may still be delivered before a limit of leases is reached; what is delivered
    /// at most once is not leased. One alone while a circuit breaker is half-open.
    pub(crate) fn room_in_flight(&self, at_most_once: bool) -> u64 {
        let tried = match *self.breaker {
            Breaker::HalfOpen => u64::from(self.group.in_flight == 0),
            _ => u64::MAX,
        };
        if at_most_once || self.config.delivery == Delivery::AtMostOnce {
            return tried;
        }
        let own = room(self.setting.max_in_flight, self.group.in_flight);
        tried.min(own).min(self.room_of_all())
    }
}

impl ShardMachine {
    /// Messages of a partition that may still be leased before the limit of all groups together is
    /// reached; `u64::MAX`: there is none. Cheap.
    pub fn room_in_flight(&self, partition: PartitionId) -> u64 {
        let shared = self.partition(partition);
        shared.map_or(u64::MAX, |p| p.room_of_all())
    }
}
