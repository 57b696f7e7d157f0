//! Sticky keys: each key of a partition has one of 64 slots, and a receive may be for some of them.

use super::header::BLOCK;
use super::id::PartitionId;
use super::machine::ShardMachine;
use super::op::Receive;
use super::stream::{MAX_PRIORITY, Stream};
use crate::kv::{Kv, KvError};

/// Slots that the keys of a partition are spread over, where they are sticky.
pub const KEY_SLOTS: usize = 64;

/// The slot of a key, 0..64. The highest bits of the hash, which say nothing of its partition.
/// Stable for ever.
pub fn slot_of_key(hash: u64) -> u8 {
    (hash >> (u64::BITS - KEY_SLOTS.trailing_zeros())) as u8
}

/// Some of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KeySlots(pub u64);

impl KeySlots {
    /// Each of them.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether a slot is among them.
    pub fn has(self, slot: u8) -> bool {
        self.0 >> slot & 1 == 1
    }

    /// Takes in one more.
    pub fn add(&mut self, slot: u8) {
        self.0 |= 1 << slot;
    }

    /// How many they are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The slots that are among them, in order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..KEY_SLOTS as u8).filter(move |slot| self.has(*slot))
    }

    pub(crate) fn takes(self, stream: Stream) -> bool {
        self == Self::ALL || stream.key_slot().is_some_and(|slot| self.has(slot))
    }
}

impl ShardMachine {
    /// Messages of a group that are receivable, by the slot of their key, whatever may be leased
    /// at present; None where keys are not sticky, or partition or group is not here. Cheap.
    pub fn ready_by_slot(
        &self,
        partition: PartitionId,
        group: u32,
    ) -> Option<Box<[u64; KEY_SLOTS]>> {
        let look = self.partition(partition)?.look(group)?;
        if !look.config.sticky_keys {
            return None;
        }
        let mut slots = Box::new([0; KEY_SLOTS]);
        for lane in 0..=MAX_PRIORITY {
            for (stream, ready) in look.ready_in(lane, Stream::BASE) {
                if let Some(slot) = stream.key_slot() {
                    slots[usize::from(slot)] += ready;
                }
            }
        }
        Some(slots)
    }

    /// The slots of the keys of deliveries of a group that are leased, by number and place; of
    /// others nothing.
    pub fn key_slots_of(
        &self,
        kv: &dyn Kv,
        (partition, group): (PartitionId, u32),
        deliveries: impl Iterator<Item = (u64, u16)>,
    ) -> Result<Vec<u8>, KvError> {
        let look = self.partition(partition).and_then(|p| p.look(group));
        let Some(look) = look else {
            return Ok(Vec::new());
        };
        let mut slots = Vec::new();
        let (mut batch, mut block) = (None, None);
        for (number, place) in deliveries {
            if batch.as_ref().is_none_or(|(known, _)| *known != number) {
                batch = look.read_delivery(kv, number)?.map(|it| (number, it));
            }
            let slot = batch
                .as_ref()
                .and_then(|(_, it)| it.slots.get(usize::from(place)));
            let Some(position) = slot.filter(|slot| slot.live).map(|slot| slot.position) else {
                continue;
            };
            let wanted = position / BLOCK;
            if block.as_ref().is_none_or(|(known, _)| *known != wanted) {
                block = look.read_block(kv, wanted)?.map(|it| (wanted, it));
            }
            let header = block.as_ref().and_then(|(_, it)| it.live(position % BLOCK));
            slots.extend(header.map(|header| slot_of_key(header.key)));
        }
        Ok(slots)
    }

    /// Messages that a receive may find now: no more than may still be leased. Cheap.
    pub fn ready_for_receive(&self, receive: &Receive) -> u64 {
        let (partition, group) = (receive.partition, receive.group);
        let ready = if receive.at_most_once {
            self.ready_at_most_once(partition, group)
        } else {
            self.ready(partition, group)
        };
        if receive.key_slots == KeySlots::ALL {
            return ready;
        }
        let slots = self.ready_by_slot(partition, group);
        slots.map_or(ready, |slots| {
            let own = receive
                .key_slots
                .iter()
                .map(|slot| slots[usize::from(slot)]);
            own.sum::<u64>().min(ready)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{key_hash, partition_of_key};

    #[test]
    fn the_slot_of_a_key_never_changes() {
        assert_eq!(slot_of_key(0), 0);
        assert_eq!(slot_of_key(u64::MAX), 63);
        assert_eq!(slot_of_key(key_hash(b"customer-17")), 0xf2 >> 2);
    }

    #[test]
    fn the_keys_of_each_partition_are_in_all_slots() {
        for partitions in [1, 2, 3, 8, 64, 100] {
            let mut seen = vec![[0_u32; KEY_SLOTS]; partitions as usize];
            for n in 0..400 * partitions {
                let hash = key_hash(format!("key {n}").as_bytes());
                let partition = partition_of_key(hash, partitions) as usize;
                seen[partition][usize::from(slot_of_key(hash))] += 1;
            }
            let mut empty = seen.iter().flatten().filter(|keys| **keys == 0);
            // 400 keys leave a slot out in one of 500 cases.
            assert!(
                empty.by_ref().count() <= seen.len(),
                "{partitions} partitions"
            );
        }
    }

    #[test]
    fn slots_are_those_that_were_added() {
        let mut slots = KeySlots::default();
        assert!(!slots.has(0) && slots.count() == 0);
        slots.add(0);
        slots.add(63);
        assert_eq!(slots.iter().collect::<Vec<_>>(), [0, 63]);
        assert!(slots.has(63) && !slots.has(1) && slots.count() == 2);
        assert_eq!(KeySlots::ALL.count(), 64);
    }

    #[test]
    fn a_stream_is_taken_by_the_slot_of_its_keys() {
        let slots = KeySlots(1 << 5);
        for lane in 0..=MAX_PRIORITY {
            assert!(slots.takes(Stream::of_slot(lane, 5)));
            assert!(!slots.takes(Stream::of_slot(lane, 6)));
        }
        assert!(!slots.takes(Stream::BASE) && KeySlots::ALL.takes(Stream::BASE));
        assert!(KeySlots::ALL.takes(Stream::new(0, 7).others()));
    }
}
