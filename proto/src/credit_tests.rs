use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn open(sources: usize) -> CreditSplit {
    let mut split = CreditSplit::new(sources);
    (0..sources).for_each(|index| split.opened(index));
    split
}

#[test]
fn credit_is_split_evenly_when_nobody_is_hungry() {
    let mut split = open(4);
    split.grant(100);
    let mut orders = split.orders();
    orders.sort_by_key(|order| match order {
        Order::Give(index, _) | Order::TakeBack(index) => *index,
    });
    let even: Vec<_> = (0..4).map(|index| Order::Give(index, 25)).collect();
    assert_eq!(orders, even);
}

/// Gives one credit to one of so many sources; says to which.
fn give_one(split: &mut CreditSplit) -> usize {
    split.grant(1);
    let first = split.orders();
    let [Order::Give(holder, 1)] = first[..] else {
        panic!("{first:?}")
    };
    holder
}

#[test]
fn one_credit_follows_the_source_that_has_something() {
    let mut split = open(8);
    let holder = give_one(&mut split);
    let other = (holder + 3) % 8;
    split.available(other);
    assert!(split.is_wanted() && !split.is_short());
    assert_eq!(split.lend(), Some(Order::TakeBack(holder)));
    assert_eq!(split.lend(), None, "it is asked once");
    split.returned(holder, 1);
    assert_eq!(split.orders(), [Order::Give(other, 1)]);
    split.delivered(other, 1);
    assert_eq!(split.unused(), 0);
}

#[test]
fn a_source_that_delivered_meanwhile_returns_nothing() {
    let mut split = open(2);
    let holder = give_one(&mut split);
    split.available(1 - holder);
    assert_eq!(split.lend(), Some(Order::TakeBack(holder)));
    split.delivered(holder, 1);
    split.returned(holder, 0);
    assert_eq!((split.orders(), split.lend()), (Vec::new(), None));
    assert!(split.is_short());
    split.grant(1);
    assert_eq!(split.orders(), [Order::Give(1 - holder, 1)]);
}

#[test]
fn what_is_taken_back_from_all_goes_to_nobody() {
    let mut split = open(2);
    split.grant(10);
    let _ = split.orders();
    split.grant(3);
    assert_eq!(split.withdraw(), [Order::TakeBack(0), Order::TakeBack(1)]);
    assert_eq!(split.take_returned(), 3);
    split.delivered(0, 1);
    split.returned(0, 4);
    split.closed(1);
    assert_eq!((split.take_returned(), split.take_returned()), (9, 0));
    assert_eq!((split.unused(), split.orders()), (0, Vec::new()));
}

#[test]
fn the_credit_of_a_lost_source_goes_to_the_others() {
    let mut split = open(2);
    split.grant(10);
    let _ = split.orders();
    split.closed(0);
    assert_eq!(split.orders(), [Order::Give(1, 5)]);
}

#[test]
fn what_a_closing_source_gives_back_goes_to_the_others() {
    let mut split = open(2);
    split.grant(10);
    let _ = split.orders();
    assert_eq!(split.closing(0), Some(Order::TakeBack(0)));
    split.available(0);
    split.delivered(0, 2);
    split.returned(0, 3);
    assert_eq!(split.orders(), [Order::Give(1, 3)]);
    split.closed(0);
    split.opened(2);
    split.grant(2);
    assert_eq!(split.orders(), [Order::Give(2, 2)]);
}

#[test]
fn credit_for_one_source_is_given_to_it_with_what_else_it_gets() {
    let mut split = open(2);
    split.grant_to(1, 4);
    split.grant(4);
    assert_eq!(split.orders(), [Order::Give(1, 4), Order::Give(0, 4)]);
}

#[test]
fn who_had_no_use_for_its_credit_keeps_a_little_and_gets_no_more_before_it_delivers() {
    let mut split = open(2);
    split.grant(320);
    let _ = split.orders();
    split.delivered(0, 160);
    split.available(0);
    assert_eq!(split.lend(), Some(Order::TakeBack(1)));
    split.returned(1, 160);
    assert_eq!(split.orders(), [Order::Give(1, 10), Order::Give(0, 150)]);
    split.grant(50);
    assert_eq!(split.orders(), [Order::Give(0, 50)]);
    split.delivered(1, 1);
    split.grant(50);
    assert_eq!(split.orders(), [Order::Give(1, 50)]);
}

#[test]
fn who_lent_all_has_something_again_when_nobody_needs_it() {
    let mut split = open(3);
    split.grant(3);
    let _ = split.orders();
    split.delivered(0, 1);
    split.available(0);
    for lender in [2, 1] {
        assert_eq!(split.lend(), Some(Order::TakeBack(lender)));
        split.returned(lender, 1);
        assert_eq!(split.orders(), [Order::Give(0, 1)]);
        split.delivered(0, 1);
        split.available(0);
    }
    assert!(split.is_wanted_beside(1) && split.is_wanted_beside(0));
    split.grant(1);
    assert_eq!(split.orders(), [Order::Give(0, 1)]);
    split.grant(3);
    assert_eq!(
        split.orders(),
        [Order::Give(1, 1), Order::Give(2, 1), Order::Give(0, 1)]
    );
}

#[test]
fn of_two_that_are_hungry_each_gets_single_credits() {
    let mut split = open(2);
    let mut got = [0, 0];
    for _ in 0..10 {
        (0..2).for_each(|index| split.available(index));
        split.grant(1);
        for order in split.orders() {
            let Order::Give(index, messages) = order else {
                panic!("{order:?}")
            };
            got[index] += messages;
            split.delivered(index, messages);
        }
    }
    assert!(got[0] >= 3 && got[1] >= 3, "{got:?}");
}

#[test]
fn who_comes_late_gets_half_of_what_the_richest_has() {
    let mut split = open(3);
    split.closed(2);
    split.grant(10);
    assert_eq!(split.orders().len(), 2);
    split.opened(2);
    assert!(split.is_wanted() && !split.is_short());
    assert_eq!(split.orders(), []);
    let Some(Order::TakeBack(lender)) = split.lend() else {
        panic!("nobody lends")
    };
    split.returned(lender, 5);
    assert_eq!(split.orders(), [Order::Give(lender, 3), Order::Give(2, 2)]);
    assert_eq!(split.lend(), None);
    // What one alone has stays with it.
    let mut split = open(1);
    split.grant(1);
    let _ = split.orders();
    split.opened(1);
    assert_eq!(split.lend(), Some(Order::TakeBack(0)));
    split.returned(0, 1);
    assert_eq!(split.orders(), [Order::Give(0, 1)]);
    assert_eq!(split.lend(), None);
}

/// Sources that obey their orders, of which some have a backlog without end.
struct Model {
    split: CreditSplit,
    backlog: Vec<bool>,
    orders: VecDeque<Order>,
    delivered: Vec<u32>,
    taken_back: usize,
}

impl Model {
    fn new(backlog: &[bool], credit: u32) -> Self {
        let mut split = open(backlog.len());
        split.grant(credit);
        Self {
            split,
            backlog: backlog.to_vec(),
            orders: VecDeque::new(),
            delivered: vec![0; backlog.len()],
            taken_back: 0,
        }
    }

    fn run(&mut self) {
        loop {
            self.orders.extend(self.split.orders());
            self.orders.extend(self.split.lend());
            match self.orders.pop_front() {
                Some(Order::Give(index, credit)) if self.backlog[index] => {
                    self.delivered[index] += credit;
                    self.split.delivered(index, credit);
                    self.split.available(index);
                }
                Some(Order::Give(..)) => {}
                Some(Order::TakeBack(index)) => {
                    self.taken_back += 1;
                    let unused = self.split.given(index).unwrap_or_default();
                    let unused = if self.backlog[index] { 0 } else { unused };
                    self.split.returned(index, unused);
                }
                None => return,
            }
        }
    }
}

#[test]
fn a_backlog_gets_what_others_have_in_few_steps() {
    let mut model = Model::new(&[true, false], 232);
    model.run();
    assert_eq!((model.delivered[0], model.taken_back), (232, 2));
    let mut model = Model::new(&[false, true, false, false], 4_000);
    model.run();
    assert_eq!((model.delivered[1], model.taken_back), (4_000, 9));
}

#[derive(Debug, Clone)]
enum Step {
    Grant(u32),
    GrantTo(usize, u32),
    Withdraw,
    Deliver(usize, u32),
    Hint(usize),
    Answer(usize),
    Leave(usize),
    Close(usize),
    Open(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0usize..4;
    prop_oneof![
        (1u32..20).prop_map(Step::Grant),
        (at.clone(), 1u32..5).prop_map(|(index, n)| Step::GrantTo(index, n)),
        Just(Step::Withdraw),
        (at.clone(), 1u32..5).prop_map(|(index, n)| Step::Deliver(index, n)),
        at.clone().prop_map(Step::Hint),
        at.clone().prop_map(Step::Answer),
        at.clone().prop_map(Step::Leave),
        at.clone().prop_map(Step::Close),
        at.prop_map(Step::Open),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Leaving,
    Closed,
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Sources that obey their orders, in any interleaving, never deliver more than was granted,
    /// and no credit is lost.
    #[test]
    fn never_more_than_granted(steps in prop::collection::vec(step(), 1..80)) {
        let mut split = open(4);
        let mut held = [0u32; 4];
        let mut asked = [0u32; 4];
        let mut is = [State::Open; 4];
        let (mut granted, mut delivered, mut back) = (0u64, 0u64, 0u64);
        for step in steps {
            let mut orders = Vec::new();
            match step {
                Step::Grant(n) => { granted += u64::from(n); split.grant(n); }
                Step::GrantTo(i, n) if is[i] == State::Open => {
                    granted += u64::from(n);
                    split.grant_to(i, n);
                }
                Step::Withdraw => orders = split.withdraw(),
                Step::Deliver(i, n) => {
                    let n = n.min(held[i]);
                    held[i] -= n;
                    delivered += u64::from(n);
                    split.delivered(i, n);
                }
                Step::Hint(i) if is[i] != State::Closed => split.available(i),
                Step::Answer(i) if asked[i] > 0 => {
                    asked[i] -= 1;
                    split.returned(i, std::mem::take(&mut held[i]));
                }
                Step::Leave(i) if is[i] == State::Open => {
                    is[i] = State::Leaving;
                    orders.extend(split.closing(i));
                }
                Step::Close(i) if is[i] != State::Closed => {
                    is[i] = State::Closed;
                    (held[i], asked[i]) = (0, 0);
                    split.closed(i);
                }
                Step::Open(i) if is[i] == State::Closed => {
                    is[i] = State::Open;
                    split.opened(i);
                }
                _ => {}
            }
            orders.extend(split.orders());
            orders.extend(split.lend());
            for order in orders {
                match order {
                    Order::Give(i, n) => {
                        prop_assert_eq!(is[i], State::Open);
                        held[i] += n;
                    }
                    Order::TakeBack(i) => asked[i] += 1,
                }
            }
            back += u64::from(split.take_returned());
            let outstanding: u64 = held.iter().map(|n| u64::from(*n)).sum();
            prop_assert!(delivered + outstanding + back <= granted);
            prop_assert_eq!(delivered + split.unused() + back, granted);
        }
    }

    /// Wherever a backlog is, it ends up with all credit, after few orders to give back.
    #[test]
    fn all_credit_gets_to_where_something_is(
        backlog in prop::collection::vec(any::<bool>(), 1..9),
        credit in 1u32..10_000,
    ) {
        let mut model = Model::new(&backlog, credit);
        model.run();
        let delivered: u32 = model.delivered.iter().sum();
        let all = if backlog.contains(&true) { credit } else { 0 };
        prop_assert_eq!(delivered, all);
        prop_assert!(model.taken_back <= 8 * backlog.len(), "{}", model.taken_back);
    }
}
