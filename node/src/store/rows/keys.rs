//! Keys and values of the environment's tables. Numbers in keys are big-endian, so that they sort.
//!
//! ```text
//! groups    group:2                                      version, GroupRow
//! rows      group:2 generation:4 key                     the core's value
//! payloads  group:2 generation:4 index:8 offset:4 chunk:2   CRC32C, up to 4,076 bytes
//! garbage   'F' group:2 generation:4 index:8 offset:4 len:4   a payload freed while it was held
//!           'G' group:2 generation:4                     a generation to be deleted
//! ```

use roadstead_core::shard::PayloadRef;

use crate::raft::types::{GroupId, LogId, StoredMembership};
use crate::store::codec::{Take, put_optional_log_id, put_stored_membership};

/// Longest key of the core: LMDB's 511 less group and generation.
pub(in crate::store) const LONGEST_KEY: usize = 505;

/// Payload bytes of a chunk: with their CRC one page of LMDB.
pub(in crate::store) const CHUNK: usize = 4_076;

const VERSION: u8 = 1;

/// The rows of one group live under a generation; a snapshot is installed beside it as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Space {
    pub group: GroupId,
    pub generation: u32,
}

impl Space {
    pub(in crate::store) fn prefix(self) -> [u8; 6] {
        let mut out = [0; 6];
        out[..2].copy_from_slice(&self.group.to_be_bytes());
        out[2..].copy_from_slice(&self.generation.to_be_bytes());
        out
    }

    /// First key beyond the space.
    pub(in crate::store) fn end(self) -> Vec<u8> {
        let number = u64::from(self.group) << 32 | u64::from(self.generation);
        (number + 1).to_be_bytes()[2..].to_vec()
    }

    pub(in crate::store) fn row(self, key: &[u8]) -> Vec<u8> {
        [&self.prefix()[..], key].concat()
    }

    pub(in crate::store) fn chunk(self, at: PayloadRef, chunk: u16) -> [u8; 20] {
        let mut out = [0; 20];
        out[..6].copy_from_slice(&self.prefix());
        out[6..14].copy_from_slice(&at.index.to_be_bytes());
        out[14..18].copy_from_slice(&at.offset.to_be_bytes());
        out[18..].copy_from_slice(&chunk.to_be_bytes());
        out
    }

    pub(in crate::store) fn freed(self, at: PayloadRef) -> Vec<u8> {
        let numbers = [&at.index.to_be_bytes()[..], &at.offset.to_be_bytes()].concat();
        [b"F", &self.prefix()[..], &numbers, &at.len.to_be_bytes()].concat()
    }

    pub(in crate::store) fn doomed(self) -> Vec<u8> {
        [b"G", &self.prefix()[..]].concat()
    }
}

/// What a row of the garbage table names.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Garbage {
    Payload(Space, PayloadRef),
    Generation(Space),
}

impl Garbage {
    pub(in crate::store) fn decode(key: &[u8]) -> Option<Self> {
        let kind = *key.first()?;
        let group = u16::from_be_bytes(key.get(1..3)?.try_into().ok()?);
        let generation = u32::from_be_bytes(key.get(3..7)?.try_into().ok()?);
        let space = Space { group, generation };
        match (kind, key.len()) {
            (b'F', 23) => Some(Self::Payload(
                space,
                PayloadRef {
                    index: u64::from_be_bytes(key[7..15].try_into().ok()?),
                    offset: u32::from_be_bytes(key[15..19].try_into().ok()?),
                    len: u32::from_be_bytes(key[19..23].try_into().ok()?),
                },
            )),
            (b'G', 7) => Some(Self::Generation(space)),
            _ => None,
        }
    }
}

/// Number of chunks of a payload; an empty one has one.
pub(in crate::store) fn chunks(len: u32) -> u16 {
    u16::try_from((len as usize).div_ceil(CHUNK).max(1)).unwrap_or(u16::MAX)
}

/// What is durable about a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct GroupRow {
    pub generation: u32,
    /// The highest generation ever begun.
    pub last_generation: u32,
    /// Live payloads of entries before this index are in the environment.
    pub moved: u64,
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
}

impl GroupRow {
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.last_generation.to_le_bytes());
        out.extend_from_slice(&self.moved.to_le_bytes());
        put_optional_log_id(&mut out, self.applied.as_ref());
        put_stored_membership(&mut out, &self.membership);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub(in crate::store) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut take = Take(body);
        if take.u8()? != VERSION {
            return None;
        }
        let row = Self {
            generation: take.u32()?,
            last_generation: take.u32()?,
            moved: take.u64()?,
            applied: take.optional_log_id()?,
            membership: take.stored_membership()?,
        };
        take.0.is_empty().then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::LeaderId;

    const SPACE: Space = Space {
        group: 3,
        generation: 7,
    };
    const AT: PayloadRef = PayloadRef {
        index: 9,
        offset: 11,
        len: 13,
    };

    #[test]
    fn spaces_do_not_overlap() {
        assert!(SPACE.row(&[0xFF; 505]) < SPACE.end());
        assert!(
            SPACE.end()
                <= Space {
                    group: 3,
                    generation: 8
                }
                .row(b"")
        );
        let last = Space {
            group: 3,
            generation: u32::MAX,
        };
        assert_eq!(
            last.end(),
            Space {
                group: 4,
                generation: 0
            }
            .prefix()
        );
    }

    #[test]
    fn garbage_and_group_rows_come_back() {
        assert_eq!(
            Garbage::decode(&SPACE.freed(AT)),
            Some(Garbage::Payload(SPACE, AT))
        );
        assert_eq!(
            Garbage::decode(&SPACE.doomed()),
            Some(Garbage::Generation(SPACE))
        );
        let leader_id = LeaderId {
            term: 1,
            node_id: 2,
        };
        let row = GroupRow {
            generation: 1,
            last_generation: 2,
            moved: 3,
            applied: Some(LogId {
                leader_id,
                index: 4,
            }),
            membership: StoredMembership::default(),
        };
        let bytes = row.encode();
        assert_eq!(GroupRow::decode(&bytes), Some(row));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(GroupRow::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn payloads_are_cut_into_chunks_of_a_page() {
        assert_eq!([0, 1, 4_076, 4_077].map(chunks), [1, 1, 1, 2]);
    }
}
