//! Who leases which messages, as a leader may ask.

use std::collections::BTreeMap;

use super::group::Look;
use super::id::PartitionId;
use super::keys;
use super::machine::ShardMachine;
use super::op::LeaseRef;
use crate::kv::{Kv, KvError};

/// Deliveries looked through for what is known of leased messages.
const PEEK_DELIVERIES: usize = 1_000;

/// What is known of a leased message.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Leased {
    /// Deliveries that had failed before.
    pub(crate) failed: u32,
    /// When it was delivered, ms.
    pub(crate) at: u64,
}

impl ShardMachine {
    /// A group's lease of the message at a position. Looks through all deliveries of the group that
    /// are not settled.
    pub fn lease_of(
        &self,
        kv: &dyn Kv,
        (partition, group): (PartitionId, u32),
        position: u64,
    ) -> Result<Option<LeaseRef>, KvError> {
        let look = self.partition(partition).and_then(|p| p.look(group));
        let Some(p) = look else {
            return Ok(None);
        };
        for (key, _) in p.rows(kv, b'l', usize::MAX)? {
            let number = keys::tail(&key);
            let Some(batch) = p.read_delivery(kv, number)? else {
                continue;
            };
            let mut slots = batch.slots.iter();
            let held = slots.position(|slot| slot.live && slot.position == position);
            if let Some(slot) = held {
                let slot = slot as u16;
                return Ok(Some(LeaseRef {
                    group,
                    delivery: number,
                    slot,
                }));
            }
        }
        Ok(None)
    }
}

impl Look<'_> {
    /// The group's leased messages, by position.
    pub(crate) fn leased(&self, kv: &dyn Kv) -> Result<BTreeMap<u64, Leased>, KvError> {
        let mut leased = BTreeMap::new();
        for (key, _) in self.rows(kv, b'l', PEEK_DELIVERIES)? {
            let Some(batch) = self.read_delivery(kv, keys::tail(&key))? else {
                continue;
            };
            let at = batch.at;
            let live = batch.slots.iter().filter(|slot| slot.live);
            leased.extend(live.map(|slot| {
                let failed = slot.delivery_count.saturating_sub(1);
                (slot.position, Leased { failed, at })
            }));
        }
        Ok(leased)
    }
}
