//! How credit is split over several sources of deliveries: a node splits the credit of a stream
//! over the shards of a queue, a client what it may hold over its streams to nodes. Pure.
//!
//! What was granted and has not been used is either in the pool or given to exactly one source, so
//! however many sources there are, no more is delivered than was granted. A source that has more
//! than its credit covers says so (`available`); it then gets what is in the pool, or what another
//! source is asked to give back.

/// Of credit that comes back unused one part in so many stays with its source, so that what
/// arrives there next is delivered without a question.
const REST: u32 = 16;

/// What to tell a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It may deliver this many more.
    Give(usize, u32),
    /// It shall give back what it has not used.
    TakeBack(usize),
}

#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
struct Source {
    open: bool,
    /// Given and not yet used or given back.
    given: u32,
    /// Of the pool, and for this source before all others.
    own: u32,
    /// It said that more is ready than it has credit for.
    hungry: bool,
    /// It gave back credit that others needed, and has delivered nothing since.
    idle: bool,
    /// It came when all credit was given to others.
    new: bool,
    /// It was asked to give back and has not answered yet; how often.
    returning: u32,
    /// What it gives back is not to be given to another: it was taken back from all.
    withdrawn: bool,
}

/// Credit, and where it is.
#[derive(Debug, Clone, Default)]
pub struct CreditSplit {
    pool: u32,
    /// Taken back from all and come back unused, and not told yet.
    returned: u32,
    sources: Vec<Source>,
    next: usize,
}

impl CreditSplit {
    /// No credit, and `sources` sources that are not open yet.
    pub fn new(sources: usize) -> Self {
        Self {
            sources: vec![Source::default(); sources],
            ..Self::default()
        }
    }

    /// The sources may deliver `messages` more.
    pub fn grant(&mut self, messages: u32) {
        self.pool = self.pool.saturating_add(messages);
    }

    /// The same, and this source may before all others.
    pub fn grant_to(&mut self, index: usize, messages: u32) {
        self.grant(messages);
        self.sources[index].own += messages;
    }

    /// Takes back from all what is unused; what is on its way may still come.
    #[must_use]
    pub fn withdraw(&mut self) -> Vec<Order> {
        let pool = std::mem::take(&mut self.pool);
        self.returned = self.returned.saturating_add(pool);
        let mut orders = Vec::new();
        for (index, source) in self.sources.iter_mut().enumerate() {
            source.own = 0;
            source.withdrawn |= source.given > 0;
            if source.open && source.given > 0 {
                source.returning += 1;
                orders.push(Order::TakeBack(index));
            }
        }
        orders
    }

    /// What has come back unused of what was taken back from all, since this was asked last.
    pub fn take_returned(&mut self) -> u32 {
        std::mem::take(&mut self.returned)
    }

    /// Credit that is at a source or in the pool.
    pub fn unused(&self) -> u64 {
        let given: u64 = self
            .sources
            .iter()
            .map(|source| u64::from(source.given))
            .sum();
        given + u64::from(self.pool)
    }

    /// What an open source was given, and has neither used nor given back.
    pub fn given(&self, index: usize) -> Option<u32> {
        let source = &self.sources[index];
        source.open.then_some(source.given)
    }

    /// There is no credit anywhere, and a source has something to deliver.
    pub fn is_short(&self) -> bool {
        self.is_any_hungry() && self.unused() == 0
    }

    /// A source needs what others have: nothing is in the pool.
    pub fn is_wanted(&self) -> bool {
        let mut sources = self.sources.iter();
        self.pool == 0 && sources.any(|source| source.hungry || source.new)
    }

    /// Another source than this one is to be thought of first: it has more than its credit covers,
    /// or it has lent all that it had.
    pub fn is_wanted_beside(&self, index: usize) -> bool {
        let lacks = |source: &Source| source.open && source.idle && source.given == 0;
        let mut sources = self.sources.iter().enumerate();
        sources.any(|(other, source)| other != index && (source.hungry || lacks(source)))
    }

    /// An open source that may have something has no credit.
    pub fn is_dry(&self) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| source.open && source.given == 0 && !source.idle)
    }

    /// The source, which may be a new one, can be given credit from now on; it has none.
    pub fn opened(&mut self, index: usize) {
        if self.sources.len() <= index {
            self.sources.resize_with(index + 1, Source::default);
        }
        self.sources[index] = Source {
            open: true,
            new: true,
            ..Source::default()
        };
    }

    /// The source is to be closed: it gets no more, and gives back what it has.
    #[must_use]
    pub fn closing(&mut self, index: usize) -> Option<Order> {
        let source = &mut self.sources[index];
        (source.open, source.hungry, source.new, source.own) = (false, false, false, 0);
        (source.given > 0).then(|| {
            source.returning += 1;
            Order::TakeBack(index)
        })
    }

    /// The source is gone and will deliver nothing more on what it was given.
    pub fn closed(&mut self, index: usize) {
        let source = std::mem::take(&mut self.sources[index]);
        let to = if source.withdrawn {
            &mut self.returned
        } else {
            &mut self.pool
        };
        *to = to.saturating_add(source.given);
    }

    /// The source delivered.
    pub fn delivered(&mut self, index: usize, messages: u32) {
        let source = &mut self.sources[index];
        source.given = source.given.saturating_sub(messages);
        source.idle = false;
    }

    /// The source has more than its credit covers. It said so before it heard of what it has been
    /// given since, where there is some left: it says so again once that is used.
    pub fn available(&mut self, index: usize) {
        let source = &mut self.sources[index];
        if source.open && source.given == 0 {
            (source.hungry, source.idle) = (true, false);
        }
    }

    /// The source gave back credit that it was asked for.
    pub fn returned(&mut self, index: usize, messages: u32) {
        let is_any_hungry = self.is_any_hungry();
        let source = &mut self.sources[index];
        source.returning = source.returning.saturating_sub(1);
        let messages = messages.min(source.given);
        source.given -= messages;
        if source.withdrawn {
            source.withdrawn = source.returning > 0;
            self.returned = self.returned.saturating_add(messages);
            return;
        }
        self.pool = self.pool.saturating_add(messages);
        if source.open && is_any_hungry {
            source.idle |= messages > 0;
            source.own += messages / REST;
        } else if source.open {
            source.own += messages.div_ceil(2);
            self.sources
                .iter_mut()
                .for_each(|source| source.new = false);
        }
    }

    fn is_any_hungry(&self) -> bool {
        self.sources.iter().any(|source| source.hungry)
    }

    /// What to give to the sources now.
    #[must_use]
    pub fn orders(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        if self.pool > 0 {
            self.sources
                .iter_mut()
                .for_each(|source| source.new = false);
        }
        for index in 0..self.sources.len() {
            let own = std::mem::take(&mut self.sources[index].own);
            self.give((index, own), &mut orders);
        }
        let hungry = self.in_turn(self.open(|source| source.hungry));
        let share = self.pool.div_ceil(hungry.len().max(1) as u32);
        for index in hungry {
            self.give((index, share), &mut orders);
        }
        let rest = (self.pool / REST).max(1);
        for index in self.open(|source| source.idle && source.given == 0) {
            self.give((index, rest), &mut orders);
        }
        while self.pool > 0 {
            let takers = self.takers();
            let Some(share) = self.pool.checked_div(takers.len() as u32) else {
                break;
            };
            for index in takers {
                self.give((index, share.max(1)), &mut orders);
            }
        }
        orders
    }

    /// What to take from a source because another one has more than its credit covers. One at a
    /// time is asked, the one that has the most.
    #[must_use]
    pub fn lend(&mut self) -> Option<Order> {
        let asked = |source: &Source| source.open && source.returning > 0;
        if !self.is_wanted() || self.sources.iter().any(asked) {
            return None;
        }
        let lenders = self.sources.iter_mut().enumerate();
        let lenders = lenders.filter(|(_, source)| source.open && source.given > 0);
        let (index, source) = lenders.max_by_key(|(_, source)| source.given)?;
        source.returning += 1;
        Some(Order::TakeBack(index))
    }

    /// Gives so many of the pool, as far as it goes.
    fn give(&mut self, (index, messages): (usize, u32), orders: &mut Vec<Order>) {
        let messages = messages.min(self.pool);
        if messages == 0 {
            return;
        }
        self.pool -= messages;
        let source = &mut self.sources[index];
        source.given = source.given.saturating_add(messages);
        source.hungry = false;
        let before = orders.iter_mut().find_map(|order| match order {
            Order::Give(to, given) if *to == index => Some(given),
            _ => None,
        });
        match before {
            Some(given) => *given += messages,
            None => orders.push(Order::Give(index, messages)),
        }
    }

    fn open(&self, wanted: impl Fn(&Source) -> bool) -> Vec<usize> {
        let all = self.sources.iter().enumerate();
        all.filter(|(_, source)| source.open && wanted(source))
            .map(|(index, _)| index)
            .collect()
    }

    /// Who gets a share of the pool when nobody is hungry: those that have the least, in turn. Who
    /// had no use for what it was given comes behind all others.
    fn takers(&mut self) -> Vec<usize> {
        let is_any_busy = !self.open(|source| !source.idle).is_empty();
        let may = |source: &Source| source.open && !(is_any_busy && source.idle);
        let able = self.sources.iter().filter(|source| may(source));
        let Some(least) = able.map(|source| source.given).min() else {
            return Vec::new();
        };
        let takers = self.open(|source| may(source) && source.given == least);
        self.in_turn(takers)
    }

    /// Another one first each time: of little credit the last ones get nothing.
    fn in_turn(&mut self, mut sources: Vec<usize>) -> Vec<usize> {
        self.next = self.next.wrapping_add(1);
        let turn = self.next % sources.len().max(1);
        sources.rotate_left(turn);
        sources
    }
}

#[cfg(test)]
#[path = "credit_tests.rs"]
mod tests;
