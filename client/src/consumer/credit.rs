//! What a consumer lets its streams deliver: never more, with what it holds, than it may hold.
//! Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use roadstead_proto::credit::{CreditSplit, Order};

/// A stream waits so long for room before another one is asked to give back what it does not use,
/// and that has had so long to use it: of two that are busy either may be out of credit for a
/// moment.
const LEND: Duration = Duration::from_millis(10);

/// What is known of one stream beside its credit.
#[derive(Debug, Default)]
struct Place {
    /// Settlements on their way.
    settling: u32,
    /// Of those the last ones, whose room is not granted anew: what is granted on the same stream
    /// comes behind them, and may use it already.
    room: u32,
    /// When it was given credit last.
    given_at: Option<Instant>,
}

/// Where the credit of one consumer is.
#[derive(Debug)]
pub(crate) struct Credit {
    /// Held by the consumer and on their way to it, of all streams together.
    most: u32,
    split: CreditSplit,
    places: BTreeMap<usize, Place>,
    /// Since when a stream has had more than its credit covers.
    wanted: Option<Instant>,
    /// When another one is to be asked for that.
    lend_at: Option<Instant>,
}

impl Credit {
    /// No stream yet; at most `most` messages.
    pub fn new(most: u32) -> Self {
        Self {
            most,
            split: CreditSplit::default(),
            places: BTreeMap::new(),
            wanted: None,
            lend_at: None,
        }
    }

    /// A stream is there; returns its place.
    pub fn open(&mut self) -> usize {
        let free = (0..=self.places.len()).find(|place| !self.places.contains_key(place));
        let place = free.unwrap_or_default();
        self.places.insert(place, Place::default());
        self.split.opened(place);
        place
    }

    /// A stream is to end. Returns whether there is something to take back from it.
    pub fn closing(&mut self, place: usize) -> bool {
        self.split.closing(place).is_some()
    }

    /// A stream is gone.
    pub fn closed(&mut self, place: usize) {
        self.places.remove(&place);
        self.split.closed(place);
    }

    /// Messages came on a stream.
    pub fn delivered(&mut self, place: usize, messages: usize) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.split.delivered(place, messages);
    }

    /// The server has more on a stream than its credit covers.
    pub fn available(&mut self, place: usize) {
        self.split.available(place);
    }

    /// Credit came back unused.
    pub fn returned(&mut self, place: usize, messages: u32) {
        self.split.returned(place, messages);
    }

    /// Settlements were sent on a stream: they are held no more.
    pub fn settling(&mut self, place: usize, messages: u32) {
        if let Some(place) = self.places.get_mut(&place) {
            place.settling += messages;
            place.room += messages;
        }
    }

    /// One of them was answered.
    pub fn settled(&mut self, place: usize) {
        if let Some(place) = self.places.get_mut(&place) {
            place.settling = place.settling.saturating_sub(1);
            place.room = place.room.min(place.settling);
        }
    }

    /// Takes back all credit: what to tell the streams.
    pub fn take_back(&mut self) -> Vec<Order> {
        (self.wanted, self.lend_at) = (None, None);
        self.split.withdraw()
    }

    /// What to tell the streams, where so many messages are held of each, and in all: in pieces
    /// that are worth a frame.
    pub fn orders(
        &mut self,
        (each, held): (&BTreeMap<usize, u32>, u32),
        now: Instant,
    ) -> Vec<Order> {
        let streams = u32::try_from(self.places.len().max(1)).unwrap_or(u32::MAX);
        let piece = self.most / streams / 4;
        let rooms: u32 = self.places.values().map(|place| place.room).sum();
        let unused = u32::try_from(self.split.unused()).unwrap_or(u32::MAX);
        let used = unused.saturating_add(held).saturating_add(rooms);
        let free = self.most.saturating_sub(used);
        if free >= piece || self.split.is_dry() {
            self.split.grant(free);
        }
        let share = self.most.div_ceil(streams);
        for (&index, place) in &mut self.places {
            let Some(given) = self.split.given(index).filter(|_| place.room > 0) else {
                continue;
            };
            let uses = each.get(&index).copied().unwrap_or_default() + given + place.room;
            // Beyond its share, room is for others as well, once it is there.
            let may = uses <= share || !self.split.is_wanted_beside(index);
            if may && (given == 0 || place.room >= piece) {
                self.split.grant_to(index, std::mem::take(&mut place.room));
            }
        }
        let mut orders = self.split.orders();
        for order in &orders {
            if let Order::Give(index, _) = order
                && let Some(place) = self.places.get_mut(index)
            {
                place.given_at = Some(now);
            }
        }
        orders.extend(self.lend(now));
        orders
    }

    fn lend(&mut self, now: Instant) -> Option<Order> {
        self.lend_at = None;
        if !self.split.is_wanted() {
            self.wanted = None;
            return None;
        }
        let since = *self.wanted.get_or_insert(now);
        // The one that has the most is asked.
        let given = |&index: &usize| Some((self.split.given(index)?, index));
        let (_, richest) = self.places.keys().filter_map(given).max()?;
        let given_at = self.places[&richest].given_at;
        let at = given_at.map_or(since, |given_at| given_at.max(since)) + LEND;
        self.lend_at = (now < at).then_some(at);
        (now >= at).then(|| self.split.lend()).flatten()
    }

    /// When [`Self::orders`] is to be asked, if nothing else happens before.
    pub fn look_again_at(&self) -> Option<Instant> {
        self.lend_at
    }
}

#[cfg(test)]
#[path = "credit_tests.rs"]
mod tests;
