//! When a message is settled: by one group, by all of them, and when it is gone.
//!
//! A message is live until every group that it counts for has settled it. Then it is gone, or it
//! is retained for a while if the queue says so. A group that begins anew may need it again: it
//! stays as long as it is needed, but it does not count as live any more and has no time to live.

use super::block::Block;
use super::config::Ordering;
use super::group::View;
use super::header::{BLOCK, Header};
use super::id::DEFAULT_GROUP;
use super::partition::{Shared, Step};
use super::side::Side;
use super::timer::Timer;
use crate::kv::{self, Kv, KvError};

impl View<'_> {
    /// This group has settled the message at a position. Whether it is gone.
    pub(crate) fn settle(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        header: &Header,
    ) -> Result<bool, KvError> {
        let alone = self.spans.is_empty() && self.config.retain_ms == 0;
        if alone && self.state.sides == 0 {
            return self.settled_by_all(step, position, header);
        }
        let group = self.keys.group;
        let (number, place) = (position / BLOCK, position % BLOCK);
        if !alone {
            self.make_side(step.kv, number)?;
        }
        let needed = self.spans.needed(position);
        let Some(block) = self.block_of(step.kv, (group, number))? else {
            return Ok(false);
        };
        // Without a side the default group is the only one: then it is gone.
        if block.side.is_some() {
            block.set_settled(group, place, true);
            if block.count_one(place) < needed {
                return Ok(false);
            }
        }
        self.settled_by_all(step, position, header)
    }

    /// This group needs a message again that it had settled.
    pub(crate) fn unsettle(&mut self, kv: &dyn Kv, position: u64) -> Result<(), KvError> {
        let (group, place) = (self.keys.group, position % BLOCK);
        if let Some(block) = self.block_of(kv, (group, position / BLOCK))? {
            block.set_settled(group, place, false);
        }
        self.discount(kv, position)
    }
}

impl Shared {
    /// How many groups have settled a message that is not gone.
    pub(crate) fn count(&mut self, kv: &dyn Kv, position: u64) -> Result<u32, KvError> {
        let block = self.block(kv, position / BLOCK)?;
        let side = block.and_then(|block| block.side.as_mut());
        Ok(side.map_or(0, |side| *side.count(position % BLOCK)))
    }

    /// One group less has settled a message that is not gone.
    pub(crate) fn discount(&mut self, kv: &dyn Kv, position: u64) -> Result<(), KvError> {
        let block = self.block(kv, position / BLOCK)?;
        if let Some(block) = block
            && let Some(side) = &mut block.side
        {
            *side.count(position % BLOCK) -= 1;
            block.side_dirty = true;
        }
        Ok(())
    }

    /// Whether all groups had settled a message once: its time to live does not matter any more.
    pub(crate) fn is_retained(&mut self, kv: &dyn Kv, position: u64) -> Result<bool, KvError> {
        let block = self.block(kv, position / BLOCK)?;
        Ok(block.is_some_and(|block| block.is_retained(position % BLOCK)))
    }

    /// The side of a block, made if there is none yet.
    pub(crate) fn make_side(&mut self, kv: &dyn Kv, number: u64) -> Result<(), KvError> {
        let Some(block) = self.block(kv, number)? else {
            return Ok(());
        };
        if block.side.is_none() {
            block.side = Some(Box::new(Side::new(block.settled)));
            block.side_dirty = true;
            self.state.sides += 1;
        }
        Ok(())
    }

    /// All groups have settled the message at a position. Whether it is gone.
    pub(crate) fn settled_by_all(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        header: &Header,
    ) -> Result<bool, KvError> {
        let retain_ms = self.config.retain_ms;
        let was_retained = self.state.sides > 0 && self.is_retained(step.kv, position)?;
        if !was_retained {
            self.count_out(step, position, header);
        }
        if retain_ms == 0 {
            self.drop_position(step, position, header)?;
            return Ok(true);
        }
        if !was_retained {
            self.state.retained += 1;
            self.state.retained_bytes += u64::from(header.payload.len);
        }
        let due = step.now.saturating_add(retain_ms);
        self.retain(step, position, due)?;
        Ok(false)
    }

    /// A message is not live any more.
    fn count_out(&mut self, step: &mut Step<'_>, position: u64, header: &Header) {
        self.state.messages -= 1;
        self.state.bytes -= u64::from(header.payload.len);
        if let Some(due) = header.own_expiry() {
            self.unfile(step.kv, due, Timer::Expiry(position));
        }
    }

    /// A message is gone, also when it would be retained: nothing but its payload is left, which
    /// is for the caller. No group that is not being deleted needs it.
    pub(crate) fn discard(&mut self, step: &mut Step<'_>, position: u64) -> Result<(), KvError> {
        let Some(header) = self.live(step.kv, position)? else {
            return Ok(());
        };
        if !self.is_retained(step.kv, position)? {
            self.count_out(step, position, &header);
        }
        self.drop_position(step, position, &header)
    }

    fn retain(&mut self, step: &mut Step<'_>, position: u64, due: u64) -> Result<(), KvError> {
        let number = position / BLOCK;
        let Some(block) = self.block(step.kv, number)? else {
            return Ok(());
        };
        let Some(side) = &mut block.side else {
            return Ok(());
        };
        *side.time(position % BLOCK) = step.now;
        block.side_dirty = true;
        let filed = side.timer;
        if filed == 0 || due < filed {
            side.timer = due;
            self.unfile(step.kv, filed, Timer::Retained(number));
            self.file(step.kv, due, Timer::Retained(number));
        }
        Ok(())
    }

    /// A message is gone: nothing but its payload is left, which is for the caller to give up.
    pub(crate) fn drop_position(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        header: &Header,
    ) -> Result<(), KvError> {
        let (number, place) = (position / BLOCK, position % BLOCK);
        let Some(block) = self.block(step.kv, number)? else {
            return Ok(());
        };
        let mut retained = false;
        // Of a side that is there a place is gone; without one the default group has settled it.
        if let Some(side) = &mut block.side {
            retained = side.is_retained(place);
            side.set_gone(place);
            block.side_dirty = true;
        }
        block.set_settled(DEFAULT_GROUP, place, true);
        let is_done = block.is_done();
        if retained {
            self.state.retained -= 1;
            self.state.retained_bytes -= u64::from(header.payload.len);
        }
        self.uncount_line(header.stream);
        if self.config.ordering == Ordering::PerKey {
            step.kv.delete(&self.keys.keyed(header.key, position));
            self.uncount_leaving(position, header.key);
            if self.is_early(step.kv, position, header)? {
                self.unfile(step.kv, header.due, Timer::Due(position));
                self.not_early(header.stream);
            }
        }
        if is_done {
            self.drop_block(step.kv, number)?;
        }
        Ok(())
    }

    fn drop_block(&mut self, kv: &mut dyn Kv, number: u64) -> Result<(), KvError> {
        let block = self.blocks.remove(number);
        kv.delete(&self.keys.block(number));
        let streams = block.iter().flat_map(Block::streams);
        streams.for_each(|stream| kv.delete(&self.keys.found(stream, number)));
        let (from, end) = self.keys.settled(number);
        match block.and_then(|block| block.side) {
            None if self.spans.is_empty() => {
                kv.delete(&self.keys.of(DEFAULT_GROUP).settled(number));
            }
            side => {
                for (key, _) in kv::take(kv, &from, &end, usize::MAX)? {
                    kv.delete(&key);
                }
                let Some(side) = side else { return Ok(()) };
                kv.delete(&self.keys.side(number));
                self.state.sides -= 1;
                if side.timer != 0 {
                    self.unfile(kv, side.timer, Timer::Retained(number));
                }
            }
        }
        Ok(())
    }
}
