//! How long a message can be replayed after all groups have settled it.
//!
//! Each message has its own time, kept with its block; a block has one timer, for the first one
//! that has been retained long enough. One that a group needs again stays until it has settled it,
//! and for the whole time after that.

use super::header::BLOCK;
use super::partition::{Shared, Step};
use super::timer::Timer;
use crate::kv::{Kv, KvError};

impl Shared {
    /// A block's timer has come: what has been retained long enough is gone. How many messages.
    pub(crate) fn end_retention(
        &mut self,
        step: &mut Step<'_>,
        number: u64,
    ) -> Result<usize, KvError> {
        self.set_timer(step.kv, number, 0)?;
        let (mut next, mut gone) = (u64::MAX, 0);
        for position in number * BLOCK..(number + 1) * BLOCK {
            let Some(since) = self.retained_since(step.kv, position)? else {
                continue;
            };
            let due = since.saturating_add(self.config.retain_ms);
            if due > step.now {
                next = next.min(due);
                continue;
            }
            self.end_retained(step, position)?;
            gone += 1;
        }
        if next != u64::MAX {
            self.set_timer(step.kv, number, next)?;
            self.file(step.kv, next, Timer::Retained(number));
        }
        Ok(gone)
    }

    /// A message is gone if it is only retained.
    pub(crate) fn end_retained(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
    ) -> Result<(), KvError> {
        if self.retained_since(step.kv, position)?.is_some() {
            let header = self.header(step.kv, position)?;
            self.drop_position(step, position, &header)?;
            Self::free(step, &header)?;
        }
        Ok(())
    }

    /// When the last group had settled a message that no group needs; None: one does, or it is
    /// gone.
    fn retained_since(&mut self, kv: &dyn Kv, position: u64) -> Result<Option<u64>, KvError> {
        let needed = self.spans.needed(position);
        let block = self.block(kv, position / BLOCK)?;
        let Some(side) = block.and_then(|block| block.side.as_mut()) else {
            return Ok(None);
        };
        let place = position % BLOCK;
        let idle = side.is_retained(place) && *side.count(place) >= needed;
        Ok(idle.then(|| *side.time(place)))
    }

    /// Notes under which due time a block's timer is filed. The one before.
    fn set_timer(&mut self, kv: &dyn Kv, number: u64, due: u64) -> Result<u64, KvError> {
        let Some(block) = self.block(kv, number)? else {
            return Ok(0);
        };
        let Some(side) = &mut block.side else {
            return Ok(0);
        };
        block.side_dirty = true;
        Ok(std::mem::replace(&mut side.timer, due))
    }

    /// The time of retention has changed: looks at the blocks from `number` on, in about `max`
    /// steps. How many it took.
    pub(crate) fn refresh_retention(
        &mut self,
        step: &mut Step<'_>,
        number: u64,
        max: usize,
    ) -> Result<usize, KvError> {
        let (mut number, mut steps) = (number, 0);
        while let Some(next) = self.next_block(step.kv, number)? {
            if steps >= max {
                self.file(step.kv, step.now, Timer::Retention(next));
                break;
            }
            let filed = self.set_timer(step.kv, next, 0)?;
            self.unfile(step.kv, filed, Timer::Retained(next));
            steps += 1 + self.end_retention(step, next)?;
            number = next + 1;
        }
        Ok(steps)
    }
}
