//! Which consumer of a group has which keys of a partition, where keys are sticky. Pure.
//!
//! Each slot of keys has one consumer. Who that is follows from the partition and the sessions of
//! those who are there alone, so that the next leader says the same, and few slots move when one
//! comes or goes. A slot that moves is handed over without a word: of each key one message is in
//! flight at most, so whoever has the slot now gets the next one when the last is settled.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_core::shard::{KEY_SLOTS, KeySlots, PartitionId, SessionId};

use super::batch::Incoming;
use super::consumer::{ConsumerId, Line};

/// Messages by the slot of their key.
pub type BySlot = Box<[u64; KEY_SLOTS]>;

/// Who has which slots of a line, and what was asked for there.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// None: to be found out, as somebody came or went.
    known: Option<BTreeMap<ConsumerId, KeySlots>>,
    /// Asked for by those who have slots, in entries that are being written.
    asked: BTreeMap<ConsumerId, u64>,
}

impl Shares {
    /// Somebody came or went, or is drained, or is not any more. Whether slots may move.
    pub(super) fn forget(&mut self) -> bool {
        self.known.take().is_some()
    }

    /// Whether it is known who has which slots.
    pub(super) fn are_known(&self) -> bool {
        self.known.is_some()
    }

    /// Gives the slots of a partition to these consumers.
    pub(super) fn give(&mut self, partition: PartitionId, to: &[(ConsumerId, SessionId)]) {
        let sessions: Vec<_> = to.iter().map(|(_, session)| *session).collect();
        let slots = assign(partition, &sessions);
        let ids = to.iter().map(|(id, _)| *id);
        self.known = Some(ids.zip(slots).collect());
    }

    /// The slots of a consumer.
    pub(super) fn of(&self, id: ConsumerId) -> KeySlots {
        let known = self.known.as_ref().and_then(|known| known.get(&id));
        known.copied().unwrap_or_default()
    }

    /// Messages in the slots of a consumer.
    pub(super) fn sum(&self, id: ConsumerId, by_slot: &BySlot) -> u64 {
        let slots = self.of(id).iter();
        slots.map(|slot| by_slot[usize::from(slot)]).sum()
    }

    /// The same but for those that it was asked for.
    pub(super) fn left(&self, id: ConsumerId, by_slot: &BySlot) -> u64 {
        let asked = self.asked.get(&id).copied().unwrap_or(0);
        self.sum(id, by_slot).saturating_sub(asked)
    }

    /// A receive for a consumer is being written.
    pub(super) fn ask(&mut self, id: ConsumerId, messages: u64) {
        *self.asked.entry(id).or_default() += messages;
    }

    /// It was applied, or never will be.
    pub(super) fn answered(&mut self, id: ConsumerId, messages: u64) {
        if let Some(asked) = self.asked.get_mut(&id) {
            *asked = asked.saturating_sub(messages);
            if *asked == 0 {
                self.asked.remove(&id);
            }
        }
    }
}

/// What is ready, with what is being written for the line.
pub(super) fn expected(mut ready: BySlot, incoming: &Incoming, (partition, group): Line) -> BySlot {
    for to in [None, Some(group)] {
        let of_line = (partition, to, Some(0))..=(partition, to, Some(u8::MAX));
        for ((.., slot), messages) in incoming.range(of_line) {
            if let Some(ready) = slot.and_then(|slot| ready.get_mut(usize::from(slot))) {
                *ready += messages;
            }
        }
    }
    ready
}

/// The slots of each of these consumers: every slot has one, and none has two more than another.
/// Of more than [`KEY_SLOTS`] consumers the others have none. None where there is no consumer.
pub fn assign(partition: PartitionId, sessions: &[SessionId]) -> Vec<KeySlots> {
    let mut slots = vec![KeySlots::default(); sessions.len()];
    let mut served: Vec<usize> = (0..sessions.len()).collect();
    if served.len() > KEY_SLOTS {
        served.sort_by_cached_key(|n| (score(partition, u8::MAX, sessions[*n]), sessions[*n]));
        served.truncate(KEY_SLOTS);
    }
    let Some(least) = KEY_SLOTS.checked_div(served.len()) else {
        return slots;
    };
    let most = KEY_SLOTS.div_ceil(served.len()) as u32;
    let of = |slot: u8| {
        let score = move |n: &usize| score(partition, slot, sessions[*n]);
        let pair = move |n: &usize| (score(n), sessions[*n], slot, *n);
        served.iter().map(pair).collect::<Vec<_>>()
    };
    let mut pairs: Vec<_> = (0..KEY_SLOTS as u8).flat_map(of).collect();
    pairs.sort_unstable();
    let mut free: BTreeSet<u8> = KeySlots::ALL.iter().collect();
    // All of them get the least first, so that none is left without.
    for room in [least as u32, most] {
        for (.., slot, n) in &pairs {
            if slots[*n].count() < room && free.remove(slot) {
                slots[*n].add(*slot);
            }
        }
    }
    slots
}

/// How much a consumer and a slot belong together: less is more.
fn score(partition: PartitionId, slot: u8, session: SessionId) -> u64 {
    let mut bytes = [0; 29];
    bytes[..8].copy_from_slice(&partition.queue.to_be_bytes());
    bytes[8..12].copy_from_slice(&partition.partition.to_be_bytes());
    bytes[12] = slot;
    bytes[13..].copy_from_slice(&session.0.to_be_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

#[cfg(test)]
#[path = "sticky_tests.rs"]
mod tests;
