//! Leases messages to a consumer.

use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::group::View;
use crate::shard::id::{PartitionId, SessionId, put_partition, read_partition};
use crate::shard::lease::MAX_LEASE_MS;
use crate::shard::partition::Step;
use crate::shard::reply::{Refusal, Reply};
use crate::shard::sticky::KeySlots;
use crate::shard::take::Take;

/// Messages per delivery at most.
pub const MAX_RECEIVE: u32 = 1_000;

/// Leases up to `max` messages of one partition and group, in one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receive {
    /// The partition.
    pub partition: PartitionId,
    /// The group.
    pub group: u32,
    /// Session that holds the leases, not 0; None for a consumer without one.
    pub session: Option<SessionId>,
    /// 1..=1,000; more is cut.
    pub max: u32,
    /// Lease in ms, 0..=12 h; None: the queue's. 0 ends at the next tick.
    pub lease_ms: Option<u64>,
    /// These deliveries are acked by being made, also where the queue delivers at least once. They
    /// count towards no limit of what is in flight.
    pub at_most_once: bool,
    /// Only messages whose keys are in these slots; without effect where keys are not sticky.
    pub key_slots: KeySlots,
}

// Frozen: these bits are in logs. The others are reserved (retry token).
const HAS_SESSION: u8 = 1;
const HAS_LEASE: u8 = 2;
const AT_MOST_ONCE: u8 = 4;
const HAS_SLOTS: u8 = 8;

impl Receive {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        out.put_varint(u64::from(self.group));
        out.put_varint(u64::from(self.max));
        let session = if self.session.is_some() {
            HAS_SESSION
        } else {
            0
        };
        let lease = if self.lease_ms.is_some() {
            HAS_LEASE
        } else {
            0
        };
        let once = if self.at_most_once { AT_MOST_ONCE } else { 0 };
        let some = self.key_slots != KeySlots::ALL;
        let slots = if some { HAS_SLOTS } else { 0 };
        out.push(session | lease | once | slots);
        if let Some(session) = self.session {
            out.put_u128(session.0);
        }
        if let Some(lease_ms) = self.lease_ms {
            out.put_varint(lease_ms);
        }
        if some {
            out.put_u64(self.key_slots.0);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let partition = read_partition(r)?;
        let group = r.varint_u32("receive group")?;
        let max = r.varint_u32("receive maximum")?;
        let flags = r.u8("receive flags")?;
        if flags & !(HAS_SESSION | HAS_LEASE | AT_MOST_ONCE | HAS_SLOTS) != 0 {
            return r.fail("receive flags");
        }
        let has = |bit| flags & bit != 0;
        let session = if has(HAS_SESSION) {
            r.u128("session")?
        } else {
            0
        };
        let session = Some(SessionId(session)).filter(|session| session.0 != 0);
        let lease_ms = if has(HAS_LEASE) {
            Some(r.varint("lease")?)
        } else {
            None
        };
        let key_slots = if has(HAS_SLOTS) {
            KeySlots(r.u64("slots of keys")?)
        } else {
            KeySlots::ALL
        };
        Ok(Self {
            partition,
            group,
            session,
            max,
            lease_ms,
            at_most_once: has(AT_MOST_ONCE),
            key_slots,
        })
    }

    pub(crate) fn apply(&self, p: &mut View<'_>, step: &mut Step<'_>) -> Result<Reply, KvError> {
        if self.max == 0 {
            return Ok(Reply::Refused(Refusal::BadCount));
        }
        let lease_ms = self.lease_ms.unwrap_or(p.config.lease_ms).min(MAX_LEASE_MS);
        let max = self.max.min(MAX_RECEIVE);
        let take = Take::new(p, step.now, (max, lease_ms), self.at_most_once);
        Ok(Reply::Received(take.run(
            p,
            step,
            (self.session, self.key_slots),
        )?))
    }
}
