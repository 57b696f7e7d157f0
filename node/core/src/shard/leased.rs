//! Who leases which messages, as a leader may ask.

use std::collections::BTreeMap;

use super::group::Look;
use super::header::BLOCK;
use super::id::{PartitionId, SessionId};
use super::keys;
use super::machine::ShardMachine;
use super::op::LeaseRef;
use super::place::Place;
use crate::kv::{self, Kv, KvError};

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
    /// Who leases something by a session: partition, group and session.
    pub fn sessions(&self, kv: &dyn Kv) -> Result<Vec<(PartitionId, u32, SessionId)>, KvError> {
        let mut found = Vec::new();
        for id in self.partitions() {
            let Some(p) = self.partition(id).filter(|p| p.in_flight > 0) else {
                continue;
            };
            let mut from = SessionId(0);
            loop {
                let (start, _) = p.keys.sessions(from);
                let (_, end) = p.keys.sessions(SessionId(u128::MAX));
                let Some((key, _)) = kv::first(kv, &start, &end)? else {
                    break;
                };
                let session = keys::session(&key);
                found.push((id, keys::group_and_delivery(&key).0, session));
                let Some(next) = session.0.checked_add(1) else {
                    break;
                };
                from = SessionId(next);
            }
        }
        Ok(found)
    }

    /// The leases of the message at a position, of each group that has one. Looks through the
    /// deliveries of these that are not settled.
    pub fn leases_at(
        &self,
        kv: &dyn Kv,
        partition: PartitionId,
        position: u64,
    ) -> Result<Vec<LeaseRef>, KvError> {
        let leasing = self.leasing(kv, partition, position)?.into_iter();
        let leases = leasing.map(|look| look.lease_at(kv, position));
        leases.filter_map(Result::transpose).collect()
    }

    /// Whether a group leases the message at a position.
    pub fn is_leased(
        &self,
        kv: &dyn Kv,
        partition: PartitionId,
        position: u64,
    ) -> Result<bool, KvError> {
        Ok(!self.leasing(kv, partition, position)?.is_empty())
    }

    /// The groups that lease the message at a position.
    fn leasing(
        &self,
        kv: &dyn Kv,
        partition: PartitionId,
        position: u64,
    ) -> Result<Vec<Look<'_>>, KvError> {
        let mut found = Vec::new();
        let number = position / BLOCK;
        let Some(p) = self.partition(partition) else {
            return Ok(found);
        };
        let Some(mut block) = p.read_block(kv, number)? else {
            return Ok(found);
        };
        let Some(header) = block.live(position % BLOCK) else {
            return Ok(found);
        };
        for look in p.groups.keys().filter_map(|group| p.look(*group)) {
            let is_settled = look.settled(kv, (number, &mut block))? >> (position % BLOCK) & 1 == 1;
            if !is_settled && look.place(kv, position, &header)? == Place::Leased {
                found.push(look);
            }
        }
        Ok(found)
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
