use tokio::sync::mpsc;

use super::*;
use crate::shard::batch::Incoming;
use crate::shard::consumer::{ConsumerId, Push, Wish};
use crate::shard::tests_support::{received, wish};

const A: PartitionId = PartitionId {
    queue: 1,
    partition: 0,
};
const B: PartitionId = PartitionId {
    queue: 1,
    partition: 1,
};

/// Consumers without sessions, with credit for more than there is.
struct Hall {
    consumers: Consumers,
    pushes: Vec<mpsc::UnboundedReceiver<Push>>,
}

impl Hall {
    fn new() -> Self {
        Self {
            consumers: Consumers::default(),
            pushes: Vec::new(),
        }
    }

    /// One of a group.
    fn open(&mut self, group: u32, partitions: &[PartitionId], at_most_once: bool) -> ConsumerId {
        let (push, pushes) = mpsc::unbounded_channel();
        self.pushes.push(pushes);
        let wish = Wish {
            group,
            at_most_once,
            ..wish(None, partitions)
        };
        self.consumers.open(wish, Vec::new(), push)
    }

    fn hungry(&mut self, group: u32, partitions: &[PartitionId]) -> ConsumerId {
        let id = self.open(group, partitions, false);
        self.consumers.grant(id, 1_000);
        id
    }

    fn ask(&mut self, ready: &Ready) -> Vec<Asked> {
        self.consumers
            .ask(&Incoming::new(), |_| Some(ready.clone()))
    }

    /// Asks, and all of it comes. Which groups get how much.
    fn turn(&mut self, ready: &Ready) -> Vec<(u32, u32)> {
        let asked = self.ask(ready);
        for asked in &asked {
            self.come(asked, asked.receive.max as u16);
        }
        asked
            .iter()
            .map(|it| (it.receive.group, it.receive.max))
            .collect()
    }

    fn come(&mut self, asked: &Asked, messages: u16) {
        let got = received(asked.receive.partition, messages);
        self.consumers.answered(asked, Some(got), 0);
    }
}

fn room(room: u64) -> Ready {
    Ready {
        leased: room.min(100),
        room,
        ..Ready::of(100)
    }
}

/// So many by its rate, and then not before this time.
fn rated(by_rate: u64, look_at_ms: u64) -> Ready {
    Ready {
        by_rate,
        look_at_ms,
        ..Ready::of(100)
    }
}

#[test]
fn no_more_is_asked_for_than_all_groups_have_room_for() {
    let mut hall = Hall::new();
    for group in 0..3 {
        hall.hungry(group, &[A]);
    }
    let asked = hall.ask(&room(5));
    let sum: u32 = asked.iter().map(|asked| asked.receive.max).sum();
    assert_eq!((asked.len(), sum), (1, 5));
    hall.consumers.touched(A);
    assert_eq!(hall.ask(&room(5)), [], "it is asked for already");
    assert_eq!(hall.ask(&room(9)), [], "nothing has happened");
    hall.consumers.touched(A);
    assert_eq!(hall.ask(&room(9))[0].receive.max, 4);
}

#[test]
fn groups_take_turns_in_each_partition() {
    let mut hall = Hall::new();
    for group in 0..3 {
        hall.hungry(group, &[A, B]);
    }
    assert_eq!(hall.ask(&room(0)), []);
    let mut got = [0; 3];
    for n in 0..30 {
        // A lease ends, now in one partition and then in the other.
        hall.consumers.touched(if n % 2 == 0 { A } else { B });
        for (group, messages) in hall.turn(&room(1)) {
            got[group as usize] += messages;
        }
        assert_eq!(hall.turn(&room(0)), [], "all of it is leased");
    }
    assert_eq!(got, [10, 10, 10]);
}

#[test]
fn what_one_group_was_asked_for_and_did_not_find_another_gets_at_once() {
    let mut hall = Hall::new();
    hall.hungry(0, &[A]);
    hall.hungry(1, &[A]);
    let first = hall.ask(&room(5));
    assert_eq!(first[0].receive.group, 0);
    hall.come(&first[0], 2);
    let then = hall.ask(&room(3));
    assert_eq!((then[0].receive.group, then[0].receive.max), (1, 3));
    // One that is not written at all is asked for again.
    hall.consumers.answered(&then[0], None, 0);
    assert_eq!(hall.ask(&room(3)).len(), 1);
}

#[test]
fn what_was_counted_twice_is_looked_at_again() {
    let mut hall = Hall::new();
    let first = hall.open(0, &[A], false);
    hall.consumers.grant(first, 5);
    let asked = hall.ask(&room(10));
    assert_eq!(asked[0].receive.max, 5);
    // Applied, and not answered yet: the five are leased and asked for.
    hall.hungry(1, &[A]);
    assert_eq!(hall.ask(&room(5)), []);
    hall.come(&asked[0], 5);
    let then = hall.ask(&room(5));
    assert_eq!((then[0].receive.group, then[0].receive.max), (1, 5));
}

#[test]
fn deliveries_at_most_once_need_no_room() {
    let mut hall = Hall::new();
    hall.hungry(0, &[A]);
    let once = hall.open(1, &[A], true);
    hall.consumers.grant(once, 7);
    let asked = hall.ask(&room(0));
    assert_eq!((asked[0].consumer, asked[0].receive.max), (once, 7));
    assert_eq!(asked.len(), 1);
    hall.consumers.touched(A);
    let asked = hall.ask(&room(100));
    assert_eq!((asked[0].receive.group, asked[0].receive.max), (0, 100));
}

#[test]
fn a_group_whose_rate_is_used_up_is_asked_for_again_at_its_time() {
    let mut hall = Hall::new();
    hall.hungry(0, &[A]);
    assert_eq!(hall.turn(&rated(3, 500)), [(0, 3)]);
    assert_eq!(hall.consumers.rates_due_ms(), Some(500));
    assert_eq!(
        hall.turn(&rated(2, 500)),
        [],
        "what comes meanwhile comes together"
    );
    assert!(!hall.consumers.is_dirty(), "waiting costs nothing");
    hall.consumers.look_at_rates(499);
    assert!(!hall.consumers.is_dirty());
    hall.consumers.look_at_rates(500);
    assert_eq!(hall.consumers.rates_due_ms(), None);
    assert_eq!(hall.turn(&rated(2, 900)), [(0, 2)]);
    // A rate that is taken away.
    hall.consumers.touched(A);
    assert_eq!(hall.consumers.rates_due_ms(), None);
    assert_eq!(hall.turn(&Ready::of(100)), [(0, 100)]);
}

#[test]
fn what_is_asked_for_already_counts_for_the_rate() {
    let mut hall = Hall::new();
    hall.hungry(0, &[A]);
    let asked = hall.ask(&rated(3, 500));
    hall.consumers.touched(A);
    assert_eq!(hall.ask(&rated(5, 500))[0].receive.max, 2);
    hall.come(&asked[0], 3);
    hall.consumers.touched(A);
    assert_eq!(hall.ask(&rated(2, 500)), []);
}

#[test]
fn who_has_no_credit_hears_of_it_when_the_rate_has_room() {
    let mut hall = Hall::new();
    hall.open(0, &[A], false);
    assert_eq!(hall.ask(&rated(0, 500)), []);
    assert!(hall.pushes[0].try_recv().is_err());
    hall.consumers.look_at_rates(500);
    assert_eq!(hall.ask(&rated(1, 900)), []);
    assert!(matches!(hall.pushes[0].try_recv(), Ok(Push::Available)));
    assert_eq!(hall.consumers.rates_due_ms(), None, "it is heard once");
}

#[test]
fn nothing_is_kept_of_who_has_gone() {
    let mut hall = Hall::new();
    let first = hall.hungry(0, &[A]);
    let second = hall.hungry(1, &[A]);
    hall.turn(&rated(3, 500));
    assert!(hall.consumers.close(first).is_some());
    assert!(hall.consumers.limits.rooms.contains_key(&A));
    assert!(hall.consumers.close(second).is_some());
    let limits = &hall.consumers.limits;
    assert!(
        limits.rooms.is_empty() && limits.slowed.is_empty(),
        "{limits:?}"
    );
}
