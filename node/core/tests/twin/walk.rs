//! A walk through a partition, a piece with every entry, while messages come and go: whoever is
//! there from its beginning to its end is met.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prop_assert;
use roadstead_core::shard::*;

use super::world::{Check, World};

#[derive(Debug, Default)]
pub struct Walk {
    partition: Option<PartitionId>,
    from: Option<BrowseFrom>,
    /// Sequences that were there when it began.
    there: BTreeSet<u64>,
    /// How often a sequence was met.
    met: BTreeMap<u64, u32>,
    pieces: u64,
}

pub fn go_on(world: &mut World) -> Check {
    let piece = world.log.len() % 3 + 1;
    let slot = world.log.len() % world.slots.len();
    let partition = world.walk.partition.unwrap_or(world.slots[slot]);
    if world.walk.partition.is_none() {
        world.walk = Walk {
            partition: Some(partition),
            there: sequences(world, partition),
            ..Walk::default()
        };
    }
    let browsed = world
        .machine
        .browse(&world.kv, partition, world.walk.from, piece)
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
    let now = sequences(world, partition);
    for sequence in walk.there.intersection(&now) {
        prop_assert!(walk.met.contains_key(sequence), "{sequence} was not met");
    }
    for (sequence, times) in &walk.met {
        prop_assert!(walk.there.contains(sequence), "{sequence} came later");
        prop_assert!(*times <= 2, "{sequence} was met {times} times");
        if *times == 2 {
            world.count("walk meets one that fell due again".into());
        }
    }
    if walk.pieces > 3 && walk.there != now {
        world.count("walk while messages come and go".into());
    }
    Ok(())
}

fn sequences(world: &World, partition: PartitionId) -> BTreeSet<u64> {
    let p = world.twin.partitions.get(&partition);
    let p = p.filter(|p| !p.dropping);
    p.map_or_else(BTreeSet::new, |p| p.live().map(|m| m.sequence).collect())
}
