//! Positions: where messages wait in order, 64 to a row.

use bytes::Bytes;

use super::block::{Block, decode_settled};
use super::group::{Look, View};
use super::header::{BLOCK, Header};
use super::id::DEFAULT_GROUP;
use super::keys;
use super::partition::{Shared, corrupt};
use super::side::Side;
use super::stream::Stream;
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

    /// The block of this number, with the bits of a group.
    pub(crate) fn block_of(
        &mut self,
        kv: &dyn Kv,
        (group, number): (u32, u64),
    ) -> Result<Option<&mut Block>, KvError> {
        let Some(block) = self.block(kv, number)? else {
            return Ok(None);
        };
        if !block.knows(group) {
            let settled = self.read_settled(kv, group, number)?;
            self.bits_known += 1;
            if let Some(block) = self.blocks.last_mut() {
                block.learn(group, settled);
            }
        }
        Ok(self.blocks.last_mut())
    }

    /// The block of this number as it is in the rows.
    pub(crate) fn read_block(&self, kv: &dyn Kv, number: u64) -> Result<Option<Block>, KvError> {
        let Some(row) = kv.get(&self.keys.block(number))? else {
            return Ok(None);
        };
        let settled = self.read_settled(kv, DEFAULT_GROUP, number)?;
        let block = Block::decode(&row, settled);
        let mut block = block.map_err(|e| corrupt("block", self.id(), &e))?;
        if self.state.sides > 0
            && let Some(row) = kv.get(&self.keys.side(number))?
        {
            let side = Side::decode(&row);
            let side = side.map_err(|e| corrupt("settled places", self.id(), &e))?;
            block.side = Some(Box::new(side));
        }
        Ok(Some(block))
    }

    fn read_settled(&self, kv: &dyn Kv, group: u32, number: u64) -> Result<u64, KvError> {
        let Some(row) = kv.get(&self.keys.of(group).settled(number))? else {
            return Ok(0);
        };
        decode_settled(&row).map_err(|e| corrupt("settled", self.id(), &e))
    }

    /// Number of the first block from `number` on that is there.
    pub(crate) fn next_block(&self, kv: &dyn Kv, number: u64) -> Result<Option<u64>, KvError> {
        let cached = self.blocks.next_from(number);
        if cached == Some(number) {
            return Ok(cached);
        }
        let (_, end) = self.keys.kinds(b'm', b'm' + 1);
        let stored = kv::first(kv, &self.keys.block(number), &end)?;
        let stored = stored.map(|(key, _)| keys::tail(&key));
        Ok(match (cached, stored) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    /// Number of the first block from `number` on that has messages of a stream.
    pub(crate) fn next_block_of(
        &self,
        kv: &dyn Kv,
        stream: Stream,
        number: u64,
    ) -> Result<Option<u64>, KvError> {
        if stream == Stream::BASE {
            return self.next_block(kv, number);
        }
        let (from, end) = (
            self.keys.found(stream, number),
            self.keys.found(stream, u64::MAX),
        );
        Ok(kv::first(kv, &from, &end)?.map(|(key, _)| keys::tail(&key)))
    }

    /// The header at a position, unless it is gone.
    pub(crate) fn live(&mut self, kv: &dyn Kv, position: u64) -> Result<Option<Header>, KvError> {
        let block = self.block(kv, position / BLOCK)?;
        Ok(block.and_then(|block| block.live(position % BLOCK)))
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
        self.next_with(kv, (DEFAULT_GROUP, from), &|block| block.gone())
    }

    /// The first position from `from` on, before the tail, whose bit of its block is not set; the
    /// tail if there is none. The bits of the group are known.
    fn next_with(
        &mut self,
        kv: &dyn Kv,
        (group, from): (u32, u64),
        bits: &dyn Fn(&Block) -> u64,
    ) -> Result<u64, KvError> {
        let tail = self.state.tail;
        let mut position = from;
        while position < tail {
            let number = position / BLOCK;
            let Some(block) = self.block_of(kv, (group, number))? else {
                let next = self.next_block(kv, number + 1)?;
                position = next.map_or(tail, |number| number * BLOCK);
                continue;
            };
            let place = position % BLOCK;
            let skip = u64::from((bits(block) >> place).trailing_ones());
            if place + skip < BLOCK {
                return Ok((position + skip).min(tail));
            }
            position = position - place + BLOCK;
        }
        Ok(tail)
    }

    /// Adds a message at the tail and gives its position.
    #[inline]
    pub(crate) fn append(&mut self, kv: &mut dyn Kv, header: Header) -> Result<u64, KvError> {
        let position = self.state.tail;
        let number = position / BLOCK;
        if position.is_multiple_of(BLOCK) {
            self.blocks.insert(number, Block::new());
        }
        let (id, keys) = (self.id(), self.keys);
        let Some(block) = self.block(kv, number)? else {
            return Err(KvError(format!(
                "partition {id}: the block of the tail is not there"
            )));
        };
        if block.places_of(header.stream) == 0 {
            kv.put(&keys.found(header.stream, number), Bytes::from_static(&[1]));
        }
        block.push(header);
        self.state.tail += 1;
        Ok(position)
    }
}

impl View<'_> {
    /// The first position from `from` on, before the tail, of a message of this stream that this
    /// group has not settled; the tail if there is none.
    pub(crate) fn next_open(
        &mut self,
        kv: &dyn Kv,
        stream: Stream,
        from: u64,
    ) -> Result<u64, KvError> {
        let mut blocks = u64::MAX;
        self.next_within(kv, (stream, from), &mut blocks)
    }

    /// The same, looking at so many blocks at most: then it is the position that it has come to.
    pub(crate) fn next_within(
        &mut self,
        kv: &dyn Kv,
        (stream, from): (Stream, u64),
        blocks: &mut u64,
    ) -> Result<u64, KvError> {
        let group = self.keys.group;
        if stream == Stream::BASE && self.lines.is_empty() {
            *blocks -= 1;
            return self.next_with(kv, (group, from), &|block| block.settled_by(group));
        }
        let tail = self.state.tail;
        let mut position = from.max(self.lines.get(stream).first);
        while position < tail && *blocks > 0 {
            *blocks -= 1;
            let number = position / BLOCK;
            if let Some(block) = self.block_of(kv, (group, number))? {
                let open = block.places_of(stream) & !block.settled_by(group);
                let open = open >> (position % BLOCK);
                if open != 0 {
                    return Ok((position + u64::from(open.trailing_zeros())).min(tail));
                }
            }
            let next = self.next_block_of(kv, stream, number + 1)?;
            position = next.map_or(tail, |number| number * BLOCK);
        }
        Ok(position)
    }

    /// The header at a position, unless this group has settled it or never had to.
    pub(crate) fn open(&mut self, kv: &dyn Kv, position: u64) -> Result<Option<Header>, KvError> {
        if position < self.group.start {
            return Ok(None);
        }
        let group = self.keys.group;
        let block = self.block_of(kv, (group, position / BLOCK))?;
        let place = position % BLOCK;
        let open = block.filter(|block| block.settled_by(group) >> place & 1 == 0);
        Ok(open.and_then(|block| block.live(place)))
    }
}

impl Look<'_> {
    /// Bit i: this group has settled the message at place i of a block that was read from the rows,
    /// or never had to.
    pub(crate) fn settled(
        &self,
        kv: &dyn Kv,
        (number, block): (u64, &mut Block),
    ) -> Result<u64, KvError> {
        let group = self.keys.group;
        if !block.knows(group) {
            block.learn(group, self.read_settled(kv, group, number)?);
        }
        let before = self.group.start.saturating_sub(number * BLOCK).min(BLOCK);
        let before = u64::MAX.checked_shr((BLOCK - before) as u32).unwrap_or(0);
        Ok(block.settled_by(group) | before)
    }
}
