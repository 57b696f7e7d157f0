//! Deletes a partition.

use crate::codec::{Decoded, Reader};
use crate::shard::id::{PartitionId, put_partition, read_partition};

/// Deletes a partition with its messages: it answers to nobody from now on, its rows go with the
/// following ticks. What stands in its outbox still reaches its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropPartition {
    /// The partition.
    pub partition: PartitionId,
    /// Refuse when it holds a message, also a leased or delayed one.
    pub only_if_empty: bool,
}

impl DropPartition {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        out.push(u8::from(self.only_if_empty));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let partition = read_partition(r)?;
        let only_if_empty = match r.u8("drop flags")? {
            0 => false,
            1 => true,
            _ => return r.fail("drop flags"),
        };
        Ok(Self {
            partition,
            only_if_empty,
        })
    }
}
