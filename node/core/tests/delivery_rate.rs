//! In any time t a group gets no more messages than rate * t and a burst, and none waits longer
//! than it is told to.

#[path = "world/windows.rs"]
mod windows;
mod world;

use bytes::Bytes;
use proptest::prelude::*;
use roadstead_core::shard::*;

use self::world::{PARTITION, World};

/// Another group, without a rate.
const OTHER: u32 = 7;

fn config(revision: u64, rate: u64) -> PartitionConfig {
    let default = GroupConfig {
        rate,
        ..GroupConfig::default()
    };
    let other = GroupConfig {
        id: OTHER,
        ..GroupConfig::default()
    };
    PartitionConfig {
        revision,
        ttl_ms: 0,
        max_deliveries: 1_000_000,
        groups: vec![default, other],
        ..PartitionConfig::default()
    }
}

impl World {
    /// With so many messages.
    fn with_rate(rate: u64, messages: usize) -> Self {
        let mut world = Self::new(config(1, rate));
        let message = NewMessage {
            body: Bytes::from_static(b"body"),
            ..NewMessage::default()
        };
        world.apply(&Op::Send(Send {
            partition: PARTITION,
            producer: None,
            atomic: false,
            messages: vec![message; messages],
        }));
        world
    }

    fn receive(&mut self, max: u32, at_most_once: bool) -> Received {
        let reply = self.apply(&Op::Receive(Receive {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            session: None,
            max,
            lease_ms: Some(50),
            at_most_once,
            key_slots: KeySlots::ALL,
        }));
        let Reply::Received(received) = reply else {
            unreachable!("{reply:?}")
        };
        received
    }

    fn nack(&mut self, received: &Received) {
        let nack = Action::Nack {
            delay_ms: Some(0),
            error: Bytes::new(),
            unstarted: false,
        };
        let receipts = received.messages.iter().filter_map(|m| received.receipt(m));
        let items = receipts.map(|receipt| Settlement::new(&receipt, nack.clone()));
        let items = items.collect();
        self.apply(&Op::Settle(Settle {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            items,
        }));
    }

    /// What it may get, and how long it takes until it may get one.
    fn rate(&self) -> (u64, u64) {
        let rate = self
            .machine
            .delivery_rate(PARTITION, DEFAULT_GROUP, self.now);
        let (room, next) = rate.expect("it has one");
        (room, next.saturating_sub(self.now))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_group_gets_more_than_its_rate_in_any_window(
        rate in prop_oneof![1_u64..3_000, 3_000_u64..100_000, Just(7_000_000)],
        receives in prop::collection::vec((0_u64..400, 0_u32..60, 0_u8..8), 1..120),
    ) {
        let mut world = World::with_rate(rate, 1_000);
        let mut came: Vec<(u64, u64)> = Vec::new();
        for (passes, max, what) in receives {
            world.now += passes;
            let received = world.receive(max.max(1), what == 0);
            came.push((world.now, received.messages.len() as u64));
            match what {
                // Leases run out, too.
                1 => drop(world.apply(&Op::Tick)),
                2 | 3 => world.nack(&received),
                4 => world.machine = ShardMachine::open(&world.kv).expect("its own rows"),
                5 => drop(world.apply(&Op::Seek(Seek {
                    partition: PARTITION,
                    group: DEFAULT_GROUP,
                    to: SeekTo::Beginning,
                }))),
                _ => {}
            }
        }
        windows::hold(&came, rate)?;
    }

    #[test]
    fn a_group_gets_its_next_when_it_is_said_and_not_before(
        rate in 1_u64..1_000_000, first in 1_u32..200, passes in 0_u64..300,
    ) {
        let mut world = World::with_rate(rate, 1_000);
        world.receive(first, false);
        world.now += passes;
        let (room, wait) = world.rate();
        prop_assert_eq!(room == 0, wait > 0);
        if wait > 0 {
            world.now += wait - 1;
            prop_assert_eq!(world.rate(), (0, 1));
            prop_assert_eq!(world.receive(1, false).messages.len(), 0);
            world.now += 1;
        }
        prop_assert_eq!(world.receive(1, false).messages.len(), 1);
    }
}

#[test]
fn a_rest_is_worth_one_burst_and_a_rate_that_is_slow_one_message() {
    let mut world = World::with_rate(5_000, 100);
    assert_eq!(world.receive(100, false).messages.len(), 5);
    assert_eq!(world.rate(), (0, 200));
    world.now += 400;
    assert_eq!(world.receive(100, true).messages.len(), 2);
    world.now += 100_000;
    assert_eq!(world.rate().0, 5);
    let mut world = World::with_rate(50, 100);
    assert_eq!(world.receive(100, false).messages.len(), 1);
    assert_eq!(world.rate(), (0, 20_000));
}

#[test]
fn a_group_without_a_rate_and_one_that_is_not_there_have_none() {
    let world = World::with_rate(5_000, 1);
    for group in [OTHER, 99] {
        assert_eq!(
            world.machine.delivery_rate(PARTITION, group, world.now),
            None
        );
    }
}

#[test]
fn what_a_lower_rate_of_a_group_has_used_up_weighs_no_more_than_a_burst() {
    let mut world = World::with_rate(50, 1_000);
    assert_eq!(world.receive(1, false).messages.len(), 1);
    let config = config(2, 500_000);
    world.apply(&Op::Configure(Configure {
        partition: PARTITION,
        config,
    }));
    assert_eq!(world.rate(), (0, 2));
    world.now += 2;
    assert_eq!(world.receive(2, false).messages.len(), 1);
    world.now += 1_000;
    assert_eq!(world.receive(1_000, false).messages.len(), 500);
    assert_eq!(world.receive(1, false).messages.len(), 0);
}
