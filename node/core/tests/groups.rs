//! Groups of a queue in numbers: a thousand of them cost a send nothing; one that goes or begins
//! elsewhere does so in bounded pieces, and nothing is left out or done twice on the way.

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
    config: PartitionConfig,
    freed: usize,
}

impl World {
    fn new(groups: u32) -> Self {
        let kv = MemoryKv::new();
        let config = PartitionConfig {
            revision: 0,
            ttl_ms: 0,
            max_in_flight: 0,
            groups: (1..=groups).map(group).collect(),
            ..PartitionConfig::default()
        };
        let mut world = Self {
            machine: ShardMachine::open(&kv).expect("no rows"),
            kv,
            index: 0,
            now: 1_000_000,
            config,
            freed: 0,
        };
        world.configure(|_| ());
        world
    }

    fn apply(&mut self, op: &Op) -> Reply {
        self.index += 1;
        let mut entry = EntryBuilder::new(self.now);
        entry.push(op);
        let entry = entry.finish();
        let applied = self.machine.apply(&mut self.kv, self.index, &entry);
        let applied = applied.expect("it is whole");
        self.freed += applied.freed.len();
        applied.replies[0].clone()
    }

    fn configure(&mut self, change: impl FnOnce(&mut PartitionConfig)) {
        change(&mut self.config);
        self.config.revision += 1;
        let reply = self.apply(&Op::Configure(Configure {
            partition: PARTITION,
            config: self.config.clone(),
        }));
        assert_eq!(reply, Reply::Configured(true));
    }

    fn send(&mut self, thousands: usize) {
        for _ in 0..thousands {
            let message = NewMessage {
                body: Bytes::from_static(b"body"),
                ..NewMessage::default()
            };
            self.apply(&Op::Send(Send {
                partition: PARTITION,
                producer: None,
                atomic: false,
                messages: vec![message; 1_000],
            }));
        }
    }

    fn receive(&mut self, group: u32) -> Vec<Receipt> {
        let reply = self.apply(&Op::Receive(Receive {
            partition: PARTITION,
            group,
            session: Some(SessionId(1)),
            max: 1_000,
            lease_ms: None,
            at_most_once: false,
            key_slots: KeySlots::ALL,
        }));
        let Reply::Received(received) = reply else {
            unreachable!("{reply:?}")
        };
        let messages = received.messages.iter();
        messages.filter_map(|m| received.receipt(m)).collect()
    }

    /// Acks everything that a group can receive. How many messages.
    fn consume(&mut self, group: u32) -> usize {
        let mut acked = 0;
        loop {
            let receipts = self.receive(group);
            if receipts.is_empty() {
                return acked;
            }
            acked += receipts.len();
            let items = receipts.iter().map(|r| Settlement::new(r, Action::Ack));
            let items = items.collect();
            self.apply(&Op::Settle(Settle {
                partition: PARTITION,
                group,
                items,
            }));
        }
    }

    fn stats(&self, group: u32) -> Stats {
        let stats = self.machine.stats(&self.kv, PARTITION, group);
        stats.expect("rows can be read").expect("it is here")
    }

    fn seek(&mut self, group: u32, to: SeekTo) -> Reply {
        self.apply(&Op::Seek(Seek {
            partition: PARTITION,
            group,
            to,
        }))
    }

    /// Ticks until nothing is due; opens the machine anew before each. How many ticks.
    fn ticks(&mut self) -> usize {
        for n in 0.. {
            let due = self.machine.next_deadline();
            if due.is_none_or(|due| due > self.now) {
                return n;
            }
            self.machine = ShardMachine::open(&self.kv).expect("its own rows");
            let Reply::Ticked { steps, .. } = self.apply(&Op::Tick) else {
                unreachable!("a tick")
            };
            assert!(steps <= TICK_BUDGET + 80, "{steps} steps");
        }
        0
    }

    /// How many rows of one kind there are.
    fn rows(&self, kind: u8) -> usize {
        let rows = self.kv.rows();
        rows.filter(|(key, _)| key[0] == 0x10 && key[13] == kind)
            .count()
    }
}

fn group(id: u32) -> GroupConfig {
    GroupConfig {
        id,
        ..GroupConfig::default()
    }
}

#[test]
fn a_thousand_groups_cost_a_send_no_row_and_each_gets_everything() {
    let (mut one, mut many) = (World::new(0), World::new(1_000));
    let before = (one.kv.len(), many.kv.len());
    one.send(1);
    many.send(1);
    assert_eq!(one.kv.len() - before.0, many.kv.len() - before.1);
    assert_eq!(many.machine.ready(PARTITION, 1_000), 1_000);
    assert_eq!(many.stats(500).ready, 1_000);
    for group in [0, 1, 500, 1_000] {
        assert_eq!(many.consume(group), 1_000);
    }
    assert_eq!((many.freed, many.stats(0).messages), (0, 1_000));
    for group in 1..1_000 {
        many.consume(group);
    }
    assert_eq!((many.freed, many.stats(0).messages), (1_000, 0));
    // Of 1,000 messages 40 are in a block that is not full yet.
    let left = [b'm', b'v'].map(|kind| many.rows(kind));
    assert_eq!(left, [1, 0]);
}

#[test]
fn more_groups_than_a_queue_may_have_are_refused() {
    let mut world = World::new(MAX_GROUPS as u32 - 1);
    let refuse = |world: &mut World, groups| {
        let config = PartitionConfig {
            revision: 99,
            groups,
            ..world.config.clone()
        };
        let reply = world.apply(&Op::Configure(Configure {
            partition: PARTITION,
            config,
        }));
        assert_eq!(reply, Reply::Refused(Refusal::BadGroups));
    };
    refuse(&mut world, (1..=MAX_GROUPS as u32).map(group).collect());
    refuse(&mut world, vec![group(2), group(1)]);
    refuse(&mut world, vec![group(1), group(1)]);
    // An id that was used never comes again.
    world.configure(|config| config.groups = vec![group(1)]);
    refuse(&mut world, vec![group(1), group(2)]);
    world.configure(|config| config.groups = vec![group(1), group(2_000)]);
    refuse(&mut world, vec![group(1), group(1_999), group(2_000)]);
}

#[test]
fn a_group_goes_in_pieces_and_frees_what_only_it_needed() {
    let mut world = World::new(2);
    world.send(30);
    world.consume(0);
    world.consume(2);
    world.receive(1);
    assert_eq!((world.freed, world.stats(0).messages), (0, 30_000));
    world.configure(|config| config.groups = vec![group(2)]);
    assert_eq!(world.seek(1, SeekTo::End), Reply::Refused(Refusal::NoGroup));
    let mut sent = 0;
    // It goes on being sent to.
    while world
        .machine
        .next_deadline()
        .is_some_and(|due| due <= world.now)
        && sent < 3
    {
        assert!(world.freed < 30_000);
        world.apply(&Op::Tick);
        world.send(1);
        sent += 1;
    }
    assert!(world.ticks() > 5);
    assert_eq!((world.freed, world.stats(0).messages), (30_000, 3_000));
    assert_eq!((world.rows(b'g'), world.rows(b'l')), (2, 0));
    world.now += 100_000;
    assert_eq!(world.machine.next_deadline(), None);
    assert_eq!((world.consume(0), world.consume(2)), (3_000, 3_000));
    assert_eq!((world.freed, world.stats(0).messages), (33_000, 0));
    assert_eq!((world.rows(b'n'), world.rows(b'v')), (1 + 1, 0));
}

#[test]
fn a_seek_goes_in_pieces_and_nothing_is_delivered_before_it_is_done() {
    let mut world = World::new(1);
    world.config.retain_ms = 1_000;
    world.configure(|_| ());
    world.send(40);
    assert_eq!((world.consume(0), world.consume(1)), (40_000, 40_000));
    assert_eq!(world.stats(1).retained, 40_000);
    world.send(1);
    let held = world.receive(1);
    assert_eq!(held.len(), 1_000);
    let reply = world.seek(1, SeekTo::Sequence(10_001));
    assert!(
        matches!(reply, Reply::Sought { done: false, .. }),
        "{reply:?}"
    );
    world.send(1);
    assert_eq!(world.machine.ready(PARTITION, 1), 0);
    assert_eq!(world.receive(1), Vec::new());
    let items = vec![Settlement::new(&held[0], Action::Ack)];
    let settle = Settle {
        partition: PARTITION,
        group: 1,
        items,
    };
    let reply = world.apply(&Op::Settle(settle));
    assert_eq!(reply, Reply::Settled(vec![SettleOutcome::Stale]));
    assert!(world.ticks() > 5);
    let stats = world.stats(1);
    assert_eq!(
        (stats.ready, stats.in_flight, world.rows(b'l')),
        (32_000, 0, 0)
    );
    assert_eq!((stats.messages, stats.retained), (2_000, 40_000));
    // The replay outlives the time of retention; what is not replayed does not.
    world.now += 1_000;
    assert!(world.ticks() > 5);
    assert_eq!((world.freed, world.stats(1).retained), (10_000, 30_000));
    assert_eq!((world.consume(1), world.consume(0)), (32_000, 2_000));
    world.now += 1_000;
    world.ticks();
    assert_eq!((world.freed, world.stats(1).retained), (42_000, 0));
    assert_eq!((world.rows(b'm'), world.rows(b'v')), (1, 0));
}

#[test]
fn a_group_that_is_deleted_while_it_seeks_goes() {
    let mut world = World::new(1);
    world.send(40);
    world.consume(0);
    let reply = world.seek(1, SeekTo::End);
    assert!(
        matches!(reply, Reply::Sought { done: false, .. }),
        "{reply:?}"
    );
    world.configure(|config| config.groups = Vec::new());
    world.ticks();
    assert_eq!((world.freed, world.stats(0).messages), (40_000, 0));
    assert_eq!(world.rows(b'g'), 1);
}

#[test]
fn a_shorter_time_of_retention_is_carried_out_in_pieces() {
    let mut world = World::new(0);
    world.configure(|config| config.retain_ms = 1_000_000);
    world.send(40);
    world.consume(0);
    world.configure(|config| config.retain_ms = 10);
    world.now += 10;
    assert!(world.ticks() > 20);
    assert_eq!((world.freed, world.stats(0).retained), (40_000, 0));
    assert_eq!(world.machine.next_deadline(), None);
}

/// Deletes one message far ahead of a group on its way, and moves another.
fn take_two(world: &mut World) {
    let at = |n| Location::Position(n);
    let delete = Op::DeleteMessage(DeleteMessage {
        partition: PARTITION,
        location: at(3_900),
        leases: Vec::new(),
    });
    assert_eq!(world.apply(&delete), Reply::Deleted(Removal::Done));
    let to = DeadLetterTarget {
        queue: 2,
        partitions: 1,
    };
    let moves = [3_901, 3_900].map(|n| Move {
        location: at(n),
        to,
        payload: None,
    });
    let redrive = Op::Redrive(Redrive {
        partition: PARTITION,
        moves: moves.to_vec(),
    });
    let outcomes = vec![Removal::Done, Removal::Gone];
    assert_eq!(world.apply(&redrive), Reply::Redriven(outcomes));
    assert_eq!(world.stats(0).messages, 3_998);
    assert_eq!((world.freed, world.stats(0).outbox), (1, 1));
}

#[test]
fn what_is_taken_while_a_group_goes_is_gone_at_once() {
    let mut world = World::new(1);
    world.send(4);
    world.configure(|config| config.groups.clear());
    take_two(&mut world);
    assert!(world.ticks() > 1);
    assert_eq!(world.consume(0), 3_998);
    assert_eq!((world.stats(0).messages, world.stats(0).bytes), (0, 0));
    assert_eq!((world.freed, world.rows(b'v')), (3_999, 0));
}

#[test]
fn what_is_taken_while_a_group_seeks_is_not_delivered() {
    let mut world = World::new(1);
    world.send(4);
    assert_eq!(world.consume(1), 4_000);
    let reply = world.seek(1, SeekTo::Beginning);
    assert!(matches!(reply, Reply::Sought { done: false, .. }));
    take_two(&mut world);
    assert!(world.ticks() > 1);
    assert_eq!(world.consume(1), 3_998);
    assert_eq!(world.consume(0), 3_998);
    assert_eq!((world.stats(0).messages, world.stats(0).bytes), (0, 0));
    assert_eq!(world.freed, 3_999);
}

#[test]
fn what_waits_for_a_group_that_goes_makes_room() {
    let mut world = World::new(1);
    world.send(4);
    world.configure(|config| {
        config.groups.clear();
        config.max_messages = 3_500;
        config.overflow = Overflow::DropOldest;
    });
    world.send(1);
    let stats = world.stats(0);
    assert_eq!((stats.messages, stats.totals.dropped), (3_500, 1_500));
    world.ticks();
    assert_eq!(world.consume(0), 3_500);
    assert_eq!((world.stats(0).messages, world.freed), (0, 5_000));
}
