//! In any time t no more messages come than rate * t and a burst, and none waits longer than it is
//! told to.

#[path = "world/windows.rs"]
mod windows;
mod world;

use bytes::Bytes;
use proptest::prelude::*;
use roadstead_core::shard::*;

use self::world::{PARTITION, World};

impl World {
    fn with_rate(rate: u64) -> Self {
        Self::new(PartitionConfig {
            rate,
            ..PartitionConfig::default()
        })
    }

    /// Sends messages. How many are accepted.
    fn send(&mut self, messages: usize, atomic: bool) -> u64 {
        let message = NewMessage {
            body: Bytes::from_static(b"body"),
            ..NewMessage::default()
        };
        let reply = self.apply(&Op::Send(Send {
            partition: PARTITION,
            producer: None,
            atomic,
            messages: vec![message; messages],
        }));
        let Reply::Sent(outcomes) = reply else {
            unreachable!("{reply:?}")
        };
        let accepted = |outcome: &&SendOutcome| matches!(outcome, SendOutcome::Accepted { .. });
        outcomes.iter().filter(accepted).count() as u64
    }

    fn wait(&self, messages: u64) -> u64 {
        self.machine
            .rate_wait_ms(PARTITION, (0, messages), self.now)
    }
}

/// Messages per 1,000 s.
fn rate() -> impl Strategy<Value = u64> {
    prop_oneof![
        1_u64..3_000,
        3_000_u64..100_000,
        Just(7_000_000),
        Just(10_000_000_000)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_rate_is_never_exceeded_in_any_window(
        rate in rate(),
        sends in prop::collection::vec((0_u64..400, 1_usize..60, any::<bool>()), 1..120),
    ) {
        let mut world = World::with_rate(rate);
        let mut came: Vec<(u64, u64)> = Vec::new();
        for (passes, messages, atomic) in sends {
            world.now += passes;
            let accepted = world.send(messages, atomic);
            prop_assert!(!atomic || accepted == 0 || accepted == messages as u64);
            came.push((world.now, accepted));
        }
        windows::hold(&came, rate)?;
    }

    #[test]
    fn after_the_wait_it_is_accepted_and_not_before(
        rate in 1_u64..1_000_000, first in 1_usize..200, passes in 0_u64..300,
    ) {
        let mut world = World::with_rate(rate);
        world.send(first, false);
        world.now += passes;
        let wait = world.wait(1);
        if wait > 0 {
            world.now += wait - 1;
            prop_assert_eq!(world.wait(1), 1);
            prop_assert_eq!(world.send(1, false), 0);
            world.now += 1;
        }
        prop_assert_eq!(world.wait(1), 0);
        prop_assert_eq!(world.send(1, false), 1);
    }
}

#[test]
fn what_is_over_the_rate_is_told_apart_from_what_never_fits() {
    let mut world = World::with_rate(5_000);
    assert_eq!(world.send(3, true), 3);
    assert_eq!(world.send(3, true), 0);
    assert_eq!(world.wait(3), 200);
    // Of more than a burst: until one may come.
    assert_eq!(world.wait(1_000), 600);
    world.now += 200;
    assert_eq!(world.send(3, true), 3);
    world.now += 100_000;
    assert_eq!(world.send(6, true), 0);
    assert_eq!(world.send(6, false), 5);
    assert_eq!(World::with_rate(0).wait(1_000), 0);
}

#[test]
fn who_is_ahead_is_waited_for() {
    let mut world = World::with_rate(10_000);
    assert_eq!(world.send(10, false), 10);
    let wait = |ahead, messages| {
        world
            .machine
            .rate_wait_ms(PARTITION, (ahead, messages), world.now)
    };
    assert_eq!((wait(0, 1), wait(3, 1), wait(3, 2)), (100, 400, 500));
    assert_eq!(wait(3, 1_000), 1_300, "a burst, behind the three");
}

#[test]
fn what_a_lower_rate_has_used_up_weighs_no_more_than_a_burst() {
    let mut world = World::with_rate(50);
    assert_eq!(world.send(1, false), 1);
    let config = PartitionConfig {
        revision: 2,
        rate: 1_000_000,
        ..PartitionConfig::default()
    };
    world.apply(&Op::Configure(Configure {
        partition: PARTITION,
        config,
    }));
    assert_eq!((world.send(1, false), world.wait(1)), (0, 1));
    world.now += 1;
    assert_eq!(world.send(2, false), 1);
    world.now += 1_000;
    assert_eq!(world.send(1_000, false), 1_000);
    assert_eq!(world.send(1, false), 0);
}
