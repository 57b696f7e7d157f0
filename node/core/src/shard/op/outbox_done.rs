//! Forgets what the target of an outbox has accepted.

use crate::codec::{Decoded, Put, Reader};
use crate::shard::id::{PartitionId, put_partition, read_partition};

/// Removes the messages up to `through` from the outbox of (source, target), at most 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxDone {
    /// Partition in whose outbox they stand.
    pub source: PartitionId,
    /// Partition that has accepted them.
    pub target: PartitionId,
    /// Highest number that the target has accepted.
    pub through: u64,
}

impl OutboxDone {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.source);
        put_partition(out, self.target);
        out.put_varint(self.through);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            source: read_partition(r)?,
            target: read_partition(r)?,
            through: r.varint("outbox number")?,
        })
    }
}
