//! Forgets what the target of an outbox has accepted.

use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::id::{PartitionId, put_partition, read_partition};
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::Reply;

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

    pub(crate) fn apply(self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        let messages = p.outbox_done(step, self.target, self.through, BUDGET)?;
        if p.state.dropping {
            // The last one of a partition that is being deleted: a tick ends it.
            p.state.due_hint = 0;
        }
        Ok(Reply::OutboxDone { messages })
    }
}

const BUDGET: u64 = 1_000;
