//! Where a message is for a group, and how it gets from one place to another.
//!
//! A message that a group has not settled is in exactly one place for it:
//!
//! | place       | row that says so                    | counted in                     |
//! |-------------|-------------------------------------|--------------------------------|
//! | delayed     | `d`                                 | `state.delayed`                |
//! | waiting     | none: it is at or behind the cursor | tail - `group.taken` - early    |
//! | early       | `t`: it has to keep its key's order | `state.placed - group.passed`  |
//! | returned    | `r`                                 | `group.returned`               |
//! | backing off | `w`, with a timer                   | `group.backing_off`            |
//! | leased      | `l`, one for its delivery           | `group.in_flight`              |
//! | blocked     | `k` before it, of the same key      | `group.blocked`                |
//!
//! Of each stream beside the base one `lines.rs` counts the same once more. The cursor is that of
//! the message's stream. In strict order what waits behind an engaged message counts as blocked.

use super::config::{OnExpiry, Ordering};
use super::delivery::Returned;
use super::group::{Look, View};
use super::header::Header;
use super::outbox::Failed;
use super::partition::{Shared, Step, corrupt};
use super::reply::{DeadLetterReason, EventKind};
use super::state::Phase;
use super::stream::Stream;
use super::timer::Timer;
use crate::kv::{Kv, KvError};

/// Where a live message with a position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting,
    /// It has to keep its key's order and is not due yet; no receive has come to it.
    Early,
    /// The group is on its way, and has not come to it.
    Ahead,
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
}

impl Look<'_> {
    /// Where the message at a position is that the group has not settled.
    pub(crate) fn place(
        &self,
        kv: &dyn Kv,
        position: u64,
        header: &Header,
    ) -> Result<Place, KvError> {
        if self.group.is_ahead(position) {
            return Ok(Place::Ahead);
        }
        if position >= self.spot(header.stream).cursor {
            let early = self.is_early(kv, position, header)?;
            return Ok(if early { Place::Early } else { Place::Waiting });
        }
        let keyed = self.config.ordering == Ordering::PerKey;
        let read = |row: &[u8]| {
            Returned::decode(row).map_err(|e| corrupt("returned message", self.id(), &e))
        };
        if let Some(row) = kv.get(&self.keys.returned(header.stream, position))? {
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
    pub(crate) fn make_returned(
        &mut self,
        step: &mut Step<'_>,
        (position, stream): (u64, Stream),
        back: Returned,
    ) {
        let row = Returned { due: 0, ..back };
        let key = self.keys.returned(stream, position);
        step.kv.put(&key, row.encode().into());
        self.count_returned(stream);
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
        } = back;
        let returned = Returned {
            due,
            delivery_count,
        };
        let header = self.header(step.kv, position)?;
        if self.has_expired(step, position, &header)? {
            return self.expire(step, position, returned);
        }
        if due > step.now {
            self.make_backing_off(step, position, returned);
        } else {
            self.make_returned(step, (position, header.stream), returned);
        }
        Ok(())
    }

    /// Takes a live message that is not leased out of its place. Its counters are right then; the
    /// message itself must be removed next. What is known of its deliveries.
    pub(crate) fn leave_place(
        &mut self,
        step: &mut Step<'_>,
        (position, stream): (u64, Stream),
        place: Place,
    ) -> Returned {
        match place {
            Place::Ahead => {}
            Place::Waiting => self.stop_waiting(stream),
            Place::Early => {
                self.stop_waiting(stream);
                self.pass(stream);
            }
            Place::Blocked => self.group.blocked -= 1,
            Place::Leased => self.uncount_leased(1),
            Place::Returned(back) => {
                step.kv.delete(&self.keys.returned(stream, position));
                self.uncount_returned(stream);
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

    /// Takes a message out of its place, unless it is leased or this group has settled it.
    pub(crate) fn leave_unless_leased(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
    ) -> Result<Option<Returned>, KvError> {
        let Some(header) = self.open(step.kv, position)? else {
            return Ok(None);
        };
        let place = self.look().place(step.kv, position, &header)?;
        if place == Place::Leased {
            return Ok(None);
        }
        Ok(Some(self.leave_place(
            step,
            (position, header.stream),
            place,
        )))
    }

    /// Removes a message that has left its place: this group has settled it, and the next one of
    /// its key may go. So many deliveries of it have failed. What becomes of its payload is for the
    /// caller.
    pub(crate) fn remove(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        failed: u32,
    ) -> Result<Removed, KvError> {
        let header = self.header(step.kv, position)?;
        let gone = self.settle(step, position, &header)?;
        if failed > 0 {
            step.kv.delete(&self.keys.attempts(position));
        }
        if self.group.phase == Phase::Settled {
            match self.config.ordering {
                Ordering::None => {}
                Ordering::PerKey => self.key_removed(step, position, header.key)?,
                Ordering::Strict => self.strict_removed(step, position)?,
            }
        }
        Ok(Removed {
            position,
            header,
            gone,
        })
    }

    /// Removes a message that has left its place, because its time to live is over.
    pub(crate) fn expire(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        back: Returned,
    ) -> Result<(), KvError> {
        if self.config.on_expiry == OnExpiry::DeadLetter && self.config.dead_letter.is_some() {
            return self.fail(
                step,
                Failed {
                    position,
                    before: back.delivery_count,
                    reason: DeadLetterReason::Expired,
                    last: None,
                },
            );
        }
        let removed = self.remove(step, position, back.delivery_count)?;
        removed.free(step)?;
        self.group.expired += 1;
        let id = removed.header.id(self.id());
        self.event(step, id, EventKind::Expired);
        Ok(())
    }
}

/// A message that a group has settled.
#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) position: u64,
    pub(crate) header: Header,
    /// It is gone: no other group needs it, and it is not retained.
    pub(crate) gone: bool,
}

impl Removed {
    /// Gives up its payload if it is gone.
    pub(crate) fn free(&self, step: &mut Step<'_>) -> Result<(), KvError> {
        if self.gone {
            Shared::free(step, &self.header)?;
        }
        Ok(())
    }
}

impl Shared {
    /// When a message's time to live is over; None: never.
    pub(crate) fn expiry(&self, header: &Header) -> Option<u64> {
        let ttl = self.config.ttl_ms;
        let of_queue = (ttl != 0).then(|| header.ready_from().saturating_add(ttl));
        [of_queue, header.own_expiry()].into_iter().flatten().min()
    }

    /// Whether a message's time to live is over, and still matters.
    pub(crate) fn has_expired(
        &mut self,
        step: &Step<'_>,
        position: u64,
        header: &Header,
    ) -> Result<bool, KvError> {
        let over = self.expiry(header).is_some_and(|expiry| expiry <= step.now);
        Ok(over && !self.is_retained(step.kv, position)?)
    }

    /// Whether a message has its position, to keep its key's order, and is not due yet.
    pub(crate) fn is_early(
        &self,
        kv: &dyn Kv,
        position: u64,
        header: &Header,
    ) -> Result<bool, KvError> {
        if header.due == 0 || self.config.ordering != Ordering::PerKey {
            return Ok(false);
        }
        let timer = Timer::Due(position).key(self.keys, header.due);
        Ok(kv.get(&timer)?.is_some())
    }
}
