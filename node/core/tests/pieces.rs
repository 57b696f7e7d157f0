//! No op does more than a bounded piece of work: what is large goes in many pieces, and nothing
//! is left out or done twice on the way.

use bytes::Bytes;
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::*;

const PARTITION: PartitionId = PartitionId {
    queue: 1,
    partition: 0,
};

struct World {
    kv: MemoryKv,
    machine: ShardMachine,
    index: u64,
    now: u64,
    freed: usize,
}

impl World {
    fn new(config: PartitionConfig) -> Self {
        let kv = MemoryKv::new();
        let machine = ShardMachine::open(&kv).expect("no rows");
        let mut world = Self {
            kv,
            machine,
            index: 0,
            now: 1_000_000,
            freed: 0,
        };
        world.apply(&Op::Configure(Configure {
            partition: PARTITION,
            config,
        }));
        world
    }

    fn apply(&mut self, op: &Op) -> Reply {
        self.index += 1;
        let mut entry = EntryBuilder::new(self.now);
        entry.push(op);
        let applied = self
            .machine
            .apply(&mut self.kv, self.index, &entry.finish());
        let applied = applied.expect("it is whole");
        self.freed += applied.freed.len();
        applied
            .replies
            .into_iter()
            .next()
            .expect("one reply per op")
    }

    fn send(&mut self, count: usize, message: &NewMessage) {
        for _ in 0..count / 1_000 {
            let messages = vec![message.clone(); 1_000];
            let send = Send {
                partition: PARTITION,
                producer: None,
                atomic: false,
                messages,
            };
            let Reply::Sent(outcomes) = self.apply(&Op::Send(send)) else {
                unreachable!("a send")
            };
            assert!(
                outcomes
                    .iter()
                    .all(|o| matches!(o, SendOutcome::Accepted { .. }))
            );
        }
    }

    fn receive(&mut self, max: u32) -> Received {
        let session = Some(SessionId(1));
        let receive = Receive {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            session,
            max,
            lease_ms: Some(100),
            at_most_once: false,
            key_slots: KeySlots::ALL,
        };
        match self.apply(&Op::Receive(receive)) {
            Reply::Received(received) => received,
            other => unreachable!("{other:?}"),
        }
    }

    fn stats(&self) -> Stats {
        let stats = self.machine.stats(&self.kv, PARTITION, DEFAULT_GROUP);
        stats
            .expect("rows can be read")
            .expect("the partition is here")
    }

    /// Ticks until nothing is due. How many ticks it took.
    fn ticks(&mut self) -> usize {
        for n in 1.. {
            let Reply::Ticked { steps, more } = self.apply(&Op::Tick) else {
                unreachable!("a tick")
            };
            assert!(steps <= TICK_BUDGET + 64, "{steps} steps");
            let due = self
                .machine
                .next_deadline()
                .is_some_and(|due| due <= self.now);
            assert_eq!(more, due);
            if !more {
                return n;
            }
        }
        0
    }
}

fn forever() -> PartitionConfig {
    PartitionConfig {
        ttl_ms: 0,
        max_in_flight: 0,
        ..PartitionConfig::default()
    }
}

fn message() -> NewMessage {
    NewMessage {
        body: Bytes::from_static(b"body"),
        ..NewMessage::default()
    }
}

#[test]
fn leases_end_a_thousand_per_tick() {
    let mut world = World::new(forever());
    world.send(5_000, &message());
    for _ in 0..5 {
        assert_eq!(world.receive(9_999).messages.len(), 1_000);
    }
    assert_eq!(world.receive(1).messages.len(), 0);
    world.now += 100;
    assert_eq!(world.ticks(), 5);
    let stats = world.stats();
    assert_eq!(
        (stats.ready, stats.in_flight, stats.totals.lease_expired),
        (5_000, 0, 5_000)
    );
    assert_eq!(world.machine.next_deadline(), None);
    // They come in order again, for the second time.
    let again = world.receive(1_000);
    assert!(
        again
            .messages
            .iter()
            .zip(1..)
            .all(|(m, n)| (m.sequence, m.delivery_count) == (n, 2))
    );
}

#[test]
fn delayed_messages_come_and_waiting_ones_expire_a_thousand_per_tick() {
    let mut world = World::new(PartitionConfig {
        ttl_ms: 1_000,
        ..PartitionConfig::default()
    });
    world.send(
        3_000,
        &NewMessage {
            delay_ms: 50,
            ..message()
        },
    );
    world.send(3_000, &message());
    world.now += 50;
    assert!(world.ticks() >= 3);
    assert_eq!(world.stats().ready, 6_000);
    world.now += 950;
    assert!(world.ticks() >= 3);
    assert_eq!(
        (world.stats().ready, world.stats().totals.expired),
        (3_000, 3_000)
    );
    world.now += 50;
    world.ticks();
    assert_eq!(
        (
            world.stats().ready,
            world.stats().totals.expired,
            world.freed
        ),
        (0, 6_000, 6_000)
    );
}

#[test]
fn ids_are_forgotten_in_pieces_and_are_new_when_their_window_is_over() {
    let setting = Deduplication {
        by: DeduplicateBy::Id,
        scope: DeduplicationScope::Key,
        window_ms: 50,
        max_ids: 2_500,
    };
    let mut world = World::new(PartitionConfig {
        deduplication: Some(setting),
        ..forever()
    });
    let bytes = |world: &World| -> usize {
        let rows = world.kv.rows();
        let ids = rows.filter(|(key, _)| key.len() > 13 && matches!(key[13], b'i' | b'j'));
        ids.map(|(key, value)| key.len() + value.len()).sum()
    };
    let send = |world: &mut World, from: u128, count: u128| {
        let of = |id| NewMessage {
            identity: Some(Identity::Id(id)),
            ..message()
        };
        let messages = (from..from + count).map(of).collect();
        world.apply(&Op::Send(Send {
            partition: PARTITION,
            producer: None,
            atomic: false,
            messages,
        }))
    };
    // 110 bytes for an id that is sent alone, half of it where many are sent together.
    send(&mut world, 1, 1);
    assert!(bytes(&world) <= 110, "{}", bytes(&world));
    for from in [2, 1_002, 2_002] {
        send(&mut world, from, 1_000);
    }
    assert_eq!(world.stats().ids, 2_500);
    assert!(bytes(&world) <= 2_500 * 58, "{}", bytes(&world));
    world.now += 50;
    // Nothing has ticked: what is over is new all the same, also where its rows are still there.
    let accepted = |reply: Reply| {
        let outcome = |n| SendOutcome::Accepted { sequence: n };
        reply == Reply::Sent((2_501..2_601).map(outcome).collect())
    };
    assert!(accepted(send(&mut world, 2_401, 100)));
    assert_eq!(world.stats().ids, 2_500 - 1_024);
    assert!(!accepted(send(&mut world, 2_401, 100)), "they came again");
    assert_eq!(world.ticks(), 1);
    assert_eq!(world.stats().ids, 100);
    world.now += 50;
    assert_eq!(world.ticks(), 1);
    assert_eq!((world.stats().ids, bytes(&world)), (0, 0));
    assert_eq!(world.machine.next_deadline(), None);
}

#[test]
fn a_session_is_released_a_thousand_messages_at_a_time() {
    let mut world = World::new(forever());
    world.send(3_000, &message());
    for _ in 0..6 {
        assert_eq!(world.receive(450).messages.len(), 450);
    }
    let release = ReleaseSession {
        partition: PARTITION,
        session: SessionId(1),
    };
    let mut released = Vec::new();
    while let Reply::Released { messages, more } = world.apply(&Op::ReleaseSession(release)) {
        released.push(messages);
        if !more {
            break;
        }
    }
    assert_eq!(released, [1_000, 1_000, 700]);
    assert_eq!((world.stats().in_flight, world.stats().ready), (0, 3_000));
}

#[test]
fn a_purge_goes_in_pieces_and_spares_what_is_leased_or_came_later() {
    let mut world = World::new(forever());
    world.send(10_000, &message());
    world.send(
        6_000,
        &NewMessage {
            delay_ms: 1_000,
            ..message()
        },
    );
    world.receive(100);
    let (mut from, mut purged, mut pieces) = (None, 0, 0);
    loop {
        let purge = Purge {
            partition: PARTITION,
            from,
        };
        let Reply::Purged { messages, next } = world.apply(&Op::Purge(purge)) else {
            unreachable!("a purge")
        };
        purged += messages;
        pieces += 1;
        if pieces == 1 {
            world.send(1_000, &message());
        }
        from = next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(purged, 15_900);
    assert!(pieces >= 4, "{pieces}");
    let stats = world.stats();
    assert_eq!(
        (stats.in_flight, stats.ready, stats.delayed),
        (100, 1_000, 0)
    );
    // What is purged costs the next receive nothing.
    assert_eq!(world.receive(1_000).messages.len(), 1_000);
}

#[test]
fn a_receive_looks_at_4096_headers_at_most_and_the_next_one_goes_on() {
    let config = PartitionConfig {
        ordering: Ordering::PerKey,
        ..forever()
    };
    let mut world = World::new(config);
    let of = |key| NewMessage {
        key: Some(key),
        ..message()
    };
    world.send(9_000, &of(1));
    world.send(1_000, &of(2));
    assert_eq!(world.receive(10).messages.len(), 1);
    let passed = world.stats().blocked;
    assert!((4_000..4_096).contains(&passed), "{passed}");
    assert_eq!(world.receive(10).messages.len(), 0);
    assert!(world.machine.ready(PARTITION, DEFAULT_GROUP) > 0);
    assert_eq!(world.receive(10).messages.len(), 1);
    assert_eq!((world.stats().blocked, world.stats().ready), (9_998, 0));
}

#[test]
fn a_dropped_partition_goes_with_the_ticks_and_frees_every_payload() {
    let mut world = World::new(forever());
    world.send(5_000, &message());
    world.send(
        2_000,
        &NewMessage {
            delay_ms: 1_000,
            ..message()
        },
    );
    world.receive(1_000);
    let drop = DropPartition {
        partition: PARTITION,
        only_if_empty: false,
    };
    assert_eq!(
        world.apply(&Op::Drop(drop)),
        Reply::Dropped { messages: 7_000 }
    );
    assert_eq!(world.machine.partitions().count(), 0);
    assert!(world.ticks() > 5);
    assert_eq!(world.freed, 7_000);
    // Nothing is left but the time.
    assert_eq!(world.kv.len(), 1);
}

#[test]
fn the_oldest_idle_producer_makes_room_and_a_busy_one_does_not() {
    let mut world = World::new(forever());
    let send = |world: &mut World, n: u32| {
        let id = Bytes::from(n.to_be_bytes().to_vec());
        let producer = Some(ProducerRef { id, first: 1 });
        let messages = vec![message()];
        world.apply(&Op::Send(Send {
            partition: PARTITION,
            producer,
            atomic: false,
            messages,
        }))
    };
    for n in 0..4_096 {
        assert!(matches!(send(&mut world, n), Reply::Sent(_)));
    }
    assert_eq!(
        send(&mut world, 5_000),
        Reply::Refused(Refusal::ProducerLimit)
    );
    world.now += 60_000;
    // Producer 0 is heard of again; 1 was idle for a minute and is forgotten for 5,000.
    let again = |reply: Reply| {
        let Reply::Sent(outcomes) = reply else {
            return false;
        };
        matches!(outcomes[0], SendOutcome::Duplicate { .. })
    };
    assert!(again(send(&mut world, 0)));
    assert!(matches!(send(&mut world, 5_000), Reply::Sent(_)));
    assert!(again(send(&mut world, 0)));
    assert!(again(send(&mut world, 2)));
    world.now += 600_000;
    world.ticks();
    assert!(!again(send(&mut world, 0)), "an idle producer is forgotten");
}
