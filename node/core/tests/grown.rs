//! A queue with order by key gets more partitions at any time: of each key everything is delivered
//! once, in the order in which it was sent, and one message at a time. Senders do not know of the
//! growth, repeat themselves, give up, and those who ask for them die on the way.

#[path = "world/carried.rs"]
mod carried;
mod growing {
    pub mod asker;
    pub mod queue;
}

use std::collections::BTreeMap;

use growing::asker::{Attempt, Numbered, Outcome};
use growing::queue::{KEYS, Queue};
use proptest::prelude::*;

/// A producer's messages for one partition: one batch at a time.
#[derive(Debug, Default)]
struct Lane {
    next: u64,
    /// What is not decided, and by which attempt it is tried.
    open: Vec<Numbered>,
    attempt: Option<usize>,
    /// Somebody has died, was not heard or gave up: a message may be refused, as it comes late.
    troubled: bool,
}

#[derive(Default)]
struct Senders {
    /// By producer, with the number of partitions that it knows, and partition.
    lanes: BTreeMap<(u32, u32), Lane>,
    attempts: BTreeMap<usize, Attempt>,
    next_attempt: usize,
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    Grow,
    /// A partition hears of the newest number.
    Learn(u32),
    /// A producer that knows that many numbers of partitions sends messages with these keys.
    Send(u32, [usize; 3]),
    /// One more of what an attempt asks for.
    Step(usize),
    Steps(usize),
    /// Who asks dies.
    Crash(usize),
    /// Who waits is not told, and tries again or gives up.
    Retry(usize),
    GiveUp(usize),
    /// A message that failed elsewhere.
    DeadLetter(u32, usize),
    Carry(usize),
    Receive(u32),
    Ack(usize),
    Pass(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let key = 0..KEYS.len();
    prop_oneof![
        1 => Just(Happening::Grow),
        2 => (0_u32..8).prop_map(Happening::Learn),
        12 => (0_u32..4, [key.clone(), key.clone(), key.clone()])
            .prop_map(|(knows, keys)| Happening::Send(knows, keys)),
        16 => any::<usize>().prop_map(Happening::Step),
        10 => any::<usize>().prop_map(Happening::Steps),
        2 => any::<usize>().prop_map(Happening::Crash),
        4 => any::<usize>().prop_map(Happening::Retry),
        2 => any::<usize>().prop_map(Happening::GiveUp),
        1 => (0_u32..8, key).prop_map(|(at, key)| Happening::DeadLetter(at, key)),
        4 => any::<usize>().prop_map(Happening::Carry),
        14 => (0_u32..8).prop_map(Happening::Receive),
        14 => any::<usize>().prop_map(Happening::Ack),
        1 => prop_oneof![Just(1_000_u64), Just(700_000)].prop_map(Happening::Pass),
    ]
}

impl Senders {
    fn send(&mut self, queue: &mut Queue, knows: u32, keys: [usize; 3]) {
        let knows = knows.min(queue.counts.len() as u32 - 1);
        let partitions = queue.counts[knows as usize];
        let named = Queue::partition_of(keys[0], partitions);
        let lane = self.lanes.entry((knows, named)).or_default();
        if !lane.open.is_empty() {
            return;
        }
        for key in keys {
            if Queue::partition_of(key, partitions) == named {
                lane.next += 1;
                let number = lane.next;
                lane.open.push(Numbered { number, key });
                queue.sends((knows, named, number), key);
            }
        }
        self.attempt(queue, (knows, named));
    }

    fn attempt(&mut self, queue: &Queue, of: (u32, u32)) {
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        self.next_attempt += 1;
        lane.attempt = Some(self.next_attempt);
        let leader_is_ahead = self.next_attempt.is_multiple_of(2);
        let attempt = Attempt::new(queue, of, (leader_is_ahead, &lane.open));
        self.attempts.insert(self.next_attempt, attempt);
    }

    /// The next thing that an attempt does.
    fn step(&mut self, queue: &mut Queue, nth: usize) {
        let Some(id) = nth_of(self.attempts.keys(), nth) else {
            return;
        };
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let of = attempt.of;
        let told = attempt.step(queue);
        let done = attempt.is_done();
        let lane = self.lanes.get_mut(&of).expect("it has sent");
        if lane.attempt == Some(id) {
            for (Numbered { number, key }, outcome) in told {
                let (producer, named) = of;
                assert!(
                    outcome != Outcome::Failed || lane.troubled,
                    "{number} of {of:?} is refused"
                );
                let open = lane.open.iter().any(|message| message.number == number);
                if open && outcome == Outcome::Accepted {
                    queue.acknowledge((producer, named, number), key);
                }
                if outcome != Outcome::FailedForNow {
                    lane.open.retain(|message| message.number != number);
                }
            }
        }
        if done {
            self.attempts.remove(&id);
            let again = lane.attempt == Some(id) && !lane.open.is_empty();
            if again {
                self.attempt(queue, of);
            }
        }
    }

    fn lane(&self, nth: usize) -> Option<(u32, u32)> {
        let open = self.lanes.iter().filter(|(_, lane)| !lane.open.is_empty());
        nth_of(open.map(|(of, _)| of), nth)
    }

    fn trouble(&mut self, of: (u32, u32)) -> &mut Lane {
        let lane = self.lanes.entry(of).or_default();
        lane.troubled = true;
        lane
    }

    /// Nobody waits, and nobody asks any more.
    fn end(&mut self) {
        self.attempts.clear();
        for lane in self.lanes.values_mut() {
            lane.troubled = true;
            lane.open.clear();
        }
    }
}

fn nth_of<'a, T: Copy + 'a>(all: impl Iterator<Item = &'a T>, nth: usize) -> Option<T> {
    let all: Vec<T> = all.copied().collect();
    all.get(nth.checked_rem(all.len())?).copied()
}

fn happen(queue: &mut Queue, senders: &mut Senders, happening: Happening) {
    match happening {
        Happening::Grow => queue.grow(),
        Happening::Learn(partition) => queue.learn(partition, queue.counts.len()),
        Happening::Send(knows, keys) => senders.send(queue, knows, keys),
        Happening::Step(nth) => senders.step(queue, nth),
        Happening::Steps(nth) => (0..6).for_each(|_| senders.step(queue, nth)),
        Happening::Crash(nth) => {
            if let Some(id) = nth_of(senders.attempts.keys(), nth)
                && let Some(died) = senders.attempts.remove(&id)
            {
                senders.trouble(died.of);
            }
        }
        Happening::Retry(nth) => {
            if let Some(of) = senders.lane(nth) {
                senders.trouble(of);
                senders.attempt(queue, of);
            }
        }
        Happening::GiveUp(nth) => {
            if let Some(of) = senders.lane(nth) {
                senders.trouble(of).open.clear();
            }
        }
        Happening::DeadLetter(at, key) => queue.dead_letter(at, key),
        Happening::Carry(nth) => queue.carry(nth),
        Happening::Receive(partition) => queue.receive(partition),
        Happening::Ack(nth) => queue.ack(nth),
        Happening::Pass(ms) => {
            if ms > 30_000 {
                senders.end();
            }
            queue.pass(ms);
        }
    }
}

proptest! {
    #[test]
    fn a_key_keeps_its_order_while_partitions_grow(
        happenings in proptest::collection::vec(happening(), 1..300),
    ) {
        let (mut queue, mut senders) = (Queue::new(), Senders::default());
        for happening in happenings {
            happen(&mut queue, &mut senders, happening);
        }
        // Whoever waits is told, what is on its way arrives, and all is received.
        for nth in 0..2_000 {
            senders.step(&mut queue, nth);
            queue.carry(nth);
            queue.receive(nth as u32 % 8);
            queue.ack(nth);
        }
        prop_assert_eq!(queue.lost(), None);
        prop_assert!(queue.all_dead_letters_came());
    }
}
