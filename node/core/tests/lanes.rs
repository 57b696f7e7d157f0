//! Lanes and tenants in numbers: how long a quiet tenant waits beside a noisy one, how long the
//! lowest lane waits, and that what is looked at stays bounded.
//! `cargo test -p roadstead-core --test lanes -- --nocapture` prints the waits.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

mod world;

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_core::shard::*;

use self::world::{PARTITION, World};

impl World {
    /// What is leased stays leased, and nothing expires.
    fn of_lanes(config: PartitionConfig) -> Self {
        Self::new(PartitionConfig {
            ttl_ms: 0,
            max_in_flight: 0,
            lease_ms: 12 * 3_600_000,
            ..config
        })
    }

    /// Sends messages of a priority and a tenant, and gives the sequence of the last one.
    fn send(&mut self, count: usize, priority: u8, tenant: Option<u64>) -> u64 {
        let message = NewMessage {
            priority,
            tenant,
            body: Bytes::from_static(b"body"),
            ..NewMessage::default()
        };
        let reply = self.apply(&Op::Send(Send {
            partition: PARTITION,
            producer: None,
            atomic: false,
            messages: vec![message; count],
        }));
        let Reply::Sent(outcomes) = reply else {
            unreachable!("{reply:?}")
        };
        match outcomes.last() {
            Some(SendOutcome::Accepted { sequence }) => *sequence,
            other => unreachable!("{other:?}"),
        }
    }

    /// Receives messages and leaves them leased. Their sequences.
    fn receive(&mut self, max: u32) -> Vec<u64> {
        self.take(max).messages.iter().map(|m| m.sequence).collect()
    }

    fn take(&mut self, max: u32) -> Received {
        let reply = self.apply(&Op::Receive(Receive {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            session: None,
            max,
            lease_ms: None,
            at_most_once: false,
            key_slots: KeySlots::ALL,
        }));
        let Reply::Received(received) = reply else {
            unreachable!("{reply:?}")
        };
        received
    }

    fn ack(&mut self, received: &Received) {
        let receipts = received.messages.iter().filter_map(|m| received.receipt(m));
        let items = receipts.map(|r| Settlement::new(&r, Action::Ack)).collect();
        self.apply(&Op::Settle(Settle {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            items,
        }));
    }

    fn ready(&self) -> u64 {
        self.machine.ready(PARTITION, DEFAULT_GROUP)
    }

    /// How many rows there are of a kind.
    fn rows(&self, kind: u8) -> usize {
        let of = |key: &[u8]| key[0] == 0x10 && key[13] == kind;
        self.kv.rows().filter(|(key, _)| of(key)).count()
    }
}

/// Deliveries that went before each message of a quiet tenant after it was sent, while a noisy one
/// has `backlog` messages waiting and sends nine times as much: the median and the most.
fn waits_of_quiet(backlog: usize, tenants: Option<(u64, u64)>) -> (u64, u64) {
    let mut world = World::of_lanes(PartitionConfig::default());
    let (noisy, quiet) = (tenants.map(|it| it.0), tenants.map(|it| it.1));
    for _ in 0..backlog / 1_000 {
        world.send(1_000, 0, noisy);
    }
    let mut sent = BTreeMap::new();
    let (mut delivered, mut waits) = (0, Vec::new());
    while waits.len() < 100 {
        if sent.len() + waits.len() < 100 {
            sent.insert(world.send(1, 0, quiet), delivered);
            world.send(9, 0, noisy);
        }
        let received = world.take(10);
        for m in &received.messages {
            delivered += 1;
            if let Some(since) = sent.remove(&m.sequence) {
                waits.push(delivered - since);
            }
        }
        world.ack(&received);
    }
    waits.sort_unstable();
    (waits[50], waits[99])
}

#[test]
fn a_noisy_tenant_does_not_delay_quiet_ones() {
    let (noisy, quiet) = (key_hash(b"noisy"), key_hash(b"quiet"));
    for backlog in [1_000, 100_000] {
        let alone = waits_of_quiet(backlog, None);
        let fair = waits_of_quiet(backlog, Some((noisy, quiet)));
        println!(
            "a noisy tenant has {backlog} messages waiting: a quiet one's wait for {} deliveries, \
             {} at most; without a fairness key {}, {} at most",
            fair.0, fair.1, alone.0, alone.1
        );
        assert!(fair.1 <= 2, "{fair:?}");
        assert!(alone.0 >= backlog as u64, "{alone:?}");
    }
}

#[test]
fn weights_are_shares() {
    let tenants = [(key_hash(b"gold"), 5), (key_hash(b"silver"), 2)];
    let weights = tenants.map(|(tenant, weight)| TenantWeight { tenant, weight });
    let mut weights = weights.to_vec();
    weights.sort_by_key(|of| of.tenant);
    let mut world = World::of_lanes(PartitionConfig {
        weights,
        ..PartitionConfig::default()
    });
    let bronze = key_hash(b"bronze");
    let mut of = BTreeMap::new();
    for (tenant, _) in tenants.into_iter().chain([(bronze, 1)]) {
        let last = world.send(1_000, 0, Some(tenant));
        of.extend((last - 999..=last).map(|sequence| (sequence, tenant)));
    }
    let mut shares = BTreeMap::new();
    for _ in 0..80 {
        for sequence in world.receive(10) {
            *shares.entry(of[&sequence]).or_insert(0) += 1;
        }
    }
    let share = |name: &[u8]| shares[&key_hash(name)];
    println!(
        "of 800 deliveries: {}, {}, {}",
        share(b"gold"),
        share(b"silver"),
        share(b"bronze")
    );
    assert_eq!(
        [share(b"gold"), share(b"silver"), share(b"bronze")],
        [500, 200, 100]
    );
}

/// Of the lowest lane and of the highest, while twice as many come as are received: how long one
/// that was sent waits, in ms; None: it still waits after 10 s.
fn wait_of_lowest(aging_ms: u64) -> Option<u64> {
    let mut world = World::of_lanes(PartitionConfig {
        aging_ms,
        ..PartitionConfig::default()
    });
    let low = world.send(1, 0, None);
    let begin = world.now;
    for _ in 0..10_000 {
        world.send(2, 9, None);
        let received = world.take(1);
        if received.messages[0].sequence == low {
            return Some(world.now - begin);
        }
        world.ack(&received);
        world.now += 1;
    }
    None
}

#[test]
fn the_lowest_lane_is_never_starved() {
    // Before it goes what came up to nine steps after it: twice that, as half is received.
    for aging in [1, 10, 100] {
        let waited = wait_of_lowest(aging);
        println!(
            "overload in the highest lane, {aging} ms of aging: the lowest waits {waited:?} ms"
        );
        assert_eq!(waited, Some(2 * 9 * aging + 2));
    }
    assert_eq!(wait_of_lowest(0), None);
}

#[test]
fn tenants_beyond_those_that_are_told_apart_share_turns_and_nothing_is_left() {
    let mut world = World::of_lanes(PartitionConfig::default());
    for tenant in 1..=1_500_u64 {
        world.send(2, 3, Some(key_hash(&tenant.to_be_bytes())));
    }
    // One more, for all others of the lane.
    assert_eq!(world.rows(b'b'), 1_025);
    let mut known = world.take(1_000);
    world.machine = ShardMachine::open(&world.kv).expect("its own rows can be read");
    let mut seen: Vec<u64> = known.messages.iter().map(|m| m.sequence).collect();
    // Each of them has had one before any has had two.
    assert!(seen.iter().all(|sequence| sequence % 2 == 1));
    while !known.messages.is_empty() {
        world.ack(&known);
        known = world.take(1_000);
        seen.extend(known.messages.iter().map(|m| m.sequence));
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=3_000).collect::<Vec<_>>());
    let left: usize = [b'b', b'c'].map(|kind| world.rows(kind)).iter().sum();
    assert_eq!(left, 0);
    // Blocks that are not full are kept, with what finds their streams.
    assert!(world.rows(b'f') <= 64 * world.rows(b'm'));
    assert_eq!((world.rows(b'm'), world.rows(b'y')), (1, 1));
}

#[test]
fn what_waits_behind_a_long_lane_is_found_in_pieces() {
    let mut world = World::of_lanes(PartitionConfig {
        aging_ms: 0,
        ..PartitionConfig::default()
    });
    for _ in 0..300 {
        world.send(1_000, 9, None);
    }
    let last = world.send(1, 0, None);
    for _ in 0..300 {
        assert_eq!(world.receive(1_000).len(), 1_000);
    }
    // All of them are leased: their blocks are there, and none of them has one of the lowest lane.
    assert_eq!(world.ready(), 1);
    let piece = world.take(1);
    assert!(piece.messages.is_empty() && piece.more);
    assert_eq!(world.receive(1), [last]);
    assert_eq!(world.ready(), 0);
}

#[test]
fn a_priority_that_is_too_high_is_cut_and_one_in_the_log_is_damage() {
    let mut world = World::of_lanes(PartitionConfig::default());
    world.send(1, 200, None);
    let lanes = world.machine.ready_by_lane(PARTITION, DEFAULT_GROUP);
    assert_eq!(lanes, Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(world.machine.ready_by_lane(PARTITION, 7), None);
    let mut entry = EntryBuilder::new(world.now);
    entry.push(&Op::Send(Send {
        partition: PARTITION,
        producer: None,
        atomic: false,
        messages: vec![NewMessage {
            priority: 9,
            ..NewMessage::default()
        }],
    }));
    let mut entry = entry.finish().to_vec();
    // Flags, priority, and a payload of the one byte that says how long its header is.
    let at = entry.len() - 3;
    assert_eq!(entry[at - 1..], [64, 9, 1, 0]);
    assert_eq!(inspect(&entry), Ok((world.now, 1)));
    entry[at] = 10;
    assert!(inspect(&entry).is_err());
}
