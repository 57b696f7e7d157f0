//! The server delivers nothing for a while: what nobody has begun goes back, for others to take.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Engine;

impl Engine {
    /// Nothing of a stream's partitions is delivered for this long; `None`: deliveries go on.
    pub(super) fn drained(&mut self, number: u64, left: Option<Duration>) {
        let Some(lane) = self.lanes.get(&number) else {
            return;
        };
        let until = left.map(|left| Instant::now() + left);
        for &partition in &lane.partitions {
            match until {
                Some(until) => drop(self.drained.insert(partition, until)),
                None => drop(self.drained.remove(&partition)),
            }
        }
    }

    /// What is left of that for any of these partitions.
    pub(super) fn drained_for(&self, partitions: &BTreeSet<u32>) -> Option<prost_types::Duration> {
        let of =
            |(partition, until): (&u32, &Instant)| partitions.contains(partition).then_some(*until);
        let until = self.drained.iter().filter_map(of).max()?;
        let left = until.saturating_duration_since(Instant::now());
        let left = prost_types::Duration::try_from(left).ok();
        left.filter(|left| *left != prost_types::Duration::default())
    }

    /// Begins to be drained, or ends it.
    pub(super) fn look_at_drain(&mut self, now: Instant) {
        self.drained.retain(|_, until| *until > now);
        let draining = !self.drained.is_empty();
        if self.stopping || draining == self.buffer.is_draining() {
            return;
        }
        tracing::info!(draining, "the consumer is drained, or not any more");
        self.buffer.set_draining(draining);
        if !draining {
            return;
        }
        self.stopping = self.settings.end_when_drained;
        self.take_back();
        for delivery in self.buffer.leased() {
            self.give_back(delivery);
        }
        if self.stopping {
            // What was acked by being delivered is still worked off.
            self.buffer.end_behind();
        }
    }
}
