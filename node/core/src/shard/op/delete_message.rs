//! Deletes one message.

use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::id::{PartitionId, put_partition, read_partition};
use crate::shard::location::{Location, put_location, read_location};
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::{Refusal, Removal, Reply};
use crate::shard::withdraw::Withdrawn;

/// Deletes the message at a location for all groups, unless one leases it otherwise than by
/// `lease`; also one that is retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteMessage {
    /// The partition.
    pub partition: PartitionId,
    /// Where the message stands.
    pub location: Location,
    /// A lease that may be ended with it: its receipt is stale then.
    pub lease: Option<LeaseRef>,
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
        let Some(lease) = self.lease else {
            return out.push(0);
        };
        out.push(1);
        out.put_varint(u64::from(lease.group));
        out.put_varint(lease.delivery);
        out.put_varint(u64::from(lease.slot));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            partition: read_partition(r)?,
            location: read_location(r)?,
            lease: match r.u8("lease of delete")? {
                0 => None,
                1 => Some(LeaseRef {
                    group: r.varint_u32("group")?,
                    delivery: r.varint("delivery")?,
                    slot: r.varint_u16("slot")?,
                }),
                _ => return r.fail("lease of delete"),
            },
        })
    }

    pub(crate) fn apply(self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        if self.lease.is_some_and(|it| p.look(it.group).is_none()) {
            return Ok(Reply::Refused(Refusal::NoGroup));
        }
        let out = match (p.withdraw(step, self.location, self.lease)?, self.location) {
            (Withdrawn::Out(out), _) => out,
            (Withdrawn::Kept, Location::Position(position)) => p.take_out(step, position, None)?,
            (Withdrawn::Leased, _) => return Ok(Reply::Deleted(Removal::Leased)),
            (Withdrawn::Kept | Withdrawn::Gone, _) => return Ok(Reply::Deleted(Removal::Gone)),
        };
        out.removed.free(step)?;
        // What is retained goes too, but is not live.
        p.state.purged += u64::from(out.was_live);
        Ok(Reply::Deleted(Removal::Done))
    }
}
