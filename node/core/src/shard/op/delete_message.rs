//! Deletes one message.

use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::id::{PartitionId, put_partition, read_partition};
use crate::shard::location::{Location, put_location, read_location};
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::{Removal, Reply};
use crate::shard::withdraw::Withdrawn;

/// Deletes the message at a location for all groups, unless one leases it otherwise than by one of
/// `leases`; also one that is retained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteMessage {
    /// The partition.
    pub partition: PartitionId,
    /// Where the message stands.
    pub location: Location,
    /// Leases that may be ended with it, one per group at most: their receipts are stale then.
    pub leases: Vec<LeaseRef>,
}

/// Names the lease of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRef {
    /// The group that it is leased to.
    pub group: u32,
    /// Number of the delivery.
    pub delivery: u64,
    /// Place in the delivery's batch.
    pub slot: u16,
}

impl DeleteMessage {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        put_location(out, self.location);
        out.put_varint(self.leases.len() as u64);
        for lease in &self.leases {
            out.put_varint(u64::from(lease.group));
            out.put_varint(lease.delivery);
            out.put_varint(u64::from(lease.slot));
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let (partition, location) = (read_partition(r)?, read_location(r)?);
        let count = r.count(3, "leases of delete")?;
        let mut leases = Vec::with_capacity(count);
        for _ in 0..count {
            leases.push(LeaseRef {
                group: r.varint_u32("group")?,
                delivery: r.varint("delivery")?,
                slot: r.varint_u16("slot")?,
            });
        }
        Ok(Self {
            partition,
            location,
            leases,
        })
    }

    pub(crate) fn apply(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        let withdrawn = p.withdraw(step, self.location, &self.leases)?;
        let out = match (withdrawn, self.location) {
            (Withdrawn::Out(out), _) => out,
            (Withdrawn::Kept, Location::Position(position)) => p.take_out(step, position, &[])?,
            (Withdrawn::Leased, _) => return Ok(Reply::Deleted(Removal::Leased)),
            (Withdrawn::Kept | Withdrawn::Gone, _) => return Ok(Reply::Deleted(Removal::Gone)),
        };
        out.removed.free(step)?;
        // What is retained goes too, but is not live.
        p.state.purged += u64::from(out.was_live);
        Ok(Reply::Deleted(Removal::Done))
    }
}
