//! Takes a live message out of its partition by its location. What becomes of its payload is for
//! the caller.

use super::delivery::Returned;
use super::group::View;
use super::header::{Header, decode_single};
use super::lease::Lease;
use super::location::Location;
use super::op::LeaseRef;
use super::partition::{Step, corrupt};
use super::place::Place;
use crate::kv::{Kv, KvError};

/// A message that was to be taken out.
pub(crate) enum Withdrawn {
    /// It is out, with what is known of its deliveries.
    Here(Header, Returned),
    /// It stays.
    Leased,
    /// There is none.
    Gone,
}

impl View<'_> {
    /// Takes out the message at a location, unless it is leased.
    pub(crate) fn withdraw(
        &mut self,
        step: &mut Step<'_>,
        location: Location,
    ) -> Result<Withdrawn, KvError> {
        let position = match location {
            Location::Position(position) => position,
            Location::Delayed { due, sequence } => {
                return self.withdraw_delayed(step, due, sequence);
            }
        };
        let Some(header) = self.live(step.kv, position)? else {
            return Ok(Withdrawn::Gone);
        };
        let place = self.look().place(step.kv, position, &header)?;
        if place == Place::Leased {
            return Ok(Withdrawn::Leased);
        }
        let back = self.leave_place(step, position, place);
        let header = self.remove(step, position, back.has_error)?;
        Ok(Withdrawn::Here(header, back))
    }

    /// Takes out a message whose lease has just ended.
    pub(crate) fn withdraw_ended(
        &mut self,
        step: &mut Step<'_>,
        lease: Lease,
    ) -> Result<Withdrawn, KvError> {
        let Lease {
            position,
            delivery_count,
            has_error,
        } = lease;
        let header = self.remove(step, position, has_error)?;
        let back = Returned {
            due: 0,
            delivery_count,
            has_error,
        };
        Ok(Withdrawn::Here(header, back))
    }

    fn withdraw_delayed(
        &mut self,
        step: &mut Step<'_>,
        due: u64,
        sequence: u64,
    ) -> Result<Withdrawn, KvError> {
        let key = self.keys.delayed(due, sequence);
        let Some(row) = step.kv.get(&key)? else {
            return Ok(Withdrawn::Gone);
        };
        let header = decode_single(&row);
        let header = header.map_err(|e| corrupt("delayed message", self.id(), &e))?;
        self.remove_delayed(step, &key, &header);
        Ok(Withdrawn::Here(header, Returned::default()))
    }

    /// Whether the message at a position is leased by this lease.
    pub(crate) fn is_leased_by(
        &mut self,
        kv: &dyn Kv,
        position: u64,
        lease: LeaseRef,
    ) -> Result<bool, KvError> {
        let Some(delivery) = self.delivery(kv, lease.delivery)? else {
            return Ok(false);
        };
        let slot = delivery.batch.slots.get(usize::from(lease.slot));
        Ok(slot.is_some_and(|slot| slot.live && slot.position == position))
    }
}
