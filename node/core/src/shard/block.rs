//! 64 positions: their headers, packed into one row, and who has settled them.

use std::collections::BTreeMap;

use super::header::{BLOCK, Base, Header};
use super::id::DEFAULT_GROUP;
use super::side::Side;
use super::stream::Stream;
use crate::codec::{Decoded, Put, Reader};

const VERSION: u8 = 1;

/// The headers of one row, decoded, with which of them are settled.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) headers: Vec<Header>,
    /// Bit i: the default group has settled the message at place i. Where there is no `side` it is
    /// gone then.
    pub(crate) settled: u64,
    /// The row must be written.
    pub(crate) dirty: bool,
    /// The row of the default group's bits must be written.
    pub(crate) settled_dirty: bool,
    /// What the default group's bits do not say.
    pub(crate) side: Option<Box<Side>>,
    /// The side's row must be written or deleted.
    pub(crate) side_dirty: bool,
    /// Bit i: the message at place i is of another stream than the base one.
    apart: u64,
    /// Which places are of which of these streams.
    streams: Vec<(Stream, u64)>,
    /// Bits of other groups, as far as they were needed.
    others: BTreeMap<u32, Bits>,
    encoded: Vec<u8>,
    base: Base,
}

impl Block {
    pub(crate) fn new() -> Self {
        Self {
            headers: Vec::with_capacity(BLOCK as usize),
            settled: 0,
            dirty: false,
            settled_dirty: false,
            side: None,
            side_dirty: false,
            apart: 0,
            streams: Vec::new(),
            others: BTreeMap::new(),
            encoded: vec![VERSION],
            base: Base::default(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, header: Header) {
        header.encode(&mut self.base, &mut self.encoded);
        self.add(header);
        self.dirty = true;
    }

    #[inline]
    fn add(&mut self, header: Header) {
        if header.stream != Stream::BASE {
            self.add_apart(header.stream);
        }
        self.headers.push(header);
    }

    #[cold]
    fn add_apart(&mut self, stream: Stream) {
        let place = self.headers.len();
        self.apart |= 1 << place;
        match self.streams.iter_mut().find(|(of, _)| *of == stream) {
            Some((_, places)) => *places |= 1 << place,
            None => self.streams.push((stream, 1 << place)),
        }
    }

    /// Bit i: the message at place i is of this stream, or there is none yet.
    pub(crate) fn places_of(&self, stream: Stream) -> u64 {
        if stream == Stream::BASE {
            return !self.apart;
        }
        let found = self.streams.iter().find(|(of, _)| *of == stream);
        found.map_or(0, |(_, places)| *places)
    }

    /// The streams beside the base one that it has messages of.
    pub(crate) fn streams(&self) -> impl Iterator<Item = Stream> {
        self.streams.iter().map(|(stream, _)| *stream)
    }

    /// The row: what was pushed so far.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    pub(crate) fn decode(value: &[u8], settled: u64) -> Decoded<Self> {
        let mut block = Self {
            settled,
            encoded: value.to_vec(),
            ..Self::new()
        };
        let mut r = Reader::new(value);
        r.version(VERSION, "version of block")?;
        while !r.is_empty() {
            if block.headers.len() as u64 == BLOCK {
                return r.fail("a block of at most 64");
            }
            let header = Header::decode(&mut block.base, &mut r)?;
            block.add(header);
        }
        Ok(block)
    }

    /// Bit i: the message at place i is gone: no group needs it, and it is not retained.
    pub(crate) fn gone(&self) -> u64 {
        self.side.as_ref().map_or(self.settled, |side| side.gone)
    }

    /// The header at a place, unless it is gone. It says where the payload is now.
    pub(crate) fn live(&self, place: u64) -> Option<Header> {
        if self.gone() >> place & 1 == 1 {
            return None;
        }
        let mut header = *self.headers.get(place as usize)?;
        if let Some(side) = &self.side {
            header.loose |= side.held >> place & 1 == 1;
        }
        Some(header)
    }

    /// Whether all groups had settled the message at a place once.
    pub(crate) fn is_retained(&self, place: u64) -> bool {
        let side = self.side.as_ref();
        side.is_some_and(|side| side.is_retained(place))
    }

    /// Every place is taken and gone.
    pub(crate) fn is_done(&self) -> bool {
        self.gone() == u64::MAX
    }

    /// Bit i: the message at place i is gone, or this group has settled it. The bits of a group
    /// beside the default one must be known.
    pub(crate) fn settled_by(&self, group: u32) -> u64 {
        if group == DEFAULT_GROUP {
            return self.settled;
        }
        self.gone() | self.others.get(&group).map_or(0, |bits| bits.settled)
    }

    /// Whether the bits of a group are known.
    pub(crate) fn knows(&self, group: u32) -> bool {
        group == DEFAULT_GROUP || self.others.contains_key(&group)
    }

    /// These are the bits of a group that its row holds.
    pub(crate) fn learn(&mut self, group: u32, settled: u64) {
        let dirty = false;
        self.others.insert(group, Bits { settled, dirty });
    }

    /// A group has settled a message, or it has not any more.
    pub(crate) fn set_settled(&mut self, group: u32, place: u64, settled: bool) {
        let (bits, dirty) = if group == DEFAULT_GROUP {
            (&mut self.settled, &mut self.settled_dirty)
        } else {
            let Bits { settled, dirty } = self.others.entry(group).or_default();
            (settled, dirty)
        };
        *dirty = true;
        if settled {
            *bits |= 1 << place;
        } else {
            *bits &= !(1 << place);
        }
    }

    /// One group more has settled a message. How many have.
    pub(crate) fn count_one(&mut self, place: u64) -> u32 {
        let Some(side) = &mut self.side else {
            return 0;
        };
        self.side_dirty = true;
        *side.count(place) += 1;
        *side.count(place)
    }

    /// Forgets the bits of a group that is no more.
    pub(crate) fn forget(&mut self, group: u32) {
        self.others.remove(&group);
    }

    /// What changed: visits the rows of bits that must be written.
    pub(crate) fn changed_bits(&mut self, write: &mut dyn FnMut(u32, u64)) {
        if std::mem::take(&mut self.settled_dirty) {
            write(DEFAULT_GROUP, self.settled);
        }
        for (group, bits) in &mut self.others {
            if std::mem::take(&mut bits.dirty) {
                write(*group, bits.settled);
            }
        }
    }
}

/// The bits of a group, and whether their row must be written.
#[derive(Debug, Clone, Copy, Default)]
struct Bits {
    settled: u64,
    dirty: bool,
}

/// Encodes the row of settled bits.
pub(crate) fn encode_settled(settled: u64) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_u64(settled);
    out
}

/// Reads the row of settled bits.
pub(crate) fn decode_settled(value: &[u8]) -> Decoded<u64> {
    let mut r = Reader::new(value);
    r.version(VERSION, "version of settled bits")?;
    let settled = r.u64("settled bits")?;
    r.finish("end of settled bits")?;
    Ok(settled)
}
