//! No row is left behind: of each kind there are as many as the twin has reasons for. And what
//! they hash to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::{prop_assert, prop_assert_eq};
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::{Digest, Digested, Ordering};
use xxhash_rust::xxh3::xxh3_64;

use super::model::{Circuit, Partition, State};
use super::world::{Check, World};

/// Where the kind stands in the key of a partition's row, and that of a timer.
const KIND: usize = 13;
const TIMER: usize = 22;

/// How many rows of each kind there are; timers by their kind in capitals.
fn rows_by_kind(world: &World, p: &Partition) -> BTreeMap<char, usize> {
    let mut prefix = vec![0x10];
    prefix.extend(p.id.queue.to_be_bytes());
    prefix.extend(p.id.partition.to_be_bytes());
    let mut found: BTreeMap<char, usize> = BTreeMap::new();
    for (key, _) in world.kv.rows().filter(|(key, _)| key.starts_with(&prefix)) {
        let kind = char::from(key[KIND]);
        let name = match kind {
            't' => char::from(key[TIMER]).to_ascii_uppercase(),
            kind => kind,
        };
        *found.entry(name).or_default() += 1;
    }
    found
}

pub fn nothing_is_left_behind(world: &World, p: &Partition) -> Check {
    let mut found = rows_by_kind(world, p);
    let mut count = |kind: char| found.remove(&kind).unwrap_or(0);
    let mine = || {
        let all = p.messages.iter();
        all.flat_map(|m| m.of.iter().map(move |(group, mine)| (m, *group, mine)))
    };
    let of = |wanted: fn(&State) -> bool| mine().filter(|(_, _, mine)| wanted(&mine.state)).count();
    let leased = mine().filter_map(|(_, group, mine)| match mine.state {
        State::Leased {
            delivery, session, ..
        } => Some((group, delivery, session)),
        _ => None,
    });
    let leased: BTreeSet<_> = leased.collect();
    let sessions = leased
        .iter()
        .filter(|(_, _, session)| session.is_some())
        .count();
    prop_assert_eq!(count('g'), p.groups.len(), "groups");
    breakers(&mut count, p)?;
    prop_assert_eq!(count('l'), leased.len(), "deliveries");
    prop_assert_eq!(count('L'), leased.len(), "timers of deliveries");
    prop_assert_eq!(count('s'), sessions, "deliveries of sessions");
    prop_assert_eq!(count('r'), of(|s| *s == State::Returned), "returned");
    let backing_off = of(|s| matches!(s, State::BackingOff(_)));
    prop_assert_eq!(count('w'), backing_off, "backing off");
    prop_assert_eq!(count('W'), backing_off, "timers of what backs off");
    let early = p.messages.iter().filter(|m| m.early).count();
    prop_assert_eq!(count('D'), early, "timers of what is not due");
    let blocks: BTreeSet<_> = p.messages.iter().map(|m| m.position / 64).collect();
    // The last one is kept until it is full.
    let rows = count('m');
    prop_assert!((blocks.len()..=blocks.len() + 1).contains(&rows), "blocks");
    streams(&mut count, p, rows)?;
    prop_assert!(count('v') <= rows, "sides of blocks");
    prop_assert!(count('R') <= rows, "timers of what is retained");
    let bits = rows * p.groups.len();
    prop_assert!(count('n') <= bits, "settled bits");
    if p.config.ordering == Ordering::None {
        let own = p.messages.iter().filter(|m| m.ttl != 0).count();
        prop_assert!(count('X') <= own, "timers of messages' own times to live");
    }
    prop_assert_eq!(count('d'), p.delayed.len(), "delayed");
    prop_assert_eq!(count('o'), p.outbox.len(), "outbox");
    prop_assert_eq!(count('p'), p.producers.len(), "producers");
    prop_assert_eq!(count('u'), p.producers.len(), "idle checks");
    prop_assert_eq!(count('i'), p.ids.len(), "remembered ids");
    let together = count('j');
    prop_assert_eq!(together == 0, p.ids.is_empty());
    let failed = mine()
        .filter(|(_, _, mine)| !mine.failed.is_empty())
        .count();
    prop_assert_eq!(count('e'), failed, "attempts");
    let keyed = p.config.ordering == Ordering::PerKey;
    prop_assert_eq!(
        count('k'),
        if keyed { p.messages.len() } else { 0 },
        "messages of keys"
    );
    let keys: BTreeSet<_> = mine()
        .map(|(m, group, _)| (group, m.key))
        .filter(|(group, key)| p.engaged(*group, *key))
        .collect();
    prop_assert_eq!(
        count('h'),
        if keyed { keys.len() } else { 0 },
        "engaged keys"
    );
    Ok(())
}

/// The rows of circuit breakers: none where nothing has failed or was counted.
fn breakers(count: &mut dyn FnMut(char) -> usize, p: &Partition) -> Check {
    let breakers = || p.groups.values().map(|group| &group.breaker);
    let anew = Circuit::default();
    let moved = breakers().filter(|breaker| **breaker != anew).count();
    prop_assert_eq!(count('z'), moved, "circuit breakers");
    let open = breakers().filter(|it| matches!(it, Circuit::Open(_)));
    prop_assert_eq!(count('B'), open.count(), "timers of open breakers");
    Ok(())
}

/// The rows of lanes and tenants: none where there are none.
fn streams(count: &mut dyn FnMut(char) -> usize, p: &Partition, blocks: usize) -> Check {
    let apart = || p.messages.iter().filter(|m| m.stream != (0, 0));
    let streams: BTreeSet<_> = apart().map(|m| m.stream).collect();
    prop_assert_eq!(count('b'), streams.len(), "streams");
    let most = streams.len() * p.groups.len();
    prop_assert!(count('c') <= most, "places in streams");
    prop_assert!(count('y') <= 10 * p.groups.len(), "turns of lanes");
    let places: BTreeSet<_> = apart().map(|m| (m.stream, m.position / 64)).collect();
    let found = count('f');
    prop_assert!(places.len() <= found, "blocks of streams");
    prop_assert!(found <= 64 * blocks, "blocks of streams");
    Ok(())
}

/// What a digest of these rows has to be.
pub fn digested(kv: &MemoryKv, op: &Digest) -> Digested {
    let size = |(key, value): &(&[u8], &Bytes)| key.len() + value.len();
    let rest: Vec<_> = kv.rows().filter(|(key, _)| *key >= &op.from[..]).collect();
    let fit = |n: &usize| rest[..*n].iter().map(size).sum::<usize>() <= op.bytes as usize;
    let most = rest.len().min(op.rows as usize);
    let rows = (0..=most).rev().find(fit).unwrap_or(0).max(1).min(most);
    let part = |bytes: &[u8]| [&(bytes.len() as u64).to_be_bytes(), bytes].concat();
    let hashed = rest[..rows].iter();
    let bytes: Vec<u8> = hashed
        .flat_map(|(key, value)| [part(key), part(value)].concat())
        .collect();
    let next = rest.get(rows).map(|(key, _)| Bytes::copy_from_slice(key));
    let hash = xxh3_64(&bytes);
    Digested { hash, rows, next }
}
