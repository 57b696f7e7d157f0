//! Streams follow the leaders.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use roadstead_proto::v1::ReceiveStreamOpen;

use super::{Engine, REROUTE};
use crate::consumer::lane::Lane;
use crate::consumer::routes::Routes;
use crate::consumer::stream::Stream;

impl Engine {
    /// Opens streams for the partitions that have none. Streams move to where the leaders are once
    /// these have stayed for a while: until then any node forwards.
    pub(super) fn reroute(&mut self, now: Instant) {
        self.reroute_at = now + REROUTE;
        if self.is_done() {
            return;
        }
        let routes = self.routes();
        if now >= self.move_at {
            for lane in self.lanes.values_mut() {
                if lane.closing.is_none() && !routes.fits(&lane.address, &lane.partitions) {
                    tracing::debug!(address = %lane.address, "receive stream moves");
                    lane.close(&mut self.credit, now);
                }
            }
        }
        let covered: BTreeSet<u32> = self
            .lanes
            .values()
            .flat_map(|lane| lane.partitions.iter().copied())
            .collect();
        for (address, partitions) in routes.openings(&covered, self.lanes.len()) {
            self.open(address, partitions);
        }
        for settling in std::mem::take(&mut self.orphans) {
            self.settle(settling);
        }
    }

    fn routes(&self) -> Routes {
        let shared = &self.settings.shared;
        let used = self.lanes.values().map(|lane| &lane.address);
        let up = used.into_iter().find(|one| !shared.channels.is_down(one));
        Routes {
            leaders: self.shards.iter().map(|&one| shared.leader(one)).collect(),
            anyone: up.cloned().unwrap_or_else(|| shared.anyone()),
            most: self.settings.max_in_flight as usize,
        }
    }

    fn open(&mut self, address: String, partitions: BTreeSet<u32>) {
        let Ok(service) = self.settings.shared.channels.get(&address) else {
            return;
        };
        let held_receipts: Vec<Bytes> = self
            .held
            .receipts(|partition| partitions.contains(&partition));
        let number = self.next_lane;
        self.next_lane += 1;
        let open = ReceiveStreamOpen {
            held_receipts,
            partitions: partitions.iter().copied().collect(),
            stream: number,
            draining: self.drained_for(&partitions),
            ..self.settings.open.clone()
        };
        let stream = Stream::open(number, service, open, self.reports.clone());
        let lane = Lane::new(self.credit.open(), address, partitions, stream);
        self.lanes.insert(number, lane);
    }
}
