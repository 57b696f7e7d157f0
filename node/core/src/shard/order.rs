//! Order per key, and strict order.
//!
//! Of each key at most one message is *engaged*: leased, or back from a lease. Its `h` row names
//! its position; the other live messages of the key (`k` rows) wait behind it. A key without an
//! `h` row is free: the receive that comes to its first message engages it. So what waits behind
//! costs no row when a receive skips it, and is found in `k` when the engaged one is gone. All of
//! that is per group, but for the `k` rows, which all groups share.

use bytes::Bytes;

use super::delivery::Returned;
use super::group::{Look, View};
use super::header::Header;
use super::keys;
use super::partition::{Partition, Shared, Step};
use super::state::Phase;
use super::stream::Stream;
use super::timer::Timer;
use crate::kv::{self, Kv, KvError};

impl Look<'_> {
    /// Position of the engaged message of a key.
    pub(crate) fn head(&self, kv: &dyn Kv, key: u64) -> Result<Option<u64>, KvError> {
        Ok(kv.get(&self.keys.head(key))?.map(|row| keys::tail(&row)))
    }
}

impl Shared {
    /// A message with a key was added. One that is delayed has to keep its key's order: it has its
    /// place in line, but does not wait before it is due.
    pub(crate) fn key_added(&mut self, step: &mut Step<'_>, position: u64, header: &Header) {
        if header.due != 0 {
            self.place_early(header.stream);
            self.file(step.kv, header.due, Timer::Due(position));
        }
        self.count_leaving(step, header.key);
        step.kv.put(
            &self.keys.keyed(header.key, position),
            Bytes::from_static(&[1]),
        );
    }
}

impl Partition {
    /// A delayed message is due: for groups whose receives have not come to it, it waits now.
    pub(crate) fn fall_due(&mut self, step: &mut Step<'_>, position: u64) -> Result<(), KvError> {
        let Some(header) = self.live(step.kv, position)? else {
            return Ok(());
        };
        let stream = header.stream;
        self.not_early(stream);
        let all_need_it = self.count(step.kv, position)? == 0;
        self.for_each_group(&mut |view| {
            let cursor = view.look().spot(stream).cursor;
            let stands_before = cursor <= position && !view.group.is_ahead(position);
            if stands_before && (all_need_it || view.open(step.kv, position)?.is_some()) {
                view.pass(stream);
            }
            Ok(())
        })
    }
}

impl View<'_> {
    /// Engages a message of a key.
    pub(crate) fn engage(&mut self, kv: &mut dyn Kv, key: u64, position: u64) {
        let mut row = vec![1];
        row.extend(position.to_be_bytes());
        kv.put(&self.keys.head(key), row.into());
    }

    /// A receive comes to a message that is not due yet: it engages its key, or is blocked.
    pub(crate) fn pass_early(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        header: &Header,
    ) -> Result<(), KvError> {
        self.pass(header.stream);
        if self.look().head(step.kv, header.key)?.is_some() {
            self.group.blocked += 1;
            return Ok(());
        }
        self.engage(step.kv, header.key, position);
        let back = Returned {
            due: header.due,
            ..Returned::default()
        };
        self.make_backing_off(step, position, back);
        Ok(())
    }

    /// The next message of a key after a position that this group has not settled.
    fn next_of_key(
        &mut self,
        kv: &dyn Kv,
        key: u64,
        position: u64,
    ) -> Result<Option<(u64, Header)>, KvError> {
        let end = self.keys.keyed(key, u64::MAX);
        let mut from = position + 1;
        loop {
            let start = self.keys.keyed(key, from);
            let Some((row, _)) = kv::first(kv, &start, &end)? else {
                return Ok(None);
            };
            let position = keys::tail(&row);
            if let Some(header) = self.open(kv, position)? {
                return Ok(Some((position, header)));
            }
            from = position + 1;
        }
    }

    /// A message with a key was removed: the next one of its key may go.
    pub(crate) fn key_removed(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        key: u64,
    ) -> Result<(), KvError> {
        if self.look().head(step.kv, key)? != Some(position) {
            return Ok(());
        }
        let next = self.next_of_key(step.kv, key, position)?;
        // One that no receive has passed is found by the receive that comes to it.
        let look = self.look();
        let is_passed = |(at, header): &(u64, Header)| *at < look.spot(header.stream).cursor;
        match next.filter(is_passed) {
            Some((next, header)) => {
                self.engage(step.kv, key, next);
                self.group.blocked -= 1;
                self.unblock(step, next, &header);
            }
            None => step.kv.delete(&self.keys.head(key)),
        }
        Ok(())
    }

    fn unblock(&mut self, step: &mut Step<'_>, position: u64, header: &Header) {
        let back = Returned {
            due: header.due,
            ..Returned::default()
        };
        if header.due > step.now {
            self.make_backing_off(step, position, back);
        } else {
            self.make_returned(step, (position, header.stream), back);
        }
    }

    /// A message was removed where order is strict: the next one may go.
    pub(crate) fn strict_removed(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
    ) -> Result<(), KvError> {
        if self.group.engaged == position + 1 {
            self.group.engaged = 0;
        }
        self.strict_advance(step)
    }

    /// Where order is strict and nothing is engaged: goes to the first message that is there, and
    /// lets it back off if it is delayed.
    pub(crate) fn strict_advance(&mut self, step: &mut Step<'_>) -> Result<(), KvError> {
        if self.group.engaged != 0 || self.group.phase != Phase::Settled {
            return Ok(());
        }
        let cursor = self.group.cursor;
        let next = self.next_open(step.kv, Stream::BASE, cursor)?;
        self.group.cursor = next;
        let Some(header) = self.open(step.kv, next)? else {
            return Ok(());
        };
        if header.due > step.now {
            self.group.cursor += 1;
            self.stop_waiting(Stream::BASE);
            self.group.engaged = next + 1;
            let back = Returned {
                due: header.due,
                ..Returned::default()
            };
            self.make_backing_off(step, next, back);
        }
        Ok(())
    }
}
