//! Removes messages that are not leased.

use crate::codec::{Decoded, Put, Reader};
use crate::shard::id::{PartitionId, put_partition, read_partition};

/// Removes the messages of a partition that are not leased; at most 4,096 are looked at, the
/// answer says where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge {
    /// The partition.
    pub partition: PartitionId,
    /// Where to go on; None: begin, with the messages accepted until now.
    pub from: Option<PurgeFrom>,
}

/// How far a purge has come. The caller hands it back as it got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeFrom {
    /// Messages with a sequence below this are removed.
    pub(crate) before: u64,
    /// The next delayed message to look at: due time and sequence; None: all are done.
    pub(crate) delayed: Option<(u64, u64)>,
    /// The next position to look at.
    pub(crate) position: u64,
}

impl Purge {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        let Some(from) = self.from else {
            return out.push(0);
        };
        out.push(if from.delayed.is_some() { 2 } else { 1 });
        out.put_varint(from.before);
        out.put_varint(from.position);
        if let Some((due, sequence)) = from.delayed {
            out.put_varint(due);
            out.put_varint(sequence);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let partition = read_partition(r)?;
        let kind = r.u8("kind of purge")?;
        if kind == 0 {
            return Ok(Self {
                partition,
                from: None,
            });
        }
        let (before, position) = (r.varint("purge bound")?, r.varint("purge position")?);
        let delayed = match kind {
            1 => None,
            2 => Some((r.varint("purge due time")?, r.varint("purge sequence")?)),
            _ => return r.fail("kind of purge"),
        };
        Ok(Self {
            partition,
            from: Some(PurgeFrom {
                before,
                delayed,
                position,
            }),
        })
    }
}
