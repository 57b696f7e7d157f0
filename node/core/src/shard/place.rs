//! Where a live message is, and how it gets from one place to another.
//!
//! A live message is in exactly one place:
//!
//! | place       | row that says so                  | counted in            |
//! |-------------|-----------------------------------|-----------------------|
//! | delayed     | `d`                               | `state.delayed`       |
//! | waiting     | none: it is at or behind the cursor | tail - cursor - holes |
//! | returned    | `r`                               | `group.returned`      |
//! | backing off | `w`, with a timer                 | `group.backing_off`   |
//! | leased      | `l`, one for its delivery         | `group.in_flight`     |
//! | blocked     | `k` before it, of the same key    | `group.blocked`       |
//!
//! In strict order what waits behind an engaged message counts as blocked.

use super::config::{OnExpiry, Ordering};
use super::delivery::Returned;
use super::group::{Look, View};
use super::header::Header;
use super::outbox::Failed;
use super::partition::{Shared, Step, corrupt};
use super::reply::{DeadLetterReason, EventKind};
use super::timer::Timer;
use crate::kv::{Kv, KvError};

/// Where a live message with a position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting,
    Returned(Returned),
    BackingOff(Returned),
    Leased,
    Blocked,
}

/// A message as it comes back from a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Back {
    pub(crate) position: u64,
    pub(crate) due: u64,
    pub(crate) delivery_count: u32,
    pub(crate) has_error: bool,
}

impl Look<'_> {
    /// Where the live message at a position is.
    pub(crate) fn place(
        &self,
        kv: &dyn Kv,
        position: u64,
        header: &Header,
    ) -> Result<Place, KvError> {
        let keyed = self.config.ordering == Ordering::PerKey;
        if position >= self.group.cursor && !(keyed && header.due != 0) {
            return Ok(Place::Waiting);
        }
        let read = |row: &[u8]| {
            Returned::decode(row).map_err(|e| corrupt("returned message", self.id(), &e))
        };
        if let Some(row) = kv.get(&self.keys.returned(position))? {
            return Ok(Place::Returned(read(&row)?));
        }
        if let Some(row) = kv.get(&self.keys.backing_off(position))? {
            return Ok(Place::BackingOff(read(&row)?));
        }
        if keyed && self.head(kv, header.key)? != Some(position) {
            return Ok(Place::Blocked);
        }
        Ok(Place::Leased)
    }
}

impl View<'_> {
    /// Puts a message among those that are receivable again.
    pub(crate) fn make_returned(&mut self, step: &mut Step<'_>, position: u64, back: Returned) {
        let row = Returned { due: 0, ..back };
        step.kv
            .put(&self.keys.returned(position), row.encode().into());
        self.group.returned += 1;
    }

    /// Lets a message back off until `back.due`.
    pub(crate) fn make_backing_off(&mut self, step: &mut Step<'_>, position: u64, back: Returned) {
        step.kv
            .put(&self.keys.backing_off(position), back.encode().into());
        self.group.backing_off += 1;
        let over = Timer::BackOff(self.keys.group, position);
        self.file(step.kv, back.due, over);
    }

    /// Takes a message that was leased back: it is receivable again, now or when due; or it has
    /// waited longer than its time to live.
    pub(crate) fn give_back(&mut self, step: &mut Step<'_>, back: Back) -> Result<(), KvError> {
        let Back {
            position,
            due,
            delivery_count,
            has_error,
        } = back;
        let returned = Returned {
            due,
            delivery_count,
            has_error,
        };
        let header = self.header(step.kv, position)?;
        if self
            .expiry(&header)
            .is_some_and(|expiry| expiry <= step.now)
        {
            return self.expire(step, position, returned);
        }
        if due > step.now {
            self.make_backing_off(step, position, returned);
        } else {
            self.make_returned(step, position, returned);
        }
        Ok(())
    }

    /// Takes a live message that is not leased out of its place. Its counters are right then; the
    /// message itself must be removed next. What is known of its deliveries.
    pub(crate) fn leave_place(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        place: Place,
    ) -> Returned {
        match place {
            Place::Waiting => self.group.holes += 1,
            Place::Blocked => self.group.blocked -= 1,
            Place::Leased => self.group.in_flight -= 1,
            Place::Returned(back) => {
                step.kv.delete(&self.keys.returned(position));
                self.group.returned -= 1;
                return back;
            }
            Place::BackingOff(back) => {
                step.kv.delete(&self.keys.backing_off(position));
                let over = Timer::BackOff(self.keys.group, position);
                self.unfile(step.kv, back.due, over);
                self.group.backing_off -= 1;
                return back;
            }
        }
        Returned::default()
    }

    /// Removes a message that has left its place: it is no longer live here, and the next one of
    /// its key may go. What becomes of its payload is for the caller: `free` or an outbox.
    pub(crate) fn remove(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        has_error: bool,
    ) -> Result<Header, KvError> {
        let header = self.header(step.kv, position)?;
        self.settle_position(step, position)?;
        self.state.messages -= 1;
        self.state.bytes -= u64::from(header.payload.len);
        if has_error {
            step.kv.delete(&self.keys.error(position));
        }
        if let Some(due) = header.own_expiry() {
            self.unfile(step.kv, due, Timer::Expiry(position));
        }
        match self.config.ordering {
            Ordering::None => {}
            Ordering::PerKey => self.key_removed(step, position, header.key)?,
            Ordering::Strict => self.strict_removed(step, position)?,
        }
        Ok(header)
    }

    /// Removes a message that has left its place, because its time to live is over.
    pub(crate) fn expire(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        back: Returned,
    ) -> Result<(), KvError> {
        if self.config.on_expiry == OnExpiry::DeadLetter && self.config.dead_letter.is_some() {
            let reason = DeadLetterReason::Expired;
            return self.fail(
                step,
                &Failed {
                    position,
                    back,
                    reason,
                    error: None,
                },
            );
        }
        let header = self.remove(step, position, back.has_error)?;
        Shared::free(step, &header);
        self.state.expired += 1;
        self.event(step, header.id(self.id()), EventKind::Expired);
        Ok(())
    }
}

impl Shared {
    /// Gives up the payload of a removed message.
    pub(crate) fn free(step: &mut Step<'_>, header: &Header) {
        if header.loose {
            step.kv.delete(&super::keys::loose(header.payload));
        }
        step.freed.push(header.payload);
    }

    /// When a message's time to live is over; None: never.
    pub(crate) fn expiry(&self, header: &Header) -> Option<u64> {
        let ttl = self.config.ttl_ms;
        let of_queue = (ttl != 0).then(|| header.ready_from.saturating_add(ttl));
        [of_queue, header.own_expiry()].into_iter().flatten().min()
    }
}
