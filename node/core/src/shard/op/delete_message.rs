//! Deletes one message.

use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::group::View;
use crate::shard::id::{DEFAULT_GROUP, PartitionId, put_partition, read_partition};
use crate::shard::location::{Location, put_location, read_location};
use crate::shard::partition::{Partition, Shared, Step};
use crate::shard::reply::{Refusal, Removal, Reply};
use crate::shard::withdraw::Withdrawn;

/// Deletes the message at a location, unless it is leased otherwise than by `lease`.
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
        let group = self.lease.map_or(DEFAULT_GROUP, |lease| lease.group);
        let Some(mut p) = p.view(group) else {
            return Ok(Reply::Refused(Refusal::NoGroup));
        };
        let removal = match self.withdraw(&mut p, step)? {
            Withdrawn::Here(header, _) => {
                Shared::free(step, &header);
                p.state.purged += 1;
                Removal::Done
            }
            Withdrawn::Leased => Removal::Leased,
            Withdrawn::Gone => Removal::Gone,
        };
        Ok(Reply::Deleted(removal))
    }

    fn withdraw(&self, p: &mut View<'_>, step: &mut Step<'_>) -> Result<Withdrawn, KvError> {
        if let (Location::Position(position), Some(lease)) = (self.location, self.lease)
            && p.is_leased_by(step.kv, position, lease)?
            && let Some(ended) = p.end_lease(step, lease.delivery, lease.slot)?
        {
            return p.withdraw_ended(step, ended);
        }
        p.withdraw(step, self.location)
    }
}
