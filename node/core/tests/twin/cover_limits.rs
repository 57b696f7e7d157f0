//! What the histories have reached of limits of deliveries, by name.

use roadstead_core::shard::*;

use super::model::{Circuit, Partition};
use super::world::World;

impl World {
    /// What a receive shows of the limits that it has met.
    pub fn cover_limits(&mut self, op: &Receive, received: &Received) {
        let Some(p) = self.twin.partitions.get(&op.partition) else {
            return;
        };
        let mut reached = in_flight(p, op);
        if p.groups[&op.group].setting.rate != 0 {
            reached.extend(rate(p, (op, received), self.now));
        }
        let order = p.config.ordering;
        for name in reached {
            self.count(name.into());
            self.count(format!("{name} {order:?}"));
        }
    }
}

fn in_flight(p: &Partition, op: &Receive) -> Vec<&'static str> {
    let group = &p.groups[&op.group];
    let (all, own) = (p.room_of_all(), group.setting.max_in_flight);
    let leased = p.in_flight(op.group);
    let own_room = own == 0 || leased < u64::from(own);
    let ready = p.open(op.group).count() as u64 > leased;
    let what = [
        ("in flight of all full", all == 0 && ready),
        (
            "in flight of all full by others",
            all == 0 && leased == 0 && ready,
        ),
        (
            "in flight of all full, own room",
            all == 0 && own != 0 && own_room,
        ),
        (
            "in flight of one full, room of all",
            !own_room && all > 0 && all < u64::MAX,
        ),
        (
            "in flight of all full after a seek",
            all == 0 && p.groups.values().any(|group| group.epoch > 0),
        ),
        (
            "in flight of all full, half-open",
            all == 0 && group.breaker == Circuit::HalfOpen,
        ),
    ];
    what.into_iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| name)
        .collect()
}

fn rate(p: &Partition, (op, received): (&Receive, &Received), now: u64) -> Vec<&'static str> {
    let group = &p.groups[&op.group];
    let some = !received.messages.is_empty();
    let used_up = group.room_in_rate(now) == 0;
    let left = p.open(op.group).count() as u64 > p.in_flight(op.group);
    let again = received.messages.iter().any(|m| m.delivery_count > 1);
    let once = op.at_most_once || p.config.delivery == Delivery::AtMostOnce;
    let what = [
        ("delivery rate", some),
        ("delivery rate used up", used_up && left),
        (
            "delivery rate used up by several",
            used_up && received.messages.len() > 1,
        ),
        (
            "delivery rate of another group",
            some && op.group != DEFAULT_GROUP,
        ),
        ("delivery rate of one that comes again", some && again),
        ("delivery rate at most once", some && once),
        (
            "delivery rate used up at most once",
            used_up && once && left,
        ),
        ("delivery rate after a seek", some && group.epoch > 0),
        (
            "delivery rate used up, half-open",
            used_up && group.breaker == Circuit::HalfOpen,
        ),
        (
            "delivery rate used up, breaker open",
            used_up && matches!(group.breaker, Circuit::Open(_)),
        ),
    ];
    what.into_iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| name)
        .collect()
}
