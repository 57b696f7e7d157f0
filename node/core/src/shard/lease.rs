//! Leases: who holds which messages, until when.

use bytes::Bytes;

use super::attempts::{Attempt, AttemptEnd};
use super::breaker::Outcome;
use super::delivery::{Delivered, Slot};
use super::group::{CachedDelivery, Look, View};
use super::header::Header;
use super::id::SessionId;
use super::keys;
use super::outbox::Failed;
use super::partition::{Partition, Shared, Step, corrupt};
use super::place::Back;
use super::reply::{DeadLetterReason, EventKind};
use super::timer::Timer;
use crate::kv::{self, Kv, KvError};

/// Longest lease and longest delay of a nack: 12 h in ms.
pub(crate) const MAX_LEASE_MS: u64 = 12 * 3_600_000;

/// A lease that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) position: u64,
    pub(crate) delivery_count: u32,
    /// ms.
    pub(crate) delivered_at: u64,
}

impl Lease {
    /// Deliveries that had failed before it.
    pub(crate) fn failed(&self) -> u32 {
        self.delivery_count.saturating_sub(1)
    }

    /// It has failed.
    pub(crate) fn attempt(&self, now: u64, how: AttemptEnd, error: &[u8]) -> Attempt {
        Attempt {
            delivered_at: self.delivered_at,
            ended_at: now,
            how,
            error: Bytes::copy_from_slice(error),
        }
    }
}

impl View<'_> {
    /// Leases messages together and gives the number of the delivery.
    pub(crate) fn deliver(
        &mut self,
        step: &mut Step<'_>,
        session: Option<SessionId>,
        slots: Vec<Slot>,
    ) -> u64 {
        self.group.delivery += 1;
        let number = self.group.delivery;
        let live = slots.len() as u32;
        self.count_leased(u64::from(live));
        let timer = slots.first().map_or(0, |slot| slot.deadline);
        let lease = Timer::Lease(self.keys.group, number);
        self.file(step.kv, timer, lease);
        if let Some(session) = session {
            step.kv
                .put(&self.keys.session(session, number), vec![1].into());
        }
        let batch = Delivered {
            session,
            at: step.now,
            timer,
            slots,
            live,
        };
        self.deliveries
            .insert(number, CachedDelivery { batch, dirty: true });
        number
    }

    pub(crate) fn delivery(
        &mut self,
        kv: &dyn Kv,
        number: u64,
    ) -> Result<Option<&mut CachedDelivery>, KvError> {
        if !self.deliveries.find(number) {
            let Some(batch) = self.look().read_delivery(kv, number)? else {
                return Ok(None);
            };
            self.deliveries.insert(
                number,
                CachedDelivery {
                    batch,
                    dirty: false,
                },
            );
        }
        Ok(self.deliveries.last_mut())
    }

    /// Whether a delivery is still leased.
    pub(crate) fn is_leased(
        &mut self,
        kv: &dyn Kv,
        number: u64,
        slot: u16,
    ) -> Result<bool, KvError> {
        let delivery = self.delivery(kv, number)?;
        let slot = delivery.and_then(|it| it.batch.slots.get(usize::from(slot)));
        Ok(slot.is_some_and(|slot| slot.live))
    }

    /// Ends the lease of one message. None: it has ended before.
    pub(crate) fn end_lease(
        &mut self,
        step: &mut Step<'_>,
        number: u64,
        slot: u16,
    ) -> Result<Option<Lease>, KvError> {
        let Some(delivery) = self.delivery(step.kv, number)? else {
            return Ok(None);
        };
        let Some(slot) = delivery.batch.slots.get_mut(usize::from(slot)) else {
            return Ok(None);
        };
        if !slot.live {
            return Ok(None);
        }
        let Slot {
            position,
            delivery_count,
            ..
        } = *slot;
        slot.live = false;
        let delivered_at = delivery.batch.at;
        delivery.dirty = true;
        delivery.batch.live -= 1;
        if delivery.batch.live == 0 {
            self.delivery_done(step.kv, number);
        }
        self.uncount_leased(1);
        Ok(Some(Lease {
            position,
            delivery_count,
            delivered_at,
        }))
    }

    fn delivery_done(&mut self, kv: &mut dyn Kv, number: u64) {
        let Some(CachedDelivery { batch, .. }) = self.deliveries.remove(number) else {
            return;
        };
        kv.delete(&self.keys.delivery(number));
        let lease = Timer::Lease(self.keys.group, number);
        self.unfile(kv, batch.timer, lease);
        if let Some(session) = batch.session {
            kv.delete(&self.keys.session(session, number));
        }
    }

    /// Moves the deadline of one message. False: its lease has ended.
    pub(crate) fn extend(
        &mut self,
        step: &mut Step<'_>,
        number: u64,
        slot: u16,
        deadline: u64,
    ) -> Result<bool, KvError> {
        let Some(delivery) = self.delivery(step.kv, number)? else {
            return Ok(false);
        };
        let slot = delivery
            .batch
            .slots
            .get_mut(usize::from(slot))
            .filter(|slot| slot.live);
        let Some(slot) = slot else { return Ok(false) };
        slot.deadline = deadline;
        delivery.dirty = true;
        let filed = delivery.batch.timer;
        // A later deadline is filed when the timer has come; that is cheaper for heartbeats.
        if deadline < filed {
            delivery.batch.timer = deadline;
            let lease = Timer::Lease(self.keys.group, number);
            self.unfile(step.kv, filed, lease);
            self.file(step.kv, deadline, lease);
        }
        Ok(true)
    }

    /// A delivery's timer has come: ends the leases that have run out, at most `max`. How many.
    pub(crate) fn run_out(
        &mut self,
        step: &mut Step<'_>,
        number: u64,
        max: usize,
    ) -> Result<usize, KvError> {
        let now = step.now;
        let out = |slot: &Slot| slot.deadline <= now;
        let ended = self.end_leases(step, number, max, &out)?;
        for lease in &ended {
            self.lease_over(step, *lease, None)?;
        }
        let Some(delivery) = self.delivery(step.kv, number)? else {
            return Ok(ended.len());
        };
        let (filed, due) = (
            delivery.batch.timer,
            delivery.batch.earliest().unwrap_or(now),
        );
        delivery.batch.timer = due;
        delivery.dirty = true;
        let lease = Timer::Lease(self.keys.group, number);
        self.unfile(step.kv, filed, lease);
        self.file(step.kv, due, lease);
        Ok(ended.len())
    }

    fn end_leases(
        &mut self,
        step: &mut Step<'_>,
        number: u64,
        max: usize,
        which: &dyn Fn(&Slot) -> bool,
    ) -> Result<Vec<Lease>, KvError> {
        let Some(delivery) = self.delivery(step.kv, number)? else {
            return Ok(Vec::new());
        };
        let slots = delivery.batch.slots.iter().enumerate();
        let chosen = slots.filter(|(_, slot)| slot.live && which(slot)).take(max);
        let chosen: Vec<u16> = chosen.map(|(n, _)| n as u16).collect();
        let mut ended = Vec::with_capacity(chosen.len());
        for slot in chosen {
            ended.extend(self.end_lease(step, number, slot)?);
        }
        Ok(ended)
    }

    /// A lease ended without a settlement: by its deadline, or with its session.
    fn lease_over(
        &mut self,
        step: &mut Step<'_>,
        lease: Lease,
        session: Option<SessionId>,
    ) -> Result<(), KvError> {
        let Lease {
            position,
            delivery_count,
            ..
        } = lease;
        self.group.lease_expired += 1;
        self.note_outcome(step, position, Outcome::Failure)?;
        let header = self.header(step.kv, position)?;
        let (event, how) = match session {
            None => (
                EventKind::LeaseExpired(delivery_count),
                AttemptEnd::LeaseExpired,
            ),
            Some(session) => (
                EventKind::SessionReleased(session),
                AttemptEnd::SessionReleased,
            ),
        };
        self.event(step, header.id(self.id()), event);
        let attempt = lease.attempt(step.now, how, b"");
        if delivery_count >= self.config.max_deliveries {
            return self.fail(
                step,
                Failed {
                    position,
                    before: lease.failed(),
                    reason: DeadLetterReason::MaxDeliveries,
                    last: Some(attempt),
                },
            );
        }
        self.keep_attempt(step, (position, lease.failed()), attempt)?;
        let due = step.now + self.backoff(delivery_count, &header);
        self.give_back(
            step,
            Back {
                position,
                due,
                delivery_count,
            },
        )
    }

    /// Ends what a delivery of a session still leases, at most `max`. How many.
    fn release_delivery(
        &mut self,
        step: &mut Step<'_>,
        (session, number): (SessionId, u64),
        max: usize,
    ) -> Result<u64, KvError> {
        let ended = self.end_leases(step, number, max, &|_| true)?;
        for lease in &ended {
            self.lease_over(step, *lease, Some(session))?;
        }
        Ok(ended.len() as u64)
    }
}

impl Partition {
    /// Ends the leases of a session, at most `max`. How many, and whether there are more.
    pub(crate) fn release(
        &mut self,
        step: &mut Step<'_>,
        session: SessionId,
        max: u64,
    ) -> Result<(u64, bool), KvError> {
        let mut released = 0;
        for (group, number) in self.held_by(step.kv, session, max as usize + 1)? {
            let left = (max - released) as usize;
            if let Some(mut view) = self.view(group) {
                released += view.release_delivery(step, (session, number), left)?;
            }
            if released == max {
                break;
            }
        }
        let more = !self.held_by(step.kv, session, 1)?.is_empty();
        Ok((released, more))
    }

    /// Groups and numbers of the deliveries that a session holds, at most `max`.
    pub(crate) fn held_by(
        &self,
        kv: &dyn Kv,
        session: SessionId,
        max: usize,
    ) -> Result<Vec<(u32, u64)>, KvError> {
        // What a group that is on its way has left behind is held by nobody.
        let most = if self.walking.is_empty() {
            max
        } else {
            usize::MAX
        };
        let mut held = self.deliveries_of(kv, session, most)?;
        held.retain(|(group, _)| self.groups.contains_key(group) && !self.walking.contains(group));
        held.truncate(max);
        Ok(held)
    }
}

impl Look<'_> {
    /// A delivery as it is in the rows.
    pub(crate) fn read_delivery(
        &self,
        kv: &dyn Kv,
        number: u64,
    ) -> Result<Option<Delivered>, KvError> {
        let Some(row) = kv.get(&self.keys.delivery(number))? else {
            return Ok(None);
        };
        let batch = Delivered::decode(&row).map_err(|e| corrupt("delivery", self.id(), &e))?;
        Ok(Some(batch))
    }
}

impl Shared {
    /// How long a message waits after so many deliveries that failed, ms.
    pub(crate) fn backoff(&self, failures: u32, header: &Header) -> u64 {
        let backoff = self.config.backoff.as_ref();
        let wait = backoff.map_or(0, |backoff| backoff.wait(failures, header.sequence));
        wait.min(MAX_LEASE_MS)
    }

    /// Groups and numbers of the deliveries of a session, at most `max`.
    fn deliveries_of(
        &self,
        kv: &dyn Kv,
        session: SessionId,
        max: usize,
    ) -> Result<Vec<(u32, u64)>, KvError> {
        let (from, end) = self.keys.sessions(session);
        let rows = kv::take(kv, &from, &end, max)?;
        Ok(rows
            .iter()
            .map(|(key, _)| keys::group_and_delivery(key))
            .collect())
    }
}
