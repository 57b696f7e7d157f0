//! How the credit of one consumer is split over the shards of a queue. Pure.
//!
//! What the consumer granted and has not used is either in the pool or given to exactly one shard,
//! so however many shards there are, no more is delivered than was granted. A shard that has more
//! than its credit covers says so (`available`); it then gets what is in the pool, or what another
//! shard is asked to give back.

/// What to tell a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It may deliver this many more.
    Give(usize, u32),
    /// It shall give back what it has not used.
    TakeBack(usize),
}

/// What a shard may expect when there is credit to give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Claim {
    /// Its turn, like everybody's.
    #[default]
    None,
    /// Its credit went to a hungry shard: it gets a share of what comes back.
    Lender,
    /// It said that more is ready than it has credit for.
    Hungry,
}

#[derive(Debug, Clone, Default)]
struct Source {
    open: bool,
    /// Given and not yet used or given back.
    given: u32,
    claim: Claim,
    /// It was asked to give back and has not answered yet; how often.
    returning: u32,
    /// What it gives back is not to be given to another: the consumer took it back.
    withdrawn: bool,
}

impl Source {
    fn may_lend(&self) -> bool {
        self.open && self.claim != Claim::Hungry && self.given > 0
    }
}

/// The credit of one consumer, and where it is.
#[derive(Debug, Clone)]
pub struct CreditSplit {
    pool: u32,
    sources: Vec<Source>,
    next: usize,
}

impl CreditSplit {
    /// No credit, and `sources` shards that are not open yet.
    pub fn new(sources: usize) -> Self {
        Self {
            pool: 0,
            sources: vec![Source::default(); sources],
            next: 0,
        }
    }

    /// The consumer may get `messages` more.
    pub fn grant(&mut self, messages: u32) {
        self.pool = self.pool.saturating_add(messages);
    }

    /// The consumer takes back what is unused; what is on its way may still come.
    #[must_use]
    pub fn withdraw(&mut self) -> Vec<Order> {
        self.pool = 0;
        let mut orders = Vec::new();
        for (index, source) in self.sources.iter_mut().enumerate() {
            if source.open && source.given > 0 {
                source.returning += 1;
                source.withdrawn = true;
                orders.push(Order::TakeBack(index));
            }
        }
        orders
    }

    /// Credit that is at a shard or in the pool.
    pub fn unused(&self) -> u64 {
        let given: u64 = self
            .sources
            .iter()
            .map(|source| u64::from(source.given))
            .sum();
        given + u64::from(self.pool)
    }

    /// The shard can be given credit from now on; it has none.
    pub fn opened(&mut self, index: usize) {
        self.sources[index] = Source {
            open: true,
            ..Source::default()
        };
    }

    /// The shard is gone and will deliver nothing more on what it was given.
    pub fn closed(&mut self, index: usize) {
        let source = std::mem::take(&mut self.sources[index]);
        if !source.withdrawn {
            self.pool = self.pool.saturating_add(source.given);
        }
    }

    /// The shard delivered.
    pub fn delivered(&mut self, index: usize, messages: u32) {
        let source = &mut self.sources[index];
        source.given = source.given.saturating_sub(messages);
    }

    /// The shard has more than its credit covers. It said so before it heard of what it has been
    /// given since, where there is some left: it says so again once that is used.
    pub fn available(&mut self, index: usize) {
        let source = &mut self.sources[index];
        if source.given == 0 {
            source.claim = Claim::Hungry;
        }
    }

    /// The shard gave back credit that it was asked for.
    pub fn returned(&mut self, index: usize, messages: u32) {
        let source = &mut self.sources[index];
        source.returning = source.returning.saturating_sub(1);
        let messages = messages.min(source.given);
        source.given -= messages;
        if source.withdrawn {
            source.withdrawn = source.returning > 0;
        } else {
            if source.claim == Claim::None {
                source.claim = Claim::Lender;
            }
            self.pool = self.pool.saturating_add(messages);
        }
    }

    /// What to tell the shards now.
    #[must_use]
    pub fn orders(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        while self.pool > 0 {
            let takers = self.takers();
            if takers.is_empty() {
                break;
            }
            let share = (self.pool / takers.len() as u32).max(1);
            for index in takers {
                let share = share.min(self.pool);
                if share == 0 {
                    break;
                }
                self.pool -= share;
                let source = &mut self.sources[index];
                source.given = source.given.saturating_add(share);
                source.claim = Claim::None;
                push_give(&mut orders, index, share);
            }
        }
        if let Some(index) = self.lender() {
            self.sources[index].returning += 1;
            orders.push(Order::TakeBack(index));
        }
        orders
    }

    /// Who gets a share of the pool: the hungry and, behind them, who lent to the hungry; when
    /// nobody is hungry, the open shards that have the least, in turn.
    fn takers(&mut self) -> Vec<usize> {
        let of = |wanted: &dyn Fn(&Source) -> bool| -> Vec<usize> {
            let all = self.sources.iter().enumerate();
            all.filter(|(_, source)| source.open && wanted(source))
                .map(|(i, _)| i)
                .collect()
        };
        let mut takers = of(&|source| source.claim == Claim::Hungry);
        if !takers.is_empty() {
            takers.extend(of(&|source| source.claim == Claim::Lender));
            return takers;
        }
        let least = self
            .sources
            .iter()
            .filter(|source| source.open)
            .map(|source| source.given);
        let Some(least) = least.min() else {
            return Vec::new();
        };
        takers = of(&|source| source.given == least);
        self.next = self.next.wrapping_add(1);
        let turn = self.next % takers.len();
        takers.rotate_left(turn);
        takers
    }

    /// When the pool is empty and a shard is hungry: the shard that shall give back.
    fn lender(&self) -> Option<usize> {
        let hungry = self
            .sources
            .iter()
            .any(|source| source.open && source.claim == Claim::Hungry);
        let returning = self.sources.iter().any(|source| source.returning > 0);
        if !hungry || returning || self.pool > 0 {
            return None;
        }
        let idle = self.sources.iter().enumerate();
        let idle = idle.filter(|(_, source)| source.may_lend());
        idle.max_by_key(|(_, source)| source.given)
            .map(|(index, _)| index)
    }
}

fn push_give(orders: &mut Vec<Order>, index: usize, messages: u32) {
    for order in orders.iter_mut() {
        if let Order::Give(to, given) = order
            && *to == index
        {
            *given += messages;
            return;
        }
    }
    orders.push(Order::Give(index, messages));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn one_credit_follows_the_shard_that_has_something() {
        let mut split = open(8);
        split.grant(1);
        let first = split.orders();
        let [Order::Give(holder, 1)] = first[..] else {
            panic!("{first:?}")
        };
        let other = (holder + 3) % 8;
        split.available(other);
        assert_eq!(split.orders(), [Order::TakeBack(holder)]);
        assert_eq!(split.orders(), []);
        split.returned(holder, 1);
        assert_eq!(split.orders(), [Order::Give(other, 1)]);
        split.delivered(other, 1);
        assert_eq!(split.unused(), 0);
    }

    #[test]
    fn a_shard_that_delivered_meanwhile_returns_nothing() {
        let mut split = open(2);
        split.grant(1);
        let first = split.orders();
        let [Order::Give(holder, 1)] = first[..] else {
            panic!("{first:?}")
        };
        split.available(1 - holder);
        assert_eq!(split.orders(), [Order::TakeBack(holder)]);
        split.delivered(holder, 1);
        split.returned(holder, 0);
        assert_eq!(split.orders(), []);
        split.grant(1);
        assert_eq!(split.orders(), [Order::Give(1 - holder, 1)]);
    }

    #[test]
    fn what_the_consumer_takes_back_goes_to_nobody() {
        let mut split = open(2);
        split.grant(10);
        let _ = split.orders();
        assert_eq!(split.withdraw(), [Order::TakeBack(0), Order::TakeBack(1)]);
        split.returned(0, 5);
        split.returned(1, 5);
        assert_eq!(split.unused(), 0);
        assert_eq!(split.orders(), []);
    }

    #[test]
    fn the_credit_of_a_lost_shard_goes_to_the_others() {
        let mut split = open(2);
        split.grant(10);
        let _ = split.orders();
        split.closed(0);
        assert_eq!(split.orders(), [Order::Give(1, 5)]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Grant(u32),
        Withdraw,
        Deliver(usize, u32),
        Hint(usize),
        Answer(usize),
        Close(usize),
        Open(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let at = 0usize..4;
        prop_oneof![
            (1u32..20).prop_map(Step::Grant),
            Just(Step::Withdraw),
            (at.clone(), 1u32..5).prop_map(|(index, n)| Step::Deliver(index, n)),
            at.clone().prop_map(Step::Hint),
            at.clone().prop_map(Step::Answer),
            at.clone().prop_map(Step::Close),
            at.prop_map(Step::Open),
        ]
    }

    proptest! {
        /// Shards that obey their orders, in any interleaving, never deliver more than was granted.
        #[test]
        fn never_more_than_granted(steps in prop::collection::vec(step(), 1..80)) {
            let mut split = open(4);
            let mut held = [0u32; 4];
            let mut asked = [0u32; 4];
            let mut is_open = [true; 4];
            let (mut granted, mut delivered) = (0u64, 0u64);
            for step in steps {
                let mut orders = Vec::new();
                match step {
                    Step::Grant(n) => { granted += u64::from(n); split.grant(n); }
                    Step::Withdraw => orders = split.withdraw(),
                    Step::Deliver(i, n) => {
                        let n = n.min(held[i]);
                        held[i] -= n;
                        delivered += u64::from(n);
                        split.delivered(i, n);
                    }
                    Step::Hint(i) if is_open[i] => split.available(i),
                    Step::Answer(i) if asked[i] > 0 => {
                        asked[i] -= 1;
                        split.returned(i, std::mem::take(&mut held[i]));
                    }
                    Step::Close(i) if is_open[i] => {
                        is_open[i] = false;
                        (held[i], asked[i]) = (0, 0);
                        split.closed(i);
                    }
                    Step::Open(i) if !is_open[i] => { is_open[i] = true; split.opened(i); }
                    _ => {}
                }
                orders.extend(split.orders());
                for order in orders {
                    match order {
                        Order::Give(i, n) => { prop_assert!(is_open[i]); held[i] += n; }
                        Order::TakeBack(i) => asked[i] += 1,
                    }
                }
                let outstanding: u64 = held.iter().map(|n| u64::from(*n)).sum();
                prop_assert!(delivered + outstanding <= granted);
            }
        }
    }
}
