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
    /// The leases of the message at a position, of each group that has one. Looks through all
    /// deliveries that are not settled.
    pub fn leases_at(
        &self,
        kv: &dyn Kv,
        partition: PartitionId,
        position: u64,
    ) -> Result<Vec<LeaseRef>, KvError> {
        let Some(p) = self.partition(partition) else {
            return Ok(Vec::new());
        };
        let looks = p.groups.keys().filter_map(|group| p.look(*group));
        let leases = looks.map(|look| look.lease_at(kv, position));
        leases.filter_map(Result::transpose).collect()
    }
}

impl Look<'_> {
    fn lease_at(&self, kv: &dyn Kv, position: u64) -> Result<Option<LeaseRef>, KvError> {
        for (key, _) in self.rows(kv, b'l', usize::MAX)? {
            let delivery = keys::tail(&key);
            let Some(batch) = self.read_delivery(kv, delivery)? else {
                continue;
            };
            let mut slots = batch.slots.iter();
            let held = slots.position(|slot| slot.live && slot.position == position);
            if let Some(slot) = held {
                return Ok(Some(LeaseRef {
                    group: self.keys.group,
                    delivery,
                    slot: slot as u16,
                }));
            }
        }
        Ok(None)
    }

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
