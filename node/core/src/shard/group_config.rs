//! What one consumer group of a queue asks for.

use super::circuit_breaker::CircuitBreaker;
use super::id::DEFAULT_GROUP;
use crate::codec::{Decoded, Put, Reader};

/// Groups of a queue at most, the default one included.
pub const MAX_GROUPS: usize = 1_024;

/// Where a group that is new begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupStart {
    /// With the first message that is still there.
    #[default]
    Beginning,
    /// With what gets its place in line from now on.
    End,
}

/// What one consumer group of a queue asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupConfig {
    /// Never used again: the id of a group that is new is higher than every one before it. 0 is
    /// the default group, which is always there.
    pub id: u32,
    /// Where it begins when it is new; changes nothing later. The default group begins with the
    /// queue.
    pub start: GroupStart,
    /// It gets no deliveries; what it has can be settled.
    pub paused: bool,
    /// Its own deliveries in flight at most, beside the limit of the queue; 0: no limit.
    pub max_in_flight: u32,
    /// When it gets no deliveries for a while, because too many fail; None: never.
    pub breaker: Option<CircuitBreaker>,
    /// Messages delivered per 1,000 s at most, beside a burst of one second's worth or one message;
    /// 0: no limit. What is delivered again counts again.
    pub rate: u64,
}

// Frozen: these bits are in logs and rows. The others are reserved.
const AT_END: u8 = 1;
const PAUSED: u8 = 2;
const HAS_BREAKER: u8 = 4;
const HAS_RATE: u8 = 8;

impl GroupConfig {
    pub(crate) fn encode_all(groups: &[Self], out: &mut Vec<u8>) {
        out.put_varint(groups.len() as u64);
        for group in groups {
            out.put_varint(u64::from(group.id));
            group.encode(out);
        }
    }

    pub(crate) fn decode_all(r: &mut Reader<'_>) -> Decoded<Vec<Self>> {
        let count = r.count(3, "number of groups")?;
        let mut groups = Vec::with_capacity(count);
        for _ in 0..count {
            let id = r.varint_u32("id of group")?;
            groups.push(Self::decode(id, r)?);
        }
        Ok(groups)
    }

    /// Writes all but the id.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let at_end = match self.start {
            GroupStart::Beginning => 0,
            GroupStart::End => AT_END,
        };
        let paused = if self.paused { PAUSED } else { 0 };
        let breaker = self.breaker.map_or(0, |_| HAS_BREAKER);
        let rate = if self.rate != 0 { HAS_RATE } else { 0 };
        out.push(at_end | paused | breaker | rate);
        out.put_varint(u64::from(self.max_in_flight));
        if let Some(breaker) = &self.breaker {
            breaker.encode(out);
        }
        if self.rate != 0 {
            out.put_varint(self.rate);
        }
    }

    /// Reads what `encode` wrote.
    pub(crate) fn decode(id: u32, r: &mut Reader<'_>) -> Decoded<Self> {
        let flags = r.u8("flags of group")?;
        if flags & !(AT_END | PAUSED | HAS_BREAKER | HAS_RATE) != 0 {
            return r.fail("flags of group");
        }
        let has = |bit| flags & bit != 0;
        Ok(Self {
            id,
            start: if has(AT_END) {
                GroupStart::End
            } else {
                GroupStart::Beginning
            },
            paused: has(PAUSED),
            max_in_flight: r.varint_u32("max in flight of group")?,
            breaker: if has(HAS_BREAKER) {
                Some(CircuitBreaker::decode(r)?)
            } else {
                None
            },
            rate: if has(HAS_RATE) {
                r.varint("rate of group")?
            } else {
                0
            },
        })
    }

    /// Whether a queue may have these groups: their ids rise, and they are not too many.
    pub(crate) fn may_be(groups: &[Self]) -> bool {
        let others = groups.iter().filter(|group| group.id != DEFAULT_GROUP);
        let rise = groups.windows(2).all(|pair| pair[0].id < pair[1].id);
        rise && others.count() < MAX_GROUPS
    }
}
