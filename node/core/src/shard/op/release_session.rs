//! Ends the leases of a consumer session that is gone.

use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::id::{PartitionId, SessionId, put_partition, read_partition};
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::Reply;

/// Ends what a session has leased in one partition, as if the leases had run out; at most 1,000
/// messages per op, the answer says whether there are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseSession {
    /// The partition.
    pub partition: PartitionId,
    /// The session.
    pub session: SessionId,
}

impl ReleaseSession {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        out.put_u128(self.session.0);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            partition: read_partition(r)?,
            session: SessionId(r.u128("session")?),
        })
    }

    pub(crate) fn apply(self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        let (messages, more) = p.release(step, self.session, RELEASE_BUDGET)?;
        Ok(Reply::Released { messages, more })
    }
}

const RELEASE_BUDGET: u64 = 1_000;
