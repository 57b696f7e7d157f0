//! What the histories have reached of receives, by name.

use roadstead_core::shard::*;

use super::world::World;

/// What has failed before, and is kept.
pub fn cover_attempts(world: &mut World) {
    let mut reached = Vec::new();
    for p in world.twin.partitions.values() {
        let order = p.config.ordering;
        let all = p.messages.iter();
        for (group, mine) in all.flat_map(|m| &m.of) {
            for attempt in &mine.failed {
                reached.push(format!("attempt {:?} {order:?}", attempt.how));
            }
            if !mine.failed.is_empty() && mine.is_leased() {
                reached.push(format!("attempts of one that is leased {order:?}"));
            }
            if !mine.failed.is_empty() && *group != DEFAULT_GROUP {
                reached.push(format!("attempts of another group {order:?}"));
            }
        }
        for m in p.outbox.iter().filter(|m| !m.attempts.newest.is_empty()) {
            reached.push(format!("leaves with attempts {:?}", m.reason));
            let texts = m.attempts.newest.iter();
            if texts.filter(|it| !it.error.is_empty()).count() > 1 {
                reached.push("leaves with an older text".into());
            }
        }
    }
    for name in reached {
        world.count(name);
    }
}

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
            ("with a breaker", group.setting.breaker.is_some()),
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
