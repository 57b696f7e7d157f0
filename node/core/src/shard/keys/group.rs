//! Keys of the rows of one group.

use std::ops::Deref;

use super::{Key, Keys, STREAM};
use crate::shard::id::SessionId;
use crate::shard::stream::Stream;

/// Keys of the rows of one group of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupKeys {
    partition: Keys,
    pub(crate) group: u32,
}

impl Deref for GroupKeys {
    type Target = Keys;

    fn deref(&self) -> &Keys {
        &self.partition
    }
}

impl GroupKeys {
    pub(super) fn new(partition: Keys, group: u32) -> Self {
        Self { partition, group }
    }

    fn kind(self, kind: u8) -> Key {
        self.partition.kind(kind).n32(self.group)
    }

    /// All rows of one kind of the group.
    pub(crate) fn all(self, kind: u8) -> (Key, Key) {
        let end = match self.group.checked_add(1) {
            Some(next) => self.partition.kind(kind).n32(next),
            None => self.partition.kind(kind + 1),
        };
        (self.kind(kind), end)
    }

    pub(crate) fn breaker(self) -> Key {
        self.kind(b'z')
    }

    pub(crate) fn spot(self, stream: Stream) -> Key {
        self.kind(b'c').n32(stream.number())
    }

    pub(crate) fn attempts(self, position: u64) -> Key {
        self.kind(b'e').n32(STREAM).n64(position)
    }

    pub(crate) fn group(self) -> Key {
        self.kind(b'g')
    }

    pub(crate) fn head(self, key: u64) -> Key {
        self.kind(b'h').n64(key)
    }

    pub(crate) fn delivery(self, delivery: u64) -> Key {
        self.kind(b'l').n64(delivery)
    }

    pub(crate) fn settled(self, block: u64) -> Key {
        let all = self.partition.kind(b'n').n32(STREAM).n64(block);
        all.n32(self.group)
    }

    pub(crate) fn returned(self, stream: Stream, position: u64) -> Key {
        self.kind(b'r').n32(stream.number()).n64(position)
    }

    /// All returned messages of a stream.
    pub(crate) fn all_returned(self, stream: Stream) -> (Key, Key) {
        (self.returned(stream, 0), self.returned(stream, u64::MAX))
    }

    pub(crate) fn session(self, session: SessionId, delivery: u64) -> Key {
        self.partition
            .kind(b's')
            .with(&session.0.to_be_bytes())
            .n32(self.group)
            .n64(delivery)
    }

    pub(crate) fn turn(self, lane: u8) -> Key {
        self.kind(b'y').with(&[lane])
    }

    pub(crate) fn backing_off(self, position: u64) -> Key {
        self.kind(b'w').n32(STREAM).n64(position)
    }
}
