//! Positions: where messages wait in order, 64 to a row.

use super::header::{BLOCK, Block, Header, decode_settled};
use super::id::DEFAULT_GROUP;
use super::partition::{Shared, Step, corrupt};
use crate::kv::{self, Kv, KvError};

impl Shared {
    /// The block of this number; None when all its messages are gone.
    pub(crate) fn block(
        &mut self,
        kv: &dyn Kv,
        number: u64,
    ) -> Result<Option<&mut Block>, KvError> {
        if !self.blocks.find(number) {
            let Some(block) = self.read_block(kv, number)? else {
                return Ok(None);
            };
            self.blocks.insert(number, block);
        }
        Ok(self.blocks.last_mut())
    }

    /// The block of this number as it is in the rows.
    pub(crate) fn read_block(&self, kv: &dyn Kv, number: u64) -> Result<Option<Block>, KvError> {
        let Some(row) = kv.get(&self.keys.block(number))? else {
            return Ok(None);
        };
        let settled = match kv.get(&self.keys.of(DEFAULT_GROUP).settled(number))? {
            Some(row) => decode_settled(&row).map_err(|e| corrupt("settled", self.id(), &e))?,
            None => 0,
        };
        let block = Block::decode(&row, settled).map_err(|e| corrupt("block", self.id(), &e))?;
        Ok(Some(block))
    }

    /// Number of the first block from `number` on that is there.
    pub(crate) fn next_block(&self, kv: &dyn Kv, number: u64) -> Result<Option<u64>, KvError> {
        let cached = self.blocks.next_from(number);
        if cached == Some(number) {
            return Ok(cached);
        }
        let (_, end) = self.keys.kinds(b'm', b'm' + 1);
        let stored = kv::first(kv, &self.keys.block(number), &end)?;
        let stored = stored.map(|(key, _)| super::keys::tail(&key));
        Ok(match (cached, stored) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    /// The header at a position, unless it is gone.
    pub(crate) fn live(&mut self, kv: &dyn Kv, position: u64) -> Result<Option<Header>, KvError> {
        let block = self.block(kv, position / BLOCK)?;
        Ok(block.and_then(|block| block.live(position % BLOCK).copied()))
    }

    /// The header at a position that a row names.
    pub(crate) fn header(&mut self, kv: &dyn Kv, position: u64) -> Result<Header, KvError> {
        let id = self.id();
        self.live(kv, position)?.ok_or_else(|| {
            KvError(format!(
                "partition {id}: a row names position {position}, which is gone"
            ))
        })
    }

    /// The first position from `from` on, before the tail, that is not gone; the tail if none is.
    pub(crate) fn next_live(&mut self, kv: &dyn Kv, from: u64) -> Result<u64, KvError> {
        let tail = self.state.tail;
        let mut position = from;
        while position < tail {
            let Some(block) = self.block(kv, position / BLOCK)? else {
                let next = self.next_block(kv, position / BLOCK + 1)?;
                position = next.map_or(tail, |number| number * BLOCK);
                continue;
            };
            let place = position % BLOCK;
            let skip = u64::from((block.settled >> place).trailing_ones());
            if place + skip < BLOCK {
                return Ok((position + skip).min(tail));
            }
            position = position - place + BLOCK;
        }
        Ok(tail)
    }

    /// Adds a message at the tail and gives its position.
    pub(crate) fn append(&mut self, kv: &dyn Kv, header: Header) -> Result<u64, KvError> {
        let position = self.state.tail;
        let number = position / BLOCK;
        if position.is_multiple_of(BLOCK) {
            self.blocks.insert(number, Block::new());
        }
        let id = self.id();
        let Some(block) = self.block(kv, number)? else {
            return Err(KvError(format!(
                "partition {id}: the block of the tail is not there"
            )));
        };
        block.push(header);
        self.state.tail += 1;
        Ok(position)
    }

    /// Marks a position as gone.
    pub(crate) fn settle_position(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
    ) -> Result<(), KvError> {
        let number = position / BLOCK;
        if let Some(block) = self.block(step.kv, number)? {
            block.settled |= 1 << (position % BLOCK);
            block.settled_dirty = true;
            if block.is_done() {
                self.blocks.remove(number);
                step.kv.delete(&self.keys.block(number));
                let key = self.keys.of(DEFAULT_GROUP).settled(number);
                step.kv.delete(&key);
            }
        }
        Ok(())
    }
}
