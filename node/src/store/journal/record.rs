//! Records: what the journal says about one group, one after the other.
//!
//! ```text
//!  0  u32  CRC32C of the rest
//!  4  u32  length of the body
//!  8  u32  low half of the number of the frame it is in, so that what an earlier use of the
//!          segment left at the same place is never taken for it
//! 12  u16  group
//! 14  u8   kind
//! 15  u8   version of the body
//! 16  ..   body
//! ```

use bytes::Bytes;
use openraft::EntryPayload;

use super::super::codec::{
    LOG_ID_BYTES, Take, put_log_id, put_membership, put_optional_log_id, put_vote,
};
use crate::raft::types::{Entry, EntryData, GroupId, LogId, Vote};

/// Bytes before a record's body.
pub(super) const RECORD_HEADER: usize = 16;

/// Bytes of an entry's body before the entry's data.
pub(super) const ENTRY_PREFIX: usize = LOG_ID_BYTES + 1;

const VERSION: u8 = 1;

const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const TRUNCATE: u8 = 3;
const PURGE: u8 = 4;
const COMMITTED: u8 = 5;
const STATE: u8 = 6;
const FORGET: u8 = 7;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// What one record says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// The next entry of the group's log.
    Entry(Entry),
    /// The group's vote.
    Vote(Vote),
    /// Entries after this one are gone.
    Truncate(Option<LogId>),
    /// Entries up to this one are no longer Raft's.
    Purge(LogId),
    /// Raft has seen this entry committed.
    Committed(LogId),
    /// At the head of a segment: everything about the group but its entries.
    State(GroupMarks),
    /// The log is empty again; the vote stays.
    Forget,
}

/// Everything the journal keeps of a group beside its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GroupMarks {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    pub committed: Option<LogId>,
}

impl Record {
    /// Bytes of the encoded record, at least; exact for entries with data.
    pub(super) fn size_hint(&self) -> usize {
        let body = match self {
            Self::Entry(entry) => match &entry.payload {
                EntryPayload::Blank => ENTRY_PREFIX,
                EntryPayload::Normal(data) => ENTRY_PREFIX + data.0.len(),
                EntryPayload::Membership(m) => {
                    let nodes: usize = m.nodes().map(|(_, node)| 10 + node.addr.len()).sum();
                    let configs = m.get_joint_config();
                    let voters: usize = configs.iter().map(|c| 2 + 8 * c.len()).sum();
                    ENTRY_PREFIX + 4 + voters + nodes
                }
            },
            Self::Vote(_) | Self::Truncate(_) | Self::Purge(_) | Self::Committed(_) => {
                1 + LOG_ID_BYTES
            }
            Self::State(_) => 3 + 3 * LOG_ID_BYTES,
            Self::Forget => 0,
        };
        RECORD_HEADER + body
    }

    /// Appends the record to a frame's body.
    pub(super) fn encode(&self, out: &mut Vec<u8>, group: GroupId, frame: u64) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&(frame as u32).to_le_bytes());
        out.extend_from_slice(&group.to_le_bytes());
        out.extend_from_slice(&[self.kind(), VERSION]);
        match self {
            Self::Entry(entry) => encode_entry(out, entry),
            Self::Vote(vote) => put_vote(out, vote),
            Self::Truncate(last) => put_optional_log_id(out, last.as_ref()),
            Self::Purge(id) | Self::Committed(id) => put_log_id(out, id),
            Self::State(marks) => {
                out.push(u8::from(marks.vote.is_some()));
                if let Some(vote) = &marks.vote {
                    put_vote(out, vote);
                }
                put_optional_log_id(out, marks.purged.as_ref());
                put_optional_log_id(out, marks.committed.as_ref());
            }
            Self::Forget => {}
        }
        let length = (out.len() - start - RECORD_HEADER) as u32;
        out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Entry(_) => ENTRY,
            Self::Vote(_) => VOTE,
            Self::Truncate(_) => TRUNCATE,
            Self::Purge(_) => PURGE,
            Self::Committed(_) => COMMITTED,
            Self::State(_) => STATE,
            Self::Forget => FORGET,
        }
    }
}

fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_log_id(out, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => out.push(BLANK),
        EntryPayload::Normal(data) => {
            out.push(NORMAL);
            out.extend_from_slice(&data.0);
        }
        EntryPayload::Membership(membership) => {
            out.push(MEMBERSHIP);
            put_membership(out, membership);
        }
    }
}

/// A decoded record with its place.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub group: GroupId,
    pub record: Record,
    /// Bytes it takes, header included.
    pub size: usize,
}

/// Decodes the record at `offset` of `bytes`, which share their memory with an entry's data.
///
/// `frame` is the number of the frame it must belong to, if that is known.
pub(super) fn decode(bytes: &Bytes, offset: usize, frame: Option<u64>) -> Result<Decoded, String> {
    let rest = bytes
        .get(offset..)
        .ok_or("the record begins beyond the end")?;
    let mut take = Take(rest);
    let mut header = || {
        Some((
            take.u32()?,
            take.u32()?,
            take.u32()?,
            take.u16()?,
            take.u8()?,
        ))
    };
    let (crc, length, half, group, kind) = header().ok_or("the record's header is cut")?;
    let version = take.u8().ok_or("the record's header is cut")?;
    let size = RECORD_HEADER + length as usize;
    let covered = rest
        .get(4..size)
        .ok_or("the record reaches beyond the end")?;
    let found = crc32c::crc32c(covered);
    if found != crc {
        return Err(format!(
            "CRC32C is {found:#010x}, not {crc:#010x} as written"
        ));
    }
    if frame.is_some_and(|frame| frame as u32 != half) {
        return Err("the record belongs to an earlier use of the segment".into());
    }
    if version != VERSION {
        return Err(format!(
            "record version {version} is not known to this version"
        ));
    }
    let body = bytes.slice(offset + RECORD_HEADER..offset + size);
    let record = decode_body(kind, &body).ok_or_else(|| format!("no record of kind {kind}"))?;
    Ok(Decoded {
        group,
        record,
        size,
    })
}

fn decode_body(kind: u8, body: &Bytes) -> Option<Record> {
    let mut take = Take(body);
    let record = match kind {
        ENTRY => {
            let log_id = take.log_id()?;
            let payload = match take.u8()? {
                BLANK => EntryPayload::Blank,
                NORMAL => {
                    take.0 = &[];
                    EntryPayload::Normal(EntryData(body.slice(ENTRY_PREFIX..)))
                }
                MEMBERSHIP => EntryPayload::Membership(take.membership()?),
                _ => return None,
            };
            Record::Entry(Entry { log_id, payload })
        }
        VOTE => Record::Vote(take.vote()?),
        TRUNCATE => Record::Truncate(take.optional_log_id()?),
        PURGE => Record::Purge(take.log_id()?),
        COMMITTED => Record::Committed(take.log_id()?),
        STATE => Record::State(GroupMarks {
            vote: if take.flag()? {
                Some(take.vote()?)
            } else {
                None
            },
            purged: take.optional_log_id()?,
            committed: take.optional_log_id()?,
        }),
        FORGET => Record::Forget,
        _ => return None,
    };
    take.0.is_empty().then_some(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::raft::types::LeaderId;

    /// Both halves matter only to whoever mixes them up.
    const FRAME: u64 = (1 << 33) + 77;

    fn id(index: u64) -> LogId {
        LogId {
            leader_id: LeaderId {
                term: 2,
                node_id: 3,
            },
            index,
        }
    }

    fn entry(index: u64, data: &'static [u8]) -> Record {
        let payload = EntryPayload::Normal(EntryData(Bytes::from_static(data)));
        Record::Entry(Entry {
            log_id: id(index),
            payload,
        })
    }

    fn every_kind() -> Vec<Record> {
        let marks = GroupMarks {
            vote: Some(Vote::new(1, 2)),
            purged: Some(id(4)),
            committed: None,
        };
        vec![
            entry(5, b"hello"),
            Record::Entry(Entry {
                log_id: id(6),
                payload: EntryPayload::Blank,
            }),
            Record::Vote(Vote::new_committed(7, 8)),
            Record::Truncate(Some(id(9))),
            Record::Purge(id(10)),
            Record::Committed(id(11)),
            Record::State(marks),
            Record::Forget,
        ]
    }

    fn encoded(record: &Record) -> Bytes {
        let mut out = Vec::new();
        record.encode(&mut out, 12, FRAME);
        out.into()
    }

    #[test]
    fn every_kind_comes_back_and_fits_its_hint() {
        for record in every_kind() {
            let bytes = encoded(&record);
            assert!(bytes.len() <= record.size_hint());
            let decoded = decode(&bytes, 0, Some(FRAME)).unwrap();
            assert_eq!(
                decoded,
                Decoded {
                    group: 12,
                    record,
                    size: bytes.len()
                }
            );
        }
    }

    #[test]
    fn a_flipped_bit_a_cut_and_another_frame_are_errors() {
        for record in every_kind() {
            let bytes = encoded(&record);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                decode(&flipped.into(), 0, None).unwrap_err();
            }
            for cut in 0..bytes.len() {
                decode(&bytes.slice(..cut), 0, None).unwrap_err();
            }
            decode(&bytes, 0, Some(78)).unwrap_err();
        }
    }

    #[test]
    fn the_bytes_of_version_1_stay() {
        let digits = b"0123456789abcdef";
        let bytes = encoded(&entry(5, b"hi"));
        let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let hex: String = nibbles
            .map(|n| char::from(digits[usize::from(n)]))
            .collect();
        assert_eq!(
            hex,
            "6a46e8fc".to_owned()
                + "1b0000004d0000000c000101"
                + "02000000000000000300000000000000050000000000000001"
                + "6869"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, offset in 0_usize..64) {
            let _ = decode(&bytes.into(), offset, None);
        }

        #[test]
        fn any_body_with_a_good_crc_is_decoded_or_refused(kind in 0_u8..9, body: Vec<u8>) {
            let _ = decode_body(kind, &body.into());
        }
    }
}
