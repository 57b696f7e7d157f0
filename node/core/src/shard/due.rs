//! What a tick does in one partition: everything that has fallen due, in a bounded piece.

use super::delivery::Returned;
use super::group::View;
use super::header::decode_single;
use super::keys::{self, Keys};
use super::outbox::rows_of;
use super::partition::{Partition, Shared, Step, corrupt};
use super::timer::Timer;
use crate::kv::{self, KvError};

/// Messages that the expiry cursor looks at per tick.
const LOOK_MAX: usize = 4_096;

impl Partition {
    /// Does what is due, in at most `max` steps. How many it took.
    pub(crate) fn tick(&mut self, step: &mut Step<'_>, max: usize) -> Result<usize, KvError> {
        let mut steps = self.fire_timers(step, max)?;
        let end = self.keys.delayed(step.now.saturating_add(1), 0);
        let (from, _) = self.keys.kinds(b'd', b'e');
        for (key, value) in kv::take(step.kv, &from, &end, max.saturating_sub(steps))? {
            let header = decode_single(&value);
            let header = header.map_err(|e| corrupt("delayed message", self.id(), &e))?;
            self.promote(step, &key, header)?;
            steps += 1;
        }
        let end = self.keys.idle(step.now.saturating_add(1), &[]);
        let (from, _) = self.keys.kinds(b'u', b'v');
        for (key, _) in kv::take(step.kv, &from, &end, max.saturating_sub(steps))? {
            self.check_idle(step, &key)?;
            steps += 1;
        }
        if !self.walking.is_empty() {
            steps += self.walk(step, max.saturating_sub(steps))?;
        }
        if self.state.ids != 0 {
            steps += self.forget_ids(step, max.saturating_sub(steps))?;
        }
        self.state.due_hint = self.first_due(step)?;
        Ok(steps)
    }

    fn first_due(&self, step: &Step<'_>) -> Result<u64, KvError> {
        if !self.walking.is_empty() {
            return Ok(step.now);
        }
        let mut first = self.first_forgotten(step.kv)?;
        for kind in [b'd', b't', b'u'] {
            for (key, _) in rows_of(self, step.kv, kind, 1)? {
                first = first.min(Keys::split(&key).map_or(u64::MAX, |(_, rest)| keys::due(rest)));
            }
        }
        Ok(first)
    }

    fn fire_timers(&mut self, step: &mut Step<'_>, max: usize) -> Result<usize, KvError> {
        let end = self.keys.timer(step.now.saturating_add(1), &[]);
        let (from, _) = self.keys.kinds(b't', b'u');
        let mut steps = 0;
        for (key, _) in kv::take(step.kv, &from, &end, max)? {
            if steps >= max {
                break;
            }
            let rest = Keys::split(&key).map_or(&[][..], |(_, rest)| rest);
            let timer = Timer::decode(rest.get(8..).unwrap_or_default());
            let timer = timer.map_err(|e| corrupt("timer", self.id(), &e))?;
            step.kv.delete(&key);
            let left = max - steps;
            steps += 1;
            match timer {
                Timer::Lease(group, delivery) => {
                    if let Some(mut view) = self.settled_view(group) {
                        steps += view.run_out(step, delivery, left)?.saturating_sub(1);
                    }
                }
                Timer::BackOff(group, position) => {
                    if let Some(mut view) = self.settled_view(group) {
                        view.back_off_over(step, position)?;
                    }
                }
                Timer::ExpiryCursor => {
                    steps += self.move_expiry_cursor(step, left)?.saturating_sub(1);
                }
                Timer::Expiry(position) => steps += self.expire_one(step, position)?,
                Timer::Overdue(from) => steps += self.expire_overdue(step, from, left)?,
                Timer::Due(position) => {
                    self.fall_due(step, position)?;
                    steps += self.groups.len() - 1;
                }
                Timer::Retained(block) => steps += self.end_retention(step, block)?,
                Timer::Breaker(group) => {
                    if let Some(mut view) = self.view(group) {
                        view.try_one(step.now);
                    }
                }
                Timer::Retention(block) => steps += self.refresh_retention(step, block, left)?,
            }
        }
        Ok(steps)
    }

    /// Expires messages from the expiry cursor on, at most `max`. How many.
    fn move_expiry_cursor(&mut self, step: &mut Step<'_>, max: usize) -> Result<usize, KvError> {
        self.state.expiry_timer = 0;
        let mut expired = 0;
        for looked in 0.. {
            let from = self.state.expiry_cursor;
            let position = self.next_live(step.kv, from)?;
            self.state.expiry_cursor = position;
            let Some(header) = self.live(step.kv, position)? else {
                break;
            };
            let Some(expiry) = self.expiry(&header) else {
                break;
            };
            if expiry > step.now && header.due == 0 {
                self.file_expiry_cursor(step, expiry);
                break;
            }
            if expired >= max || looked == LOOK_MAX {
                self.file_expiry_cursor(step, step.now);
                break;
            }
            self.state.expiry_cursor += 1;
            if expiry > step.now {
                // A delayed message that has its position already lives longer than those around.
                self.file(step.kv, expiry, Timer::Expiry(position));
            } else {
                expired += self.expire_one(step, position)?;
            }
        }
        Ok(expired)
    }

    /// Expires a message whose time to live is over, for every group that does not lease it: a
    /// leased one is looked at when it comes back. Steps it took.
    fn expire_one(&mut self, step: &mut Step<'_>, position: u64) -> Result<usize, KvError> {
        let Some(header) = self.live(step.kv, position)? else {
            return Ok(0);
        };
        // Not yet over: the time to live has changed, and the expiry cursor comes by again.
        if !self.has_expired(step, position, &header)? {
            return Ok(0);
        }
        self.for_each_group(
            &mut |view| match view.leave_unless_leased(step, position)? {
                Some(back) => view.expire(step, position, back),
                None => Ok(()),
            },
        )?;
        Ok(self.groups.len())
    }

    /// A group has begun with what is there: some of it may have been over when others leased it,
    /// and its timer has come. Looks at messages from a position on, in about `max` steps.
    fn expire_overdue(
        &mut self,
        step: &mut Step<'_>,
        from: u64,
        max: usize,
    ) -> Result<usize, KvError> {
        let (mut position, mut steps) = (from, 0);
        for looked in 0.. {
            position = self.next_live(step.kv, position)?;
            if position >= self.state.tail {
                break;
            }
            if steps >= max || looked == LOOK_MAX {
                self.file(step.kv, step.now, Timer::Overdue(position));
                break;
            }
            steps += self.expire_one(step, position)?;
            position += 1;
        }
        Ok(steps)
    }

    /// The time to live has changed: the expiry cursor begins anew.
    pub(crate) fn refile_expiry(&mut self, step: &mut Step<'_>) -> Result<(), KvError> {
        if self.state.expiry_timer != 0 {
            self.unfile(step.kv, self.state.expiry_timer, Timer::ExpiryCursor);
            self.state.expiry_timer = 0;
        }
        self.state.expiry_cursor = self.next_live(step.kv, 0)?;
        if self.state.expiry_cursor < self.state.tail && self.config.ttl_ms != 0 {
            self.file_expiry_cursor(step, step.now);
        }
        Ok(())
    }
}

impl View<'_> {
    fn back_off_over(&mut self, step: &mut Step<'_>, position: u64) -> Result<(), KvError> {
        let key = self.keys.backing_off(position);
        let Some(row) = step.kv.get(&key)? else {
            return Ok(());
        };
        let back = Returned::decode(&row);
        let back = back.map_err(|e| corrupt("returned message", self.id(), &e))?;
        step.kv.delete(&key);
        self.group.backing_off -= 1;
        let stream = self.stream_at(step.kv, position)?;
        self.make_returned(step, (position, stream), back);
        Ok(())
    }
}

impl Shared {
    pub(crate) fn file_expiry_cursor(&mut self, step: &mut Step<'_>, due: u64) {
        self.state.expiry_timer = due;
        self.file(step.kv, due, Timer::ExpiryCursor);
    }
}
