//! What the histories have reached of receives, by name.

use roadstead_core::shard::*;

use super::world::World;

impl World {
    /// What a receive at most once shows, where the queue leases what it delivers.
    pub fn cover_once(&mut self, op: &Receive, received: &Received) {
        let Some(p) = self.twin.partitions.get(&op.partition) else {
            return;
        };
        let leases = p.config.delivery == Delivery::AtLeastOnce;
        if !op.at_most_once || !leases || received.messages.is_empty() {
            return;
        }
        let group = &p.groups[&op.group];
        let what = [
            ("of a queue that leases", true),
            ("of another group", op.group != DEFAULT_GROUP),
            (
                "of a redelivered one",
                received.messages.iter().any(|m| m.delivery_count > 1),
            ),
            ("beside leases", p.in_flight(op.group) > 0),
            ("retained", p.config.retain_ms != 0),
            ("after a seek", group.epoch > 0),
            (
                "beyond the limit in flight",
                p.room_in_flight(op.group, false) == 0,
            ),
        ];
        let order = p.config.ordering;
        for (name, _) in what.iter().filter(|(_, reached)| *reached) {
            self.count(format!("at most once {name} {order:?}"));
        }
    }
}
