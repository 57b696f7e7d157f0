//! What the histories have reached of circuit breakers, by name.

use std::collections::BTreeMap;

use roadstead_core::shard::*;

use super::breaker::told;
use super::model::{Group, Partition};
use super::world::World;

/// Where the breaker of each group of each partition is.
pub type Breakers = BTreeMap<(PartitionId, u32), &'static str>;

fn name(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "Closed",
        BreakerState::Open { .. } => "Open",
        BreakerState::HalfOpen => "HalfOpen",
    }
}

pub fn cover_breakers(world: &mut World) {
    let mut reached = Vec::new();
    let mut now = Breakers::new();
    for p in world.twin.partitions.values().filter(|p| !p.dropping) {
        for (id, group) in &p.groups {
            now.insert((p.id, *id), name(told(&group.breaker)));
            if group.setting.breaker.is_some() {
                reached.extend(of_group(p, *id, group));
            }
        }
    }
    for (of, before) in &world.breakers {
        let after = now.get(of).copied().unwrap_or("gone");
        if *before != after {
            reached.push(format!("breaker {before} to {after}"));
        }
    }
    world.breakers = now;
    for name in reached {
        world.count(name);
    }
}

fn of_group(p: &Partition, id: u32, group: &Group) -> Vec<String> {
    let leased = p.in_flight(id);
    let state = name(told(&group.breaker));
    let what = [
        ("", true),
        (" of another group", id != DEFAULT_GROUP),
        (" with leases", leased > 0),
        (" after a seek", group.epoch > 0),
        (" where messages are retained", p.config.retain_ms != 0),
        (" with lanes", p.messages.iter().any(|m| m.stream.0 > 0)),
    ];
    let order = p.config.ordering;
    let reached = what.iter().filter(|(_, reached)| *reached);
    let mut reached: Vec<_> = reached
        .map(|(what, _)| format!("breaker {state}{what} {order:?}"))
        .collect();
    if group.setting.paused {
        reached.push(format!("breaker {state} paused"));
    }
    if p.config.delivery == Delivery::AtMostOnce {
        reached.push(format!("breaker {state} at most once"));
    }
    reached
}
