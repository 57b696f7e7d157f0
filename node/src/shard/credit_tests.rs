//! Credit between a gateway and real shards, with frames and entries on their way.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use roadstead_core::shard::PartitionId;
use roadstead_proto::credit::{CreditSplit, Order};
use tokio::sync::mpsc;

use super::consumer::{ConsumerId, Push};
use super::consumers::{Asked, Consumers};
use super::tests_support::{received, wish};
use super::waiting::Ready;

const SHARDS: usize = 3;

fn partition(shard: usize) -> PartitionId {
    PartitionId {
        queue: 1,
        partition: shard as u32,
    }
}

/// A shard with one consumer, and what is on its way from the gateway (`up`) and to it (`down`).
struct Shard {
    partition: PartitionId,
    consumers: Consumers,
    id: ConsumerId,
    up: VecDeque<u32>,
    down: mpsc::UnboundedReceiver<Push>,
    writing: VecDeque<Asked>,
    ready: u64,
}

impl Shard {
    fn open(number: usize) -> Self {
        let partition = partition(number);
        let (push, down) = mpsc::unbounded_channel();
        let mut consumers = Consumers::default();
        let id = consumers.open(wish(None, &[partition]), Vec::new(), push);
        Self {
            partition,
            consumers,
            id,
            up: VecDeque::new(),
            down,
            writing: VecDeque::new(),
            ready: 0,
        }
    }

    fn arrive(&mut self) {
        self.ready += 1;
        self.consumers.touched(self.partition);
    }

    /// Hears one frame; false when there is none.
    fn hear(&mut self) -> bool {
        match self.up.pop_front() {
            Some(0) => self.consumers.take_back(self.id),
            Some(credit) => self.consumers.grant(self.id, credit),
            None => return false,
        }
        true
    }

    fn write(&mut self) -> bool {
        let ready = self.ready;
        let asked = self
            .consumers
            .ask(&BTreeMap::new(), |_| Some(Ready::of(ready)));
        self.writing.extend(&asked);
        !asked.is_empty()
    }

    fn apply(&mut self) -> bool {
        let Some(asked) = self.writing.pop_front() else {
            return false;
        };
        let count = self.ready.min(asked.receive.max.into());
        self.ready -= count;
        let got = received(self.partition, count as u16);
        self.consumers.answered(&asked, Some(got), self.ready);
        true
    }
}

struct Stream {
    split: CreditSplit,
    shards: Vec<Shard>,
    delivered: u64,
}

impl Stream {
    fn open() -> Self {
        let mut split = CreditSplit::new(SHARDS);
        (0..SHARDS).for_each(|shard| split.opened(shard));
        Self {
            split,
            shards: (0..SHARDS).map(Shard::open).collect(),
            delivered: 0,
        }
    }

    /// Reads one frame of a shard; false when there is none.
    fn read(&mut self, shard: usize) -> bool {
        let Ok(push) = self.shards[shard].down.try_recv() else {
            return false;
        };
        match push {
            Push::Leased(got) => {
                self.delivered += got.messages.len() as u64;
                self.split.delivered(shard, got.messages.len() as u32);
            }
            Push::Available => self.split.available(shard),
            Push::Returned(unused) => self.split.returned(shard, unused),
            Push::Draining(_) => {}
            Push::Closed(why) => panic!("{why:?}"),
        }
        self.obey();
        true
    }

    fn withdraw(&mut self) {
        let orders = self.split.withdraw();
        self.tell(orders);
    }

    fn obey(&mut self) {
        let mut orders = self.split.orders();
        orders.extend(self.split.lend());
        self.tell(orders);
    }

    fn tell(&mut self, orders: Vec<Order>) {
        for order in orders {
            let (shard, credit) = match order {
                Order::Give(shard, credit) => (shard, credit),
                Order::TakeBack(shard) => (shard, 0),
            };
            self.shards[shard].up.push_back(credit);
        }
    }

    fn act(&mut self, action: u8, shard: usize) -> bool {
        match action {
            0 => self.shards[shard].hear(),
            1 => self.shards[shard].write(),
            2 => self.shards[shard].apply(),
            _ => self.read(shard),
        }
    }

    /// Until nothing is on its way; false when that never comes.
    fn settle(&mut self) -> bool {
        (0..1_000).any(|_| {
            let all = (0..SHARDS).flat_map(|shard| (0..4).map(move |action| (action, shard)));
            let acted: Vec<bool> = all.map(|(action, shard)| self.act(action, shard)).collect();
            !acted.contains(&true)
        })
    }
}

#[derive(Debug, Clone)]
enum Step {
    Grant(u32),
    Withdraw,
    Arrive(usize),
    Act(u8, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (1u32..4).prop_map(Step::Grant),
        1 => Just(Step::Withdraw),
        2 => (0..SHARDS).prop_map(Step::Arrive),
        8 => (0u8..4, 0..SHARDS).prop_map(|(action, shard)| Step::Act(action, shard)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever crosses on the way, in the end no credit lies idle while something is ready, and
    /// what was taken back is not used.
    #[test]
    fn credit_gets_to_what_is_ready(steps in prop::collection::vec(step(), 1..60)) {
        let mut stream = Stream::open();
        let mut granted = 0;
        for step in steps {
            match step {
                Step::Grant(messages) => {
                    granted += u64::from(messages);
                    stream.split.grant(messages);
                    stream.obey();
                }
                Step::Withdraw => stream.withdraw(),
                Step::Arrive(shard) => stream.shards[shard].arrive(),
                Step::Act(action, shard) => drop(stream.act(action, shard)),
            }
        }
        prop_assert!(stream.settle(), "credit goes to and fro for ever");
        let ready: u64 = stream.shards.iter().map(|shard| shard.ready).sum();
        let delivered = stream.delivered;
        prop_assert!(delivered <= granted);
        let unused = stream.split.unused();
        prop_assert!(ready == 0 || unused == 0, "{ready} ready, {unused} unused");
        stream.withdraw();
        prop_assert!(stream.settle(), "credit goes to and fro for ever");
        stream.shards.iter_mut().for_each(Shard::arrive);
        prop_assert!(stream.settle(), "credit goes to and fro for ever");
        prop_assert_eq!(stream.delivered, delivered, "nothing comes after credit was taken back");
    }
}

#[test]
fn at_the_limit_of_leases_only_who_leases_nothing_is_asked_for() {
    let mut consumers = Consumers::default();
    let mut open = |at_most_once| {
        let (push, pushes) = mpsc::unbounded_channel();
        let mut wish = wish(None, &[partition(0)]);
        wish.at_most_once = at_most_once;
        (consumers.open(wish, Vec::new(), push), pushes)
    };
    let ((leases, _keep), (consumes, _keep_too)) = (open(false), open(true));
    let full = Ready {
        leased: 0,
        ..Ready::of(1_000)
    };
    let asked = |consumers: &mut Consumers| {
        let asked = consumers.ask(&BTreeMap::new(), |_| Some(full.clone()));
        let asked = asked
            .iter()
            .map(|it| (it.consumer, it.receive.max, it.ready));
        asked.collect::<Vec<_>>()
    };
    consumers.grant(leases, 50);
    assert_eq!(asked(&mut consumers), []);
    assert!(!consumers.is_dirty(), "it waits for a lease to end");
    consumers.grant(consumes, 5);
    assert_eq!(asked(&mut consumers), [(consumes, 5, 1_000)]);
}

#[test]
fn one_whose_credit_went_for_what_it_was_owed_hears_of_what_else_is_ready() {
    let (push, mut heard) = mpsc::unbounded_channel();
    let mut consumers = Consumers::default();
    let at = partition(0);
    let owed = vec![received(at, 2)];
    let id = consumers.open(wish(Some(1), &[at]), owed, push);
    let nothing = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(0)));
    assert!(nothing.is_empty());
    while heard.try_recv().is_ok() {}
    consumers.grant(id, 2);
    assert!(matches!(heard.try_recv(), Ok(Push::Leased(_))));
    let nothing = consumers.ask(&BTreeMap::new(), |_| Some(Ready::of(5)));
    assert!(nothing.is_empty());
    assert!(matches!(heard.try_recv(), Ok(Push::Available)));
}
