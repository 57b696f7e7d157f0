//! What the histories have reached of lanes and tenants, by name.

use std::collections::BTreeSet;

use roadstead_core::shard::*;

use super::compare::state;
use super::model::{Message, Mine, Partition, Stream};
use super::world::World;

impl World {
    /// What a delivery shows.
    pub fn cover_delivery(&mut self, received: &Received) {
        let Some(p) = self.twin.partitions.get(&received.partition) else {
            return;
        };
        let (order, once) = (p.config.ordering, p.config.delivery == Delivery::AtMostOnce);
        let (aging, groups) = (p.config.aging_ms, p.groups.len());
        let stream = |m: &Delivered| {
            let found = p.messages.iter().find(|it| it.sequence == m.sequence);
            found.map(|m| m.stream)
        };
        let streams: Vec<Stream> = received.messages.iter().filter_map(stream).collect();
        let lanes = streams
            .iter()
            .map(|(lane, _)| lane)
            .collect::<BTreeSet<_>>();
        let mut reached = Vec::new();
        if lanes.len() > 1 {
            reached.push(format!("several lanes in one delivery {order:?}"));
            if groups > 1 {
                reached.push(format!("several lanes for several groups {order:?}"));
            }
            if once {
                reached.push(format!("several lanes at most once {order:?}"));
            }
        }
        let rises = streams.windows(2).any(|two| two[0].0 < two[1].0);
        if rises && aging != 0 {
            reached.push(format!("an old message before a higher lane {order:?}"));
        }
        let tenants = |two: &[Stream]| two[0].0 == two[1].0 && two[0].1 != two[1].1;
        if streams.windows(2).any(tenants) && !p.config.sticky_keys {
            reached.push(format!("tenants take turns {order:?}"));
        }
        for name in reached {
            self.count(name);
        }
    }

    /// What an accept shows.
    pub fn cover_accepted(&mut self, op: &Accept) {
        if op.messages.iter().any(|m| m.priority > 0) {
            self.count("accepted with a priority".into());
        }
        if op.messages.iter().any(|m| m.tenant.is_some()) {
            self.count("accepted with a tenant".into());
        }
    }
}

pub fn cover_lanes(world: &mut World) {
    let partitions = world.twin.partitions.values();
    let reached: Vec<String> = partitions.flat_map(of_partition).collect();
    for name in reached {
        world.count(name);
    }
    let mut again = 0;
    for p in world.twin.partitions.values() {
        let streams: BTreeSet<_> = p.messages.iter().map(|m| m.stream).collect();
        let known = world.streams.entry(p.id).or_default();
        for (stream, there) in known.iter_mut() {
            let is_there = streams.contains(stream);
            again += u64::from(is_there && !*there && *stream != (0, 0));
            *there = is_there;
        }
        known.extend(streams.iter().map(|stream| (*stream, true)));
    }
    for _ in 0..again {
        world.count("a stream that was empty comes again".into());
    }
}

fn of_partition(p: &Partition) -> Vec<String> {
    let order = p.config.ordering;
    let mut reached = Vec::new();
    for m in &p.messages {
        for (group, mine) in &m.of {
            reached.extend(of_message(p, m, (*group, mine)));
        }
        if m.stream.0 > 0 && m.of.is_empty() {
            reached.push(format!("retained in a lane {order:?}"));
        }
        if m.priority != m.stream.0 {
            reached.push(format!("another lane than its own {order:?}"));
        }
    }
    if p.delayed.iter().any(|m| m.priority > 0) {
        reached.push("delayed with a priority".into());
    }
    for m in p.outbox.iter().filter(|m| m.priority > 0) {
        reached.push(format!("leaves with a priority {:?}", m.reason));
    }
    reached
}

fn of_message(p: &Partition, m: &Message, (group, mine): (u32, &Mine)) -> Vec<String> {
    let order = p.config.ordering;
    let (lane, tenant) = m.stream;
    let name = format!("{:?} {order:?}", state(p, m, (group, mine)));
    let mut reached = Vec::new();
    if lane > 0 {
        reached.push(format!("lane {name}"));
        if group != DEFAULT_GROUP {
            reached.push(format!("lane {name} of another group"));
        }
        if m.settled_at.is_some() {
            reached.push(format!("lane {name} replayed"));
        }
    }
    if tenant != 0 && !p.config.sticky_keys {
        reached.push(format!("tenant {name}"));
    }
    reached
}
