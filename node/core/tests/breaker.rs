//! A circuit breaker leaves nothing behind, and a group without one has no row for it.

mod world;

use bytes::Bytes;
use roadstead_core::shard::*;

use self::world::{PARTITION, World};

const BREAKER: CircuitBreaker = CircuitBreaker {
    error_percent: 50,
    min_deliveries: 1,
    window_ms: 1_000,
    open_ms: 500,
};

impl World {
    fn with(breaker: Option<CircuitBreaker>) -> Self {
        Self::new(PartitionConfig {
            ttl_ms: 0,
            groups: vec![GroupConfig {
                breaker,
                ..GroupConfig::default()
            }],
            ..PartitionConfig::default()
        })
    }

    /// Sends a message, and fails its delivery.
    fn fail(&mut self) {
        let message = NewMessage {
            body: Bytes::from_static(b"body"),
            ..NewMessage::default()
        };
        self.apply(&Op::Send(Send {
            partition: PARTITION,
            producer: None,
            atomic: false,
            messages: vec![message],
        }));
        let reply = self.apply(&Op::Receive(Receive {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            session: None,
            max: 1,
            lease_ms: None,
            at_most_once: false,
            key_slots: KeySlots::ALL,
        }));
        let Reply::Received(received) = reply else {
            unreachable!("{reply:?}")
        };
        let receipt = received.receipt(&received.messages[0]).expect("leased");
        let nack = Action::Nack {
            delay_ms: Some(0),
            error: Bytes::new(),
            unstarted: false,
        };
        self.apply(&Op::Settle(Settle {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            items: vec![Settlement::new(&receipt, nack)],
        }));
    }

    /// Rows of a kind.
    fn rows(&self, kind: u8) -> usize {
        let of_kind = |key: &[u8]| key[0] == 0x10 && key[13] == kind;
        self.kv.rows().filter(|(key, _)| of_kind(key)).count()
    }

    fn state(&self) -> BreakerState {
        let stats = self.machine.stats(&self.kv, PARTITION, DEFAULT_GROUP);
        stats.expect("readable").expect("it is here").breaker
    }
}

#[test]
fn a_group_without_a_breaker_has_no_row_for_it() {
    let mut world = World::with(None);
    world.fail();
    assert_eq!((world.rows(b'z'), world.rows(b't')), (0, 0));
    let mut world = World::with(Some(BREAKER));
    assert_eq!(world.rows(b'z'), 0);
    world.fail();
    assert_eq!((world.rows(b'z'), world.rows(b't')), (1, 1));
}

#[test]
fn a_tick_is_due_when_the_open_time_is_over() {
    let mut world = World::with(Some(BREAKER));
    world.fail();
    let until = world.now + 500;
    assert_eq!(world.state(), BreakerState::Open { until });
    assert_eq!(world.machine.next_deadline(), Some(until));
    assert_eq!(world.machine.ready(PARTITION, DEFAULT_GROUP), 0);
    world.now = until - 1;
    world.apply(&Op::Tick);
    assert_eq!(world.state(), BreakerState::Open { until });
    world.now = until;
    world.apply(&Op::Tick);
    assert_eq!(world.state(), BreakerState::HalfOpen);
    assert_eq!(world.machine.next_deadline(), None);
    assert_eq!(world.machine.ready(PARTITION, DEFAULT_GROUP), 1);
}

#[test]
fn a_partition_that_is_deleted_takes_it_along() {
    let mut world = World::with(Some(BREAKER));
    world.fail();
    world.apply(&Op::Drop(DropPartition {
        partition: PARTITION,
        only_if_empty: false,
    }));
    for _ in 0..3 {
        world.apply(&Op::Tick);
    }
    // The time of the shard is all that is left.
    assert_eq!(world.kv.len(), 1);
    assert_eq!(world.machine.next_deadline(), None);
}
