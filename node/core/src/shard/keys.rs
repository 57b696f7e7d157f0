//! Keys of the rows of a shard. Frozen: a change of layout needs a new kind.
//!
//! | key                                            | row                                  |
//! |------------------------------------------------|--------------------------------------|
//! | 01                                             | newest time                          |
//! | 02 partition                                   | configuration                        |
//! | 03 partition                                   | partition state                      |
//! | 04 log index (8) offset (4)                    | a payload that no `m` row finds      |
//! | 10 partition `a` source                        | highest number accepted from there   |
//! | 10 partition `b` stream                        | what a stream holds                  |
//! | 10 partition `c` group stream                  | where a group is in a stream         |
//! | 10 partition `d` due (8) sequence (8)          | delayed message without position     |
//! | 10 partition `e` group stream position         | failed deliveries of a message       |
//! | 10 partition `f` stream block (8)              | a block that has messages of a stream |
//! | 10 partition `g` group                         | group state                          |
//! | 10 partition `h` group key (8)                 | position at the head of an engaged key |
//! | 10 partition `i` id (16)                       | sequence of the message with this id |
//! | 10 partition `j` due (8) sequence (8)          | ids that are forgotten then          |
//! | 10 partition `k` key (8) stream position       | live message of a key                |
//! | 10 partition `l` group delivery (8)            | delivery batch                       |
//! | 10 partition `m` stream block (8)              | headers of 64 positions              |
//! | 10 partition `n` stream block (8) group        | which of them the group has settled  |
//! | 10 partition `o` target number (8)             | message in an outbox                 |
//! | 10 partition `p` producer                      | producer                             |
//! | 10 partition `q` len (1) producer chunk (8)    | 64 remembered numbers of a producer  |
//! | 10 partition `r` group stream position         | returned message, receivable         |
//! | 10 partition `s` session (16) group delivery   | delivery of a session                |
//! | 10 partition `t` due (8) timer                 | timer, see `timer.rs`                |
//! | 10 partition `u` due (8) producer              | when to look whether it is idle      |
//! | 10 partition `v` stream block (8)              | how far the groups have settled them |
//! | 10 partition `w` group stream position         | returned message, backing off        |
//! | 10 partition `x` target                        | numbers of an outbox                 |
//! | 10 partition `y` group lane (1)                | whose turn it is in a lane           |
//! | 10 partition `z` group                         | circuit breaker                      |
//!
//! Partition, source, target: queue id (8) and partition (4). Group, stream: 4 bytes. The stream
//! is 0 but in `b`, `c`, `f` and `r`. Numbers are big-endian.

mod group;

use std::ops::Deref;

use super::id::{PartitionId, PayloadRef, SessionId};
use super::stream::Stream;
pub(crate) use group::GroupKeys;

const META: u8 = 0x01;
const CONFIG: u8 = 0x02;
const STATE: u8 = 0x03;
const LOOSE: u8 = 0x04;
const ROWS: u8 = 0x10;

/// All messages of a partition stand in one line, whatever their stream.
const STREAM: u32 = 0;

/// Bytes of a key at most.
pub(crate) const LONGEST: usize = 96;

/// A key, on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Key {
    fn new(kind: u8) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[0] = kind;
        Self { bytes, len: 1 }
    }

    fn with(mut self, part: &[u8]) -> Self {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self
    }

    fn n32(self, n: u32) -> Self {
        self.with(&n.to_be_bytes())
    }

    fn n64(self, n: u64) -> Self {
        self.with(&n.to_be_bytes())
    }

    fn id(self, id: PartitionId) -> Self {
        self.n64(id.queue).n32(id.partition)
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

pub(crate) fn meta() -> Key {
    Key::new(META)
}

/// Beyond every row.
pub(crate) fn end() -> Key {
    Key::new(u8::MAX)
}

pub(crate) fn config(id: PartitionId) -> Key {
    Key::new(CONFIG).id(id)
}

pub(crate) fn state(id: PartitionId) -> Key {
    Key::new(STATE).id(id)
}

/// All states.
pub(crate) fn states() -> (Key, Key) {
    (Key::new(STATE), Key::new(STATE + 1))
}

/// The partition of a state's key.
pub(crate) fn partition_of_state(key: &[u8]) -> Option<PartitionId> {
    partition_at(key.get(1..)?)
}

fn partition_at(bytes: &[u8]) -> Option<PartitionId> {
    let queue = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    let partition = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
    Some(PartitionId { queue, partition })
}

pub(crate) fn loose(payload: PayloadRef) -> Key {
    Key::new(LOOSE).n64(payload.index).n32(payload.offset)
}

/// Loose payloads of the log entries `first..=last`.
pub(crate) fn loose_range(first: u64, last: u64) -> (Key, Key) {
    let end = match last.checked_add(1) {
        Some(next) => Key::new(LOOSE).n64(next),
        None => Key::new(LOOSE + 1),
    };
    (Key::new(LOOSE).n64(first), end)
}

/// Index and offset in a loose payload's key.
pub(crate) fn loose_parts(key: &[u8]) -> Option<(u64, u32)> {
    let index = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
    let offset = u32::from_be_bytes(key.get(9..13)?.try_into().ok()?);
    Some((index, offset))
}

/// Keys of the rows of one partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys(pub(crate) PartitionId);

impl Keys {
    fn kind(self, kind: u8) -> Key {
        Key::new(ROWS).id(self.0).with(&[kind])
    }

    /// Keys of the rows of a group.
    pub(crate) fn of(self, group: u32) -> GroupKeys {
        GroupKeys::new(self, group)
    }

    /// All rows of the kinds `from..end`.
    pub(crate) fn kinds(self, from: u8, end: u8) -> (Key, Key) {
        (self.kind(from), self.kind(end))
    }

    /// The kind of a row of this partition, and what follows in its key.
    pub(crate) fn split(key: &[u8]) -> Option<(u8, &[u8])> {
        Some((*key.get(13)?, &key[14..]))
    }

    pub(crate) fn accepted(self, source: PartitionId) -> Key {
        self.kind(b'a').id(source)
    }

    pub(crate) fn line(self, stream: Stream) -> Key {
        self.kind(b'b').n32(stream.number())
    }

    pub(crate) fn delayed(self, due: u64, sequence: u64) -> Key {
        self.kind(b'd').n64(due).n64(sequence)
    }

    /// A block that has messages of a stream.
    pub(crate) fn found(self, stream: Stream, block: u64) -> Key {
        self.kind(b'f').n32(stream.number()).n64(block)
    }

    pub(crate) fn remembered(self, id: u128) -> Key {
        self.kind(b'i').with(&id.to_be_bytes())
    }

    pub(crate) fn forgetting(self, due: u64, sequence: u64) -> Key {
        self.kind(b'j').n64(due).n64(sequence)
    }

    pub(crate) fn keyed(self, key: u64, position: u64) -> Key {
        self.kind(b'k').n64(key).n32(STREAM).n64(position)
    }

    pub(crate) fn block(self, block: u64) -> Key {
        self.kind(b'm').n32(STREAM).n64(block)
    }

    pub(crate) fn outbox(self, target: PartitionId, number: u64) -> Key {
        self.kind(b'o').id(target).n64(number)
    }

    pub(crate) fn producer(self, id: &[u8]) -> Key {
        self.kind(b'p').with(id)
    }

    pub(crate) fn chunk(self, id: &[u8], chunk: u64) -> Key {
        self.kind(b'q').with(&[id.len() as u8]).with(id).n64(chunk)
    }

    /// Deliveries of a session, of all groups.
    pub(crate) fn sessions(self, session: SessionId) -> (Key, Key) {
        (
            self.of(0).session(session, 0),
            self.of(u32::MAX).session(session, u64::MAX),
        )
    }

    pub(crate) fn timer(self, due: u64, timer: &[u8]) -> Key {
        self.kind(b't').n64(due).with(timer)
    }

    pub(crate) fn idle(self, due: u64, producer: &[u8]) -> Key {
        self.kind(b'u').n64(due).with(producer)
    }

    /// Bits of all groups that say which positions of a block are settled.
    pub(crate) fn settled(self, block: u64) -> (Key, Key) {
        let of = |block| self.kind(b'n').n32(STREAM).n64(block);
        (of(block), of(block + 1))
    }

    pub(crate) fn side(self, block: u64) -> Key {
        self.kind(b'v').n32(STREAM).n64(block)
    }

    pub(crate) fn numbers(self, target: PartitionId) -> Key {
        self.kind(b'x').id(target)
    }
}

/// The group in what follows the kind in a `g` key.
pub(crate) fn group(rest: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(rest.get(..4)?.try_into().ok()?))
}

/// Group and delivery at the end of an `s` key.
pub(crate) fn group_and_delivery(key: &[u8]) -> (u32, u64) {
    let at = key.len().saturating_sub(12);
    let group = key[at..].iter().take(4);
    (group.fold(0, |n, b| n << 8 | u32::from(*b)), tail(key))
}

/// The session of an `s` key.
pub(crate) fn session(key: &[u8]) -> SessionId {
    let at = key.len().saturating_sub(28);
    let bytes = key[at..].iter().take(16);
    SessionId(bytes.fold(0, |n, b| n << 8 | u128::from(*b)))
}

/// The stream at the end of a `b` or `c` key.
pub(crate) fn stream(key: &[u8]) -> u32 {
    let at = key.len().saturating_sub(4);
    key[at..].iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

/// The last 8 bytes of a key: a position, sequence, delivery, number or block.
pub(crate) fn tail(key: &[u8]) -> u64 {
    let at = key.len().saturating_sub(8);
    key[at..].iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// The due time in what follows the kind in a `d`, `j`, `t` or `u` key.
pub(crate) fn due(rest: &[u8]) -> u64 {
    rest.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

/// The target in what follows the kind in an `x` key.
pub(crate) fn target(rest: &[u8]) -> Option<PartitionId> {
    partition_at(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: PartitionId = PartitionId {
        queue: 0x0102,
        partition: 3,
    };

    #[test]
    fn parts_come_back() {
        assert_eq!(partition_of_state(&state(ID)), Some(ID));
        let payload = PayloadRef {
            index: 9,
            offset: 8,
            len: 7,
        };
        assert_eq!(loose_parts(&loose(payload)), Some((9, 8)));
        let key = Keys(ID).delayed(77, 88);
        let (kind, rest) = Keys::split(&key).unwrap();
        assert_eq!((kind, due(rest), tail(&key)), (b'd', 77, 88));
        let key = Keys(ID).numbers(ID);
        assert_eq!(target(Keys::split(&key).unwrap().1), Some(ID));
    }

    #[test]
    fn the_longest_key_fits() {
        let key = Keys(ID).chunk(&[0xff; 64], u64::MAX);
        assert_eq!(key.len(), 87);
    }

    #[test]
    fn a_range_of_loose_payloads_ends_where_it_should() {
        let (from, end) = loose_range(5, u64::MAX);
        let last = loose(PayloadRef {
            index: u64::MAX,
            offset: u32::MAX,
            len: 0,
        });
        assert!(*from < *last && *last < *end);
        let (_, end) = loose_range(5, 6);
        assert!(
            *loose(PayloadRef {
                index: 7,
                offset: 0,
                len: 0
            }) >= *end
        );
    }
}
