//! Order per key, and strict order.
//!
//! Of each key at most one message is *engaged*: leased, or back from a lease. Its `h` row names
//! its position; the other live messages of the key (`k` rows) wait behind it. A key without an
//! `h` row is free: the receive that comes to its first message engages it. So what waits behind
//! costs no row when a receive skips it, and is found in `k` when the engaged one is gone.

use bytes::Bytes;

use super::delivery::Returned;
use super::group::{Look, View};
use super::header::Header;
use super::keys;
use super::partition::{Partition, Shared, Step};
use crate::kv::{self, Kv, KvError};

impl Look<'_> {
    /// Position of the engaged message of a key.
    pub(crate) fn head(&self, kv: &dyn Kv, key: u64) -> Result<Option<u64>, KvError> {
        Ok(kv.get(&self.keys.head(key))?.map(|row| keys::tail(&row)))
    }
}

impl Shared {
    /// The first live message of a key.
    pub(crate) fn first_of_key(&self, kv: &dyn Kv, key: u64) -> Result<Option<u64>, KvError> {
        let (from, end) = (self.keys.keyed(key, 0), self.keys.keyed(key, u64::MAX));
        Ok(kv::first(kv, &from, &end)?.map(|(key, _)| keys::tail(&key)))
    }
}

impl Partition {
    /// A message with a key was added. One that is delayed is engaged at once if it is the first
    /// of its key, else it is blocked at once: it has to keep its key's order, and does not wait.
    pub(crate) fn key_added(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        header: &Header,
    ) -> Result<(), KvError> {
        if header.due != 0 {
            let is_first = self.first_of_key(step.kv, header.key)?.is_none();
            self.for_each_group(&mut |view| {
                view.delayed_key_added(step, (position, header), is_first);
                Ok(())
            })?;
        }
        step.kv.put(
            &self.keys.keyed(header.key, position),
            Bytes::from_static(&[1]),
        );
        Ok(())
    }
}

impl View<'_> {
    /// Engages a message of a key.
    pub(crate) fn engage(&mut self, kv: &mut dyn Kv, key: u64, position: u64) {
        let mut row = vec![1];
        row.extend(position.to_be_bytes());
        kv.put(&self.keys.head(key), row.into());
    }

    fn delayed_key_added(
        &mut self,
        step: &mut Step<'_>,
        (position, header): (u64, &Header),
        is_first: bool,
    ) {
        self.group.holes += 1;
        if !is_first {
            self.group.blocked += 1;
            return;
        }
        self.engage(step.kv, header.key, position);
        let back = Returned {
            due: header.due,
            ..Returned::default()
        };
        self.make_backing_off(step, position, back);
    }

    /// A message with a key was removed: the next one of its key may go.
    pub(crate) fn key_removed(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        key: u64,
    ) -> Result<(), KvError> {
        step.kv.delete(&self.keys.keyed(key, position));
        let engaged = self.look().head(step.kv, key)?;
        if engaged.is_some_and(|head| head != position) {
            return Ok(());
        }
        let next = match self.first_of_key(step.kv, key)? {
            Some(next) => Some((next, self.header(step.kv, next)?)),
            None => None,
        };
        // One that no receive has passed is found by the receive that comes to it.
        match next.filter(|(next, header)| *next < self.group.cursor || header.due != 0) {
            Some((next, header)) => {
                self.engage(step.kv, key, next);
                self.group.blocked -= 1;
                self.unblock(step, next, &header);
            }
            None if engaged.is_some() => step.kv.delete(&self.keys.head(key)),
            None => {}
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
            self.make_returned(step, position, back);
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
        if self.group.engaged != 0 {
            return Ok(());
        }
        let cursor = self.group.cursor;
        let next = self.next_live(step.kv, cursor)?;
        self.group.holes -= next - cursor;
        self.group.cursor = next;
        let Some(header) = self.live(step.kv, next)? else {
            return Ok(());
        };
        if header.due > step.now {
            self.group.cursor += 1;
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
