//! A walk through a partition, a piece with every entry, while messages come and go: whoever is
//! there from its beginning to its end is met.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prop_assert;
use roadstead_core::shard::*;

use super::model::Partition;
use super::world::{Check, World};

#[derive(Debug, Default)]
pub struct Walk {
    /// Of which partition and group.
    of: Option<(PartitionId, u32)>,
    /// Epoch of the group when it began, and the last sequence.
    epoch: u64,
    last: u64,
    from: Option<BrowseFrom>,
    /// Sequences that were there when it began.
    there: BTreeSet<u64>,
    /// Of these, what has been there all the time.
    stayed: BTreeSet<u64>,
    /// How often a sequence was met.
    met: BTreeMap<u64, u32>,
    pieces: u64,
}

pub fn go_on(world: &mut World) -> Check {
    let piece = world.log.len() % 3 + 1;
    let slot = world.log.len() % world.slots.len();
    let of = world
        .walk
        .of
        .unwrap_or_else(|| some_group(world, world.slots[slot]));
    if world.walk.of.is_none() {
        let (epoch, last) = mark(world, of);
        world.walk = Walk {
            of: Some(of),
            epoch,
            last,
            stayed: sequences(world, of),
            there: sequences(world, of),
            ..Walk::default()
        };
    }
    let now = sequences(world, of);
    world.walk.stayed.retain(|sequence| now.contains(sequence));
    let browsed = world
        .machine
        .browse(&world.kv, of, world.walk.from, piece)
        .expect("rows can be read");
    prop_assert!(browsed.messages.len() <= piece);
    let walk = &mut world.walk;
    walk.pieces += 1;
    for m in &browsed.messages {
        *walk.met.entry(m.sequence).or_default() += 1;
    }
    // Its opaque form stands for it; and behind the last message it goes on as well.
    let coded = |from: BrowseFrom| BrowseFrom::decode(&from.encode()).expect("its own form");
    let last = browsed
        .messages
        .last()
        .filter(|_| walk.pieces.is_multiple_of(2));
    let behind = browsed.from.zip(last);
    walk.from = match behind {
        Some((from, last)) => Some(coded(from.behind(last.location))),
        None => browsed.next.map(coded),
    };
    if walk.from.is_some() {
        return Ok(());
    }
    let walk = std::mem::take(&mut world.walk);
    // A group that begins elsewhere needs again what it had settled.
    let sought = mark(world, of).0 != walk.epoch;
    for sequence in &walk.stayed {
        prop_assert!(walk.met.contains_key(sequence), "{sequence} was not met");
    }
    for (sequence, times) in &walk.met {
        prop_assert!(*sequence <= walk.last, "{sequence} came later");
        let was_there = walk.there.contains(sequence);
        prop_assert!(was_there || sought, "{sequence} was settled before");
        prop_assert!(*times <= 2, "{sequence} was met {times} times");
        if *times == 2 {
            world.count("walk meets one that fell due again".into());
        }
    }
    if walk.pieces > 3 && walk.there != now {
        world.count("walk while messages come and go".into());
        if of.1 != DEFAULT_GROUP {
            world.count("walk of another group while messages come and go".into());
        }
    }
    Ok(())
}

fn partition(world: &World, id: PartitionId) -> Option<&Partition> {
    let p = world.twin.partitions.get(&id);
    p.filter(|p| !p.dropping)
}

fn some_group(world: &World, id: PartitionId) -> (PartitionId, u32) {
    let groups = partition(world, id).map(|p| p.groups.keys().copied());
    let groups: Vec<_> = groups.into_iter().flatten().collect();
    let pick = world.log.len() % groups.len().max(1);
    (id, groups.get(pick).copied().unwrap_or(DEFAULT_GROUP))
}

/// Epoch of the group, and the last sequence.
fn mark(world: &World, (id, group): (PartitionId, u32)) -> (u64, u64) {
    partition(world, id).map_or((0, 0), |p| {
        let group = p.groups.get(&group);
        (group.map_or(0, |group| group.epoch), p.sequence)
    })
}

fn sequences(world: &World, (id, group): (PartitionId, u32)) -> BTreeSet<u64> {
    let p = partition(world, id).filter(|p| p.groups.contains_key(&group));
    p.map_or_else(BTreeSet::new, |p| {
        let open = p.open(group).map(|(m, _)| m.sequence);
        open.chain(p.delayed.iter().map(|m| m.sequence)).collect()
    })
}
