//! Takes a message out of its partition by its location, for all groups. What becomes of its
//! payload is for the caller.

use super::attempts::Attempts;
use super::delivery::Returned;
use super::group::View;
use super::header::decode_single;
use super::location::Location;
use super::op::LeaseRef;
use super::partition::{Partition, Step, corrupt};
use super::place::{Place, Removed};
use super::state::Phase;
use crate::kv::{Kv, KvError};

/// A message that was to be taken out.
pub(crate) enum Withdrawn {
    /// It is out.
    Out(Out),
    /// It stays.
    Leased,
    /// It stays, for replay: no group needs it.
    Kept,
    /// There is none.
    Gone,
}

/// A message that is out: no group needs it any more, and it is not retained.
pub(crate) struct Out {
    pub(crate) removed: Removed,
    /// Some group had never settled it.
    pub(crate) was_live: bool,
    /// Deliveries to the first group that needed it.
    pub(crate) delivery_count: u32,
    /// Those of them that have failed.
    pub(crate) attempts: Attempts,
}

impl Partition {
    /// Takes out the message at a location, unless it is leased otherwise than by one of `leases`.
    pub(crate) fn withdraw(
        &mut self,
        step: &mut Step<'_>,
        location: Location,
        leases: &[LeaseRef],
    ) -> Result<Withdrawn, KvError> {
        let position = match location {
            Location::Position(position) => position,
            Location::Delayed { due, sequence } => {
                return self.withdraw_delayed(step, due, sequence);
            }
        };
        let kv = &*step.kv;
        let free = self.let_go(kv, position, &mut |view, place| {
            Ok(place != Place::Leased || view.lease_among(kv, position, leases)?.is_some())
        })?;
        Ok(match free {
            Some(true) => Withdrawn::Out(self.take_out(step, position, leases)?),
            Some(false) => Withdrawn::Leased,
            None if self.live(step.kv, position)?.is_some() => Withdrawn::Kept,
            None => Withdrawn::Gone,
        })
    }

    /// Whether all groups that need a message let it go, by its place; None: no group needs it.
    pub(crate) fn let_go(
        &mut self,
        kv: &dyn Kv,
        position: u64,
        lets: &mut dyn FnMut(&mut View<'_>, Place) -> Result<bool, KvError>,
    ) -> Result<Option<bool>, KvError> {
        let mut needed = None;
        for slot in self.groups.values_mut() {
            let mut view = View::new(&mut self.shared, slot);
            if view.group.phase == Phase::Leaving {
                continue;
            }
            let Some(header) = view.open(kv, position)? else {
                continue;
            };
            let place = view.look().place(kv, position, &header)?;
            if !lets(&mut view, place)? {
                return Ok(Some(false));
            }
            needed = Some(true);
        }
        Ok(needed)
    }

    /// Takes a message out that all groups let go; also one that is only retained.
    pub(crate) fn take_out(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        leases: &[LeaseRef],
    ) -> Result<Out, KvError> {
        let header = self.header(step.kv, position)?;
        let was_live = !self.is_retained(step.kv, position)?;
        let mut first = None;
        self.for_each_group(&mut |view| {
            let Some(back) = view.leave(step, position, leases)? else {
                return Ok(());
            };
            if first.is_none() {
                let failed = back.delivery_count;
                let attempts = view.look().attempts(step.kv, position, failed)?;
                first = Some((failed, attempts));
            }
            view.remove(step, position, back.delivery_count)?;
            Ok(())
        })?;
        self.discard(step, position)?;
        let (delivery_count, attempts) = first.unwrap_or_default();
        let gone = true;
        Ok(Out {
            removed: Removed {
                position,
                header,
                gone,
            },
            was_live,
            delivery_count,
            attempts,
        })
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
        Ok(Withdrawn::Out(Out {
            removed: Removed {
                position: u64::MAX,
                header,
                gone: true,
            },
            was_live: true,
            delivery_count: 0,
            attempts: Attempts::default(),
        }))
    }
}

impl View<'_> {
    /// Takes a message out of its place, or ends its lease if it is one of these, which does not
    /// count; None: this group has settled it.
    fn leave(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        leases: &[LeaseRef],
    ) -> Result<Option<Returned>, KvError> {
        if let Some(lease) = self.lease_among(step.kv, position, leases)?
            && let Some(ended) = self.end_lease(step, lease.delivery, lease.slot)?
        {
            return Ok(Some(Returned {
                due: 0,
                delivery_count: ended.failed(),
            }));
        }
        self.leave_unless_leased(step, position)
    }

    /// By which of these leases this group leases the message at a position.
    fn lease_among(
        &mut self,
        kv: &dyn Kv,
        position: u64,
        leases: &[LeaseRef],
    ) -> Result<Option<LeaseRef>, KvError> {
        if self.group.phase != Phase::Settled {
            return Ok(None);
        }
        let group = self.keys.group;
        for lease in leases.iter().filter(|lease| lease.group == group) {
            let delivery = self.delivery(kv, lease.delivery)?;
            let slot = delivery.and_then(|it| it.batch.slots.get(usize::from(lease.slot)));
            if slot.is_some_and(|slot| slot.live && slot.position == position) {
                return Ok(Some(*lease));
            }
        }
        Ok(None)
    }
}
