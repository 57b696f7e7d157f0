//! The streams hear how much they may deliver.

use std::time::Instant;

use roadstead_proto::credit::Order;

use super::Engine;
use crate::consumer::lane::Lane;

impl Engine {
    /// Grants what there is room for.
    pub(super) fn grant(&mut self, now: Instant) {
        if self.stopping || self.buffer.is_draining() {
            return;
        }
        let of = |lane: &Lane| {
            let partitions = lane.partitions.iter();
            let held = partitions.map(|&partition| self.held.count(partition));
            (lane.place, held.sum())
        };
        let each = self.lanes.values().map(of).collect();
        let orders = self.credit.orders((&each, self.held.count_all()), now);
        self.tell(orders);
    }

    /// Takes back all credit that is unused; what is on its way may still come.
    pub(super) fn take_back(&mut self) {
        let orders = self.credit.take_back();
        self.tell(orders);
    }

    fn tell(&mut self, orders: Vec<Order>) {
        for order in orders {
            let (place, messages) = match order {
                Order::Give(place, messages) => (place, messages),
                Order::TakeBack(place) => (place, 0),
            };
            let mut lanes = self.lanes.values();
            if let Some(lane) = lanes.find(|lane| lane.place == place) {
                lane.credit(messages);
            }
        }
    }
}
