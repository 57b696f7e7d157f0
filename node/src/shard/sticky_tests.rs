use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::shard::consumer::{Push, Rank, Wish};
use crate::shard::consumers::{Asked, Consumers};
use crate::shard::drains::Selector;
use crate::shard::tests_support::{received, wish};
use crate::shard::waiting::Ready;

const A: PartitionId = PartitionId {
    queue: 1,
    partition: 0,
};

fn sessions(seed: u64, count: usize) -> Vec<SessionId> {
    let of = |n: usize| (u128::from(seed) << 64) | (n as u128 + 1);
    (0..count).map(|n| SessionId(of(n))).collect()
}

/// Who has each slot, by session.
fn owners(partition: PartitionId, sessions: &[SessionId]) -> Vec<SessionId> {
    let slots = assign(partition, sessions);
    let of = |slot| {
        let has = |(_, slots): &(&SessionId, &KeySlots)| slots.has(slot);
        let mut all = sessions.iter().zip(&slots).filter(has);
        let (one, two) = (all.next(), all.next());
        assert!(two.is_none(), "slot {slot} has two consumers");
        *one.expect("it has one").0
    };
    KeySlots::ALL.iter().map(of).collect()
}

proptest! {
    #[test]
    fn each_slot_has_one_consumer_and_all_have_as_many(
        seed: u64, count in 1_usize..=64, partition: u32,
    ) {
        let partition = PartitionId { queue: seed, partition };
        let sessions = sessions(seed, count);
        owners(partition, &sessions);
        let (least, most) = (64 / count as u32, 64_u32.div_ceil(count as u32));
        for slots in assign(partition, &sessions) {
            prop_assert!((least..=most).contains(&slots.count()), "{}", slots.count());
        }
    }

    #[test]
    fn it_does_not_matter_who_came_first(seed: u64, count in 1_usize..100, turn: usize) {
        let sessions = sessions(seed, count);
        let mut others = sessions.clone();
        others.rotate_left(turn % count);
        others.reverse();
        prop_assert_eq!(owners(A, &sessions), owners(A, &others));
    }

    #[test]
    fn half_of_the_slots_move_at_most_when_one_comes_or_goes(seed: u64, count in 1_usize..80) {
        let sessions = sessions(seed, count + 1);
        let (few, more) = (owners(A, &sessions[..count]), owners(A, &sessions));
        let moved = few.iter().zip(&more).filter(|(one, other)| one != other);
        prop_assert!(moved.count() <= KEY_SLOTS / 2);
    }
}

#[test]
fn few_slots_move_when_one_of_many_comes_or_goes() {
    for count in [3, 8, 20, 63, 64] {
        let moves = |seed| {
            let sessions = sessions(seed, count + 1);
            let (few, more) = (owners(A, &sessions[..count]), owners(A, &sessions));
            few.iter()
                .zip(&more)
                .filter(|(one, other)| one != other)
                .count()
        };
        let sum: usize = (0..20).map(moves).sum();
        let (mean, fair) = (sum / 20, KEY_SLOTS / (count + 1));
        assert!(
            mean <= fair + 12,
            "{count} consumers and one more: {mean} of 64 move"
        );
    }
}

#[test]
fn beyond_as_many_consumers_as_slots_the_others_have_none() {
    let slots = assign(A, &sessions(1, 100));
    let with = slots.iter().filter(|slots| slots.count() == 1).count();
    let without = slots.iter().filter(|slots| slots.count() == 0).count();
    assert_eq!((with, without), (64, 36));
    assert_eq!(assign(A, &[]), []);
    assert_eq!(assign(A, &sessions(1, 1)), [KeySlots::ALL]);
}

#[test]
fn who_has_which_slots_never_changes_from_one_version_to_the_next() {
    let slots = assign(A, &sessions(7, 3)).into_iter().map(|slots| slots.0);
    let expected: [u64; 3] = [
        0x0b51_616c_10a4_22c0,
        0x202e_1a00_8e0a_9037,
        0xd480_8493_6151_4d08,
    ];
    assert_eq!(slots.collect::<Vec<_>>(), expected);
}

struct Group {
    consumers: Consumers,
    pushes: Vec<mpsc::UnboundedReceiver<Push>>,
    ready: [u64; KEY_SLOTS],
}

impl Group {
    fn new() -> Self {
        Self {
            consumers: Consumers::default(),
            pushes: Vec::new(),
            ready: [0; KEY_SLOTS],
        }
    }

    fn open(&mut self, wish: Wish, credit: u32) -> ConsumerId {
        let (push, pushes) = mpsc::unbounded_channel();
        self.pushes.push(pushes);
        let id = self.consumers.open(wish, Vec::new(), push);
        self.consumers.grant(id, credit);
        id
    }

    fn ask(&mut self, incoming: &Incoming) -> Vec<Asked> {
        let by_slot = Box::new(self.ready);
        let sum = by_slot.iter().sum();
        let ready = Ready {
            by_slot: Some(by_slot),
            ..Ready::of(sum)
        };
        self.consumers.ask(incoming, |_| Some(ready.clone()))
    }

    /// Asks, and lets everybody get what is in the slots that were asked for.
    fn serve(&mut self) -> Vec<(ConsumerId, KeySlots, u32)> {
        let asked = self.ask(&Incoming::new());
        let mut served = Vec::new();
        for asked in asked {
            let mut left = asked.receive.max;
            for slot in asked.receive.key_slots.iter() {
                let ready = &mut self.ready[usize::from(slot)];
                let taken = left.min(*ready as u32);
                *ready -= u64::from(taken);
                left -= taken;
            }
            let got = asked.receive.max - left;
            served.push((asked.consumer, asked.receive.key_slots, got));
            let own = |slot: u8| self.ready[usize::from(slot)];
            let ready = asked.receive.key_slots.iter().map(own).sum();
            let got = received(A, got as u16);
            self.consumers.answered(&asked, Some(got), ready);
        }
        served
    }

    fn one_in_each_slot(&mut self) {
        self.ready = [1; KEY_SLOTS];
        self.consumers.touched(A);
    }
}

#[test]
fn each_consumer_is_asked_for_its_own_slots_and_all_slots_are_asked_for() {
    let mut group = Group::new();
    let ids: Vec<_> = (1..=3)
        .map(|n| group.open(wish(Some(n), &[A]), 100))
        .collect();
    group.one_in_each_slot();
    let served = group.serve();
    assert_eq!(served.iter().map(|(.., got)| got).sum::<u32>(), 64);
    let expected = assign(A, &[1, 2, 3].map(SessionId));
    for (id, slots) in ids.iter().zip(expected) {
        let own: Vec<_> = served.iter().filter(|(other, ..)| other == id).collect();
        assert!(own.iter().all(|(_, asked, _)| *asked == slots));
        let got: u32 = own.iter().map(|(.., got)| got).sum();
        assert_eq!(got, slots.count());
    }
}

#[test]
fn whose_slots_have_nothing_is_not_asked_for_again_and_again() {
    let mut group = Group::new();
    let idle = group.open(wish(Some(1), &[A]), 10);
    let busy = group.open(wish(Some(2), &[A]), 1);
    let slots = assign(A, &[1, 2].map(SessionId));
    let first = slots[1].iter().next().unwrap();
    group.ready[usize::from(first)] = 100;
    group.consumers.touched(A);
    assert_eq!(group.serve(), [(busy, slots[1], 1)]);
    // It has no credit any more, and keeps its slots: the other one is not asked for them.
    for _ in 0..3 {
        group.consumers.touched(A);
        assert_eq!(group.serve(), []);
        assert!(!group.consumers.is_dirty());
    }
    let hints = |pushes: &mut mpsc::UnboundedReceiver<Push>| {
        let mut hints = 0;
        while let Ok(push) = pushes.try_recv() {
            hints += u32::from(matches!(push, Push::Available));
        }
        hints
    };
    assert_eq!(
        hints(&mut group.pushes[1]),
        1,
        "it hears that there is something"
    );
    assert_eq!(hints(&mut group.pushes[0]), 0);
    group.consumers.close(busy);
    assert_eq!(
        group.serve(),
        [(idle, KeySlots::ALL, 10)],
        "they are its own now"
    );
}

#[test]
fn what_comes_is_asked_for_by_whose_slot_it_is_in() {
    let mut group = Group::new();
    let ids = [1, 2].map(|n| group.open(wish(Some(n), &[A]), 10));
    let slots = assign(A, &[1, 2].map(SessionId));
    for (id, slots) in ids.iter().zip(&slots) {
        let slot = slots.iter().next();
        let incoming = Incoming::from([((A, None, slot), 2), ((A, Some(7), slot), 5)]);
        group.consumers.touched(A);
        let asked = group.ask(&incoming);
        let seen: Vec<_> = asked
            .iter()
            .map(|it| (it.consumer, it.receive.max))
            .collect();
        assert_eq!(seen, [(*id, 2)]);
        // While it is being written it is not asked for again.
        group.consumers.touched(A);
        assert_eq!(group.ask(&incoming), []);
        group.consumers.answered(&asked[0], None, 0);
    }
}

#[test]
fn who_is_drained_or_stands_behind_others_has_no_slots() {
    let mut group = Group::new();
    let ranked = |session: u128, priority, exclusive| Wish {
        rank: Rank {
            priority,
            exclusive,
        },
        session_name: session.to_string(),
        ..wish(Some(session), &[A])
    };
    let low = group.open(ranked(1, 0, false), 1_000);
    let high = group.open(ranked(2, 5, false), 1_000);
    let same = group.open(ranked(3, 5, false), 1_000);
    let slots_of = |served: Vec<(ConsumerId, KeySlots, u32)>, id| {
        let own = served.into_iter().find(|(other, ..)| *other == id);
        own.map_or(0, |(_, slots, _)| slots.count())
    };
    let served = |group: &mut Group| {
        group.one_in_each_slot();
        let served = group.serve();
        [low, high, same].map(|id| slots_of(served.clone(), id))
    };
    assert_eq!(served(&mut group), [0, 32, 32]);
    let drained = [Selector::Session("2".to_owned())];
    group
        .consumers
        .drain((1, 0), &drained, Some(1_000))
        .unwrap();
    assert_eq!(served(&mut group), [0, 0, 64]);
    group.consumers.drain((1, 0), &drained, None).unwrap();
    assert_eq!(served(&mut group), [0, 32, 32]);
    let alone = group.open(ranked(4, 0, true), 1_000);
    group.one_in_each_slot();
    assert_eq!(slots_of(group.serve(), alone), 64);
    group.consumers.close(alone);
    group.consumers.close(high);
    group.consumers.close(same);
    assert_eq!(served(&mut group), [64, 0, 0]);
}

#[test]
fn a_one_time_receive_takes_from_any_slot() {
    let mut group = Group::new();
    let stream = group.open(wish(Some(1), &[A]), 0);
    let once = Wish {
        one_time: true,
        ..wish(None, &[A])
    };
    let once = group.open(once, 1_000);
    group.one_in_each_slot();
    assert_eq!(group.serve(), [(once, KeySlots::ALL, 64)]);
    group.consumers.grant(stream, 1_000);
    group.consumers.close(once);
    group.one_in_each_slot();
    assert_eq!(group.serve(), [(stream, KeySlots::ALL, 64)]);
}
