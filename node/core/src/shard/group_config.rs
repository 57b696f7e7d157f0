//! What one consumer group of a queue asks for.

use crate::codec::{Decoded, Put, Reader};

use super::id::DEFAULT_GROUP;

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
    /// Deliveries in flight at most; 0: as the queue says.
    pub max_in_flight: u32,
}

// Frozen: these bits are in logs and rows. The others are reserved.
const AT_END: u8 = 1;
const PAUSED: u8 = 2;

impl GroupConfig {
    pub(crate) fn encode_all(groups: &[Self], out: &mut Vec<u8>) {
        out.put_varint(groups.len() as u64);
        for group in groups {
            let at_end = match group.start {
                GroupStart::Beginning => 0,
                GroupStart::End => AT_END,
            };
            out.put_varint(u64::from(group.id));
            out.push(at_end | if group.paused { PAUSED } else { 0 });
            out.put_varint(u64::from(group.max_in_flight));
        }
    }

    pub(crate) fn decode_all(r: &mut Reader<'_>) -> Decoded<Vec<Self>> {
        let count = r.count(3, "number of groups")?;
        let mut groups = Vec::with_capacity(count);
        for _ in 0..count {
            let id = r.varint_u32("id of group")?;
            let flags = r.u8("flags of group")?;
            if flags & !(AT_END | PAUSED) != 0 {
                return r.fail("flags of group");
            }
            groups.push(Self {
                id,
                start: if flags & AT_END == 0 {
                    GroupStart::Beginning
                } else {
                    GroupStart::End
                },
                paused: flags & PAUSED != 0,
                max_in_flight: r.varint_u32("max in flight of group")?,
            });
        }
        Ok(groups)
    }

    /// Whether a queue may have these groups: their ids rise, and they are not too many.
    pub(crate) fn may_be(groups: &[Self]) -> bool {
        let others = groups.iter().filter(|group| group.id != DEFAULT_GROUP);
        let rise = groups.windows(2).all(|pair| pair[0].id < pair[1].id);
        rise && others.count() < MAX_GROUPS
    }
}
