//! Streams follow the leaders.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use roadstead_proto::v1::ReceiveStreamOpen;

use super::{Engine, REROUTE};
use crate::consumer::lane::Lane;
use crate::consumer::routes;
use crate::consumer::stream::Stream;

impl Engine {
    /// Moves streams to where the leaders are, and opens those that are missing.
    pub(super) fn reroute(&mut self, now: Instant) {
        self.reroute_at = now + REROUTE;
        if self.is_done() {
            return;
        }
        let used: BTreeSet<&str> = self
            .lanes
            .values()
            .map(|lane| lane.address.as_str())
            .collect();
        let most = self.settings.max_in_flight;
        let wanted = routes::plan(&self.settings.shared, &self.shards, most, &used);
        for lane in self.lanes.values_mut() {
            if wanted.get(&lane.address) != Some(&lane.partitions) {
                lane.close(now);
            }
        }
        let covered: BTreeSet<u32> = self
            .lanes
            .values()
            .flat_map(|lane| lane.partitions.iter().copied())
            .collect();
        for (address, partitions) in wanted {
            if partitions.is_disjoint(&covered) {
                self.open(address, partitions);
            }
        }
        for settling in std::mem::take(&mut self.orphans) {
            self.settle(settling);
        }
    }

    fn open(&mut self, address: String, partitions: BTreeSet<u32>) {
        let Ok(service) = self.settings.shared.channels.get(&address) else {
            return;
        };
        let held_receipts: Vec<Bytes> = self
            .held
            .receipts(|partition| partitions.contains(&partition));
        let open = ReceiveStreamOpen {
            held_receipts,
            partitions: partitions.iter().copied().collect(),
            ..self.settings.open.clone()
        };
        let number = self.next_lane;
        self.next_lane += 1;
        let stream = Stream::open(number, service, open, self.reports.clone());
        self.lanes
            .insert(number, Lane::new(address, partitions, stream));
    }
}
