//! Sticky keys: which queues have them, and what the histories have reached of them, by name.

use std::collections::BTreeSet;

use proptest::prop_assert_eq;
use roadstead_core::shard::*;

use super::config::Config;
use super::model::{Message, Mine, Partition, State};
use super::world::{Check, World};

impl World {
    /// Whether the keys of a queue shall be sticky: as they are, but now and then.
    pub fn sticky_keys(&mut self, partition: PartitionId, config: &Config) -> bool {
        let by_key = self.orders.get(&partition) == Some(&Ordering::PerKey);
        let first = by_key && config.sticky;
        let known = *self.sticky.entry(partition).or_insert(first);
        known != config.odd_sticky
    }

    /// A fairness key is refused where keys are sticky: most messages have none there.
    pub fn spare_tenants(&self, partition: PartitionId, messages: &mut [NewMessage]) {
        let p = self.twin.partitions.get(&partition);
        if p.is_some_and(|p| p.config.sticky_keys) {
            let most = messages.iter_mut().filter(|m| m.body.len() != 9);
            most.for_each(|m| m.tenant = None);
        }
    }

    /// What a receive for some slots shows.
    pub fn cover_slots(&mut self, op: &Receive, received: &Received) {
        let Some(p) = self.twin.partitions.get(&op.partition) else {
            return;
        };
        if !p.config.sticky_keys || op.key_slots == KeySlots::ALL {
            return;
        }
        let message = |m: &Delivered| p.messages.iter().find(|it| it.sequence == m.sequence);
        let streams = received.messages.iter().filter_map(message);
        let streams: Vec<_> = streams.map(|m| m.stream).collect();
        let of = |part: fn(&(u8, u64)) -> u64| streams.iter().map(part).collect::<BTreeSet<_>>();
        let slots = of(|(_, slot)| *slot);
        let (again, any) = (
            received.messages.iter().any(|m| m.delivery_count > 1),
            !received.messages.is_empty(),
        );
        let passed = p.open(op.group).any(|(m, mine)| is_ready(m, mine));
        let short = (received.messages.len() as u32) < op.max && p.delivers(op.group);
        let what = [
            ("some slots", any),
            ("some slots of another group", any && op.group != 0),
            ("some slots, again", again),
            (
                "some slots, in several lanes",
                of(|(lane, _)| u64::from(*lane)).len() > 1,
            ),
            ("several slots in turn", slots.len() > 1),
            ("some slots at most once", any && received.delivery == 0),
            ("passed over what is for others", passed && short),
        ];
        let names = what.into_iter().filter(|(_, reached)| *reached);
        let names: Vec<_> = names.map(|(name, _)| format!("sticky: {name}")).collect();
        for name in names {
            self.count(name);
        }
    }
}

/// The slots of the keys in flight, as a leader finds them by what is settled.
pub fn slots_of_leases(world: &World, p: &Partition, group: u32) -> Check {
    let leased = |(m, mine): (&Message, &Mine)| match mine.state {
        State::Leased { delivery, slot, .. } => Some(((delivery, slot), (m.key >> 58) as u8)),
        _ => None,
    };
    let (mut leases, mut slots): (Vec<_>, Vec<_>) = p.open(group).filter_map(leased).unzip();
    // And one that is over.
    leases.push((u64::MAX, 0));
    let found = world
        .machine
        .key_slots_of(&world.kv, (p.id, group), leases.into_iter());
    let mut found = found.expect("rows can be read");
    slots.sort_unstable();
    found.sort_unstable();
    prop_assert_eq!(found, slots);
    Ok(())
}

fn is_ready(m: &Message, mine: &Mine) -> bool {
    match mine.state {
        State::Waiting => !m.early,
        State::Returned => true,
        _ => false,
    }
}

/// The streams of a queue whose keys are sticky.
pub fn cover_sticky(world: &mut World) {
    let sticky = world.twin.partitions.values();
    let sticky = sticky.filter(|p| p.config.sticky_keys);
    let of = |p: &Partition| {
        let with_tenant = p.messages.iter().any(|m| m.tenant != 0);
        let blocked = |(_, mine): (&Message, &Mine)| mine.state == State::Blocked;
        let mut reached = Vec::new();
        if with_tenant {
            reached.push("sticky: a tenant came by an outbox");
        }
        if p.groups.keys().any(|group| p.open(*group).any(blocked)) {
            reached.push("sticky: a key waits for its message in flight");
        }
        reached
    };
    let reached: Vec<_> = sticky.flat_map(of).collect();
    for name in reached {
        world.count(name.to_owned());
    }
}

/// What some history must reach of them.
pub fn wanted_of_sticky() -> Vec<String> {
    let names = [
        "some slots",
        "some slots of another group",
        "some slots, again",
        "some slots, in several lanes",
        "several slots in turn",
        "some slots at most once",
        "passed over what is for others",
        "a tenant came by an outbox",
        "a key waits for its message in flight",
    ];
    names.map(|name| format!("sticky: {name}")).to_vec()
}
