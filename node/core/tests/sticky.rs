//! Sticky keys: who receives for some slots gets all of them, whatever others receive in between.

mod world;

use std::collections::BTreeSet;

use bytes::Bytes;
use roadstead_core::shard::*;

use self::world::{PARTITION, World};

/// A key of a slot.
fn key(slot: u8, n: u64) -> u64 {
    u64::from(slot) << 58 | n
}

impl World {
    fn receive(&mut self, slots: &[u8]) -> u64 {
        let mut of = KeySlots::default();
        for slot in slots {
            of.add(*slot);
        }
        let reply = self.apply(&Op::Receive(Receive {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            session: None,
            max: 1,
            lease_ms: None,
            at_most_once: false,
            key_slots: of,
        }));
        match reply {
            Reply::Received(received) => received.messages[0].sequence,
            other => unreachable!("{other:?}"),
        }
    }
}

#[test]
fn each_slot_has_its_turn_whoever_receives_in_between() {
    let mut world = World::new(PartitionConfig {
        ordering: Ordering::PerKey,
        sticky_keys: true,
        ttl_ms: 0,
        max_in_flight: 0,
        lease_ms: 12 * 3_600_000,
        ..PartitionConfig::default()
    });
    let slots = [1, 2, 10, 20];
    let messages = (0..40).flat_map(|n| slots.map(|slot| key(slot, n)));
    let messages: Vec<_> = messages
        .map(|key| NewMessage {
            key: Some(key),
            body: Bytes::from_static(b"body"),
            ..NewMessage::default()
        })
        .collect();
    world.apply(&Op::Send(Send {
        partition: PARTITION,
        producer: None,
        atomic: false,
        messages,
    }));
    // Of four messages that were sent together each is of another slot.
    let slot_of = |sequence: u64| slots[(sequence as usize - 1) % 4];
    for _ in 0..10 {
        let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..2 {
            ours.insert(slot_of(world.receive(&[1, 2])));
            theirs.insert(slot_of(world.receive(&[10, 20])));
        }
        assert_eq!(ours, BTreeSet::from([1, 2]));
        assert_eq!(theirs, BTreeSet::from([10, 20]));
    }
}
