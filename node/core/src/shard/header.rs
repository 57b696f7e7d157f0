//! What is known of a waiting message, and how it is packed into a row.

use super::id::{MessageId, PartitionId, PayloadRef, put_message_id, read_message_id};
use super::stream::{MAX_PRIORITY, Stream};
use crate::codec::{Decoded, Put, Reader};

/// Positions per block: one bit each in a word.
pub(crate) const BLOCK: u64 = 64;

/// A message as a row holds it. Never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Header {
    /// Sequence in this partition, from 1.
    pub(crate) sequence: u64,
    pub(crate) payload: PayloadRef,
    /// When it was first accepted, ms.
    pub(crate) enqueued_at: u64,
    /// When it got its position, ms: never before the one that got the position before it.
    pub(crate) in_line_since: u64,
    /// Hash of its ordering key; 0: none.
    pub(crate) key: u64,
    /// Its own time to live in ms, from when it is receivable on; 0: none.
    pub(crate) ttl: u64,
    /// Of a delayed message that has its position already, because it has to keep its key's
    /// order: when it is due, ms; 0: none.
    pub(crate) due: u64,
    /// Where it was first accepted, when that was elsewhere.
    /// The sequence is 0 when it was here. Not an `Option`: a header is copied for every message
    /// acked, and what is larger is copied by a call.
    pub(crate) origin_queue: u64,
    pub(crate) origin_partition: u32,
    pub(crate) origin_sequence: u64,
    /// Its payload has a row of its own: positions and log indexes do not rise together.
    pub(crate) loose: bool,
    /// 0..=9.
    pub(crate) priority: u8,
    /// Hash of its tenant; 0: none.
    pub(crate) tenant: u64,
    /// Where it goes; of one without position it is not known.
    pub(crate) stream: Stream,
}

// Frozen: these bits are in rows.
const HAS_KEY: u8 = 1;
const HAS_DUE: u8 = 2;
const HAS_ORIGIN: u8 = 4;
const LOOSE: u8 = 8;
const HAS_IN_LINE: u8 = 16;
const HAS_TTL: u8 = 32;
/// It has a priority, or a stream beside the base one.
const HAS_STREAM: u8 = 64;
const HAS_TENANT: u8 = 128;

/// What the next header of a row is written relative to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Base {
    sequence: u64,
    index: u64,
    enqueued_at: u64,
}

/// How far a number is from another one, small in both directions.
pub(crate) fn zigzag(new: u64, old: u64) -> u64 {
    let delta = new.wrapping_sub(old).cast_signed();
    ((delta << 1) ^ (delta >> 63)).cast_unsigned()
}

/// The number that is so far from another one.
pub(crate) fn unzigzag(value: u64, old: u64) -> u64 {
    old.wrapping_add((value >> 1) ^ (value & 1).wrapping_neg())
}

impl Header {
    /// The message's id.
    pub(crate) fn id(&self, partition: PartitionId) -> MessageId {
        self.origin().unwrap_or(MessageId {
            queue: partition.queue,
            partition: partition.partition,
            sequence: self.sequence,
        })
    }

    /// A message that was first accepted elsewhere.
    pub(crate) fn from_elsewhere(origin: MessageId) -> Self {
        Self {
            origin_queue: origin.queue,
            origin_partition: origin.partition,
            origin_sequence: origin.sequence,
            ..Self::default()
        }
    }

    fn origin(&self) -> Option<MessageId> {
        (self.origin_sequence != 0).then_some(MessageId {
            queue: self.origin_queue,
            partition: self.origin_partition,
            sequence: self.origin_sequence,
        })
    }

    /// When its time to live begins, ms.
    pub(crate) fn ready_from(&self) -> u64 {
        self.in_line_since.max(self.due)
    }

    /// When its own time to live is over, ms.
    pub(crate) fn own_expiry(&self) -> Option<u64> {
        (self.ttl != 0).then(|| self.ready_from().saturating_add(self.ttl))
    }

    fn has_stream(&self) -> bool {
        self.priority != 0 || self.stream != Stream::BASE
    }

    fn base(&self) -> Base {
        let Self {
            sequence,
            payload,
            enqueued_at,
            ..
        } = *self;
        Base {
            sequence,
            index: payload.index,
            enqueued_at,
        }
    }

    pub(crate) fn encode(&self, base: &mut Base, out: &mut Vec<u8>) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            flag(self.key != 0, HAS_KEY)
                | flag(self.due != 0, HAS_DUE)
                | flag(self.origin_sequence != 0, HAS_ORIGIN)
                | flag(self.loose, LOOSE)
                | flag(self.in_line_since != self.enqueued_at, HAS_IN_LINE)
                | flag(self.ttl != 0, HAS_TTL)
                | flag(self.has_stream(), HAS_STREAM)
                | flag(self.tenant != 0, HAS_TENANT),
        );
        out.put_varint(zigzag(self.sequence, base.sequence));
        out.put_varint(zigzag(self.payload.index, base.index));
        out.put_varint(u64::from(self.payload.offset));
        out.put_varint(u64::from(self.payload.len));
        out.put_varint(zigzag(self.enqueued_at, base.enqueued_at));
        if self.key != 0 {
            out.put_u64(self.key);
        }
        if self.due != 0 {
            out.put_varint(self.due);
        }
        if let Some(origin) = self.origin() {
            put_message_id(out, origin);
        }
        if self.in_line_since != self.enqueued_at {
            out.put_varint(self.in_line_since);
        }
        if self.ttl != 0 {
            out.put_varint(self.ttl);
        }
        if self.has_stream() {
            out.push(self.priority);
            out.put_varint(u64::from(self.stream.number()));
        }
        if self.tenant != 0 {
            out.put_u64(self.tenant);
        }
        *base = self.base();
    }

    pub(crate) fn decode(base: &mut Base, r: &mut Reader<'_>) -> Decoded<Self> {
        let flags = r.u8("header flags")?;
        let has = |bit| flags & bit != 0;
        let sequence = unzigzag(r.varint("sequence")?, base.sequence);
        let payload = PayloadRef {
            index: unzigzag(r.varint("log index")?, base.index),
            offset: r.varint_u32("payload offset")?,
            len: r.varint_u32("payload length")?,
        };
        let enqueued_at = unzigzag(r.varint("time of acceptance")?, base.enqueued_at);
        let key = if has(HAS_KEY) { r.u64("key hash")? } else { 0 };
        let due = if has(HAS_DUE) {
            r.varint("due time")?
        } else {
            0
        };
        let mut header = if has(HAS_ORIGIN) {
            Self::from_elsewhere(read_message_id(r)?)
        } else {
            Self::default()
        };
        header = Self {
            sequence,
            payload,
            enqueued_at,
            key,
            due,
            loose: has(LOOSE),
            in_line_since: if has(HAS_IN_LINE) {
                r.varint("time in line")?
            } else {
                enqueued_at
            },
            ttl: if has(HAS_TTL) {
                r.varint("time to live")?
            } else {
                0
            },
            ..header
        };
        if has(HAS_STREAM) {
            header.priority = r.u8("priority")?;
            header.stream = Stream::of(r.varint_u32("stream")?);
            if header.priority.max(header.stream.lane()) > MAX_PRIORITY {
                return r.fail("priority");
            }
        }
        if has(HAS_TENANT) {
            header.tenant = r.u64("tenant")?;
        }
        *base = header.base();
        Ok(header)
    }
}

const VERSION: u8 = 1;

/// Encodes a header that has a row of its own.
pub(crate) fn encode_single(header: &Header) -> Vec<u8> {
    let mut out = vec![VERSION];
    header.encode(&mut Base::default(), &mut out);
    out
}

/// Reads a header that has a row of its own.
pub(crate) fn decode_single(value: &[u8]) -> Decoded<Header> {
    let mut r = Reader::new(value);
    r.version(VERSION, "version of delayed message")?;
    let header = Header::decode(&mut Base::default(), &mut r)?;
    r.finish("end of delayed message")?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::{Block, decode_settled, encode_settled};
    use super::*;

    fn header() -> impl Strategy<Value = Header> {
        let id =
            (any::<u64>(), any::<u32>(), 1..=u64::MAX).prop_map(|(queue, partition, sequence)| {
                MessageId {
                    queue,
                    partition,
                    sequence,
                }
            });
        let payload = (any::<u64>(), any::<u32>(), any::<u32>())
            .prop_map(|(index, offset, len)| PayloadRef { index, offset, len });
        let times = (any::<u64>(), any::<u64>(), any::<u64>());
        (
            any::<u64>(),
            payload,
            times,
            any::<u64>(),
            proptest::option::of(id),
            any::<bool>(),
            any::<u64>(),
            (0..=MAX_PRIORITY, 0..=MAX_PRIORITY, 0_u64..3),
        )
            .prop_map(
                |(sequence, payload, times, key, origin, loose, ttl, lane)| Header {
                    sequence,
                    payload,
                    enqueued_at: times.0,
                    in_line_since: times.1,
                    due: times.2,
                    ttl,
                    key,
                    loose,
                    priority: lane.0,
                    tenant: lane.2,
                    stream: Stream::new(lane.1, lane.2),
                    ..origin.map_or_else(Header::default, Header::from_elsewhere)
                },
            )
    }

    proptest! {
        #[test]
        fn a_block_comes_back(headers in proptest::collection::vec(header(), 0..=64), bits: u64) {
            let mut block = Block::new();
            for header in &headers {
                block.push(*header);
            }
            let read = Block::decode(block.encoded(), bits).unwrap();
            prop_assert_eq!(&read.headers, &headers);
            prop_assert_eq!(decode_settled(&encode_settled(bits)).unwrap(), bits);
            if let Some(header) = headers.first() {
                prop_assert_eq!(&decode_single(&encode_single(header)).unwrap(), header);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Block::decode(&bytes, 0);
            let _ = decode_single(&bytes);
            let _ = decode_settled(&bytes);
        }
    }

    #[test]
    fn the_bytes_of_a_block_are_frozen() {
        let plain = Header {
            sequence: 1,
            payload: PayloadRef {
                index: 10,
                offset: 20,
                len: 300,
            },
            enqueued_at: 1_000,
            in_line_since: 1_000,
            ..Header::default()
        };
        let full = Header {
            sequence: 2,
            key: 0x0102,
            due: 5,
            origin_queue: 7,
            origin_partition: 1,
            origin_sequence: 9,
            loose: true,
            in_line_since: 1_001,
            ttl: 60_000,
            priority: 9,
            tenant: 0x0304,
            stream: Stream::new(8, 1),
            ..plain
        };
        let mut block = Block::new();
        block.push(plain);
        block.push(full);
        let expected: [&[u8]; 3] = [
            &[1],
            &[0, 2, 20, 20, 0xac, 2, 0xd0, 15],
            &[
                255, 2, 0, 20, 0xac, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 5, 7, 1, 9, 0xe9, 7, 0xe0, 0xd4,
                3, 9, 0x82, 0x80, 0x80, 64, 0, 0, 0, 0, 0, 0, 3, 4,
            ],
        ];
        assert_eq!(block.encoded(), expected.concat());
        assert_eq!(encode_settled(5), [1, 0, 0, 0, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn a_block_has_64_places_at_most() {
        let mut block = Block::new();
        let header = decode_single(&[VERSION, 0, 2, 0, 0, 0, 0]).unwrap();
        (0..65).for_each(|_| block.push(header));
        assert!(Block::decode(block.encoded(), 0).is_err());
        assert!(Block::decode(&[2], 0).is_err());
    }
}
