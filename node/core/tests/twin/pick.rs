//! Which messages are moved or deleted by hand: mostly those that are there.

use bytes::Bytes;
use proptest::sample::Index;
use roadstead_core::shard::*;

use super::config::DeadLetter;
use super::world::World;

impl World {
    pub fn redrive(&mut self, slot: usize, to: DeadLetter, picks: &[(Index, bool)]) -> Vec<Op> {
        let partition = self.slots[slot];
        let Some(to) = self.target(to) else {
            return Vec::new();
        };
        let mut moves = Vec::new();
        for (pick, edit) in picks {
            let payload = edit.then(|| {
                self.bodies += 1;
                NewPayload {
                    header: Bytes::from_static(b"h"),
                    body: format!("{:09}", self.bodies).into(),
                }
            });
            moves.push(Move {
                location: self.location(partition, *pick),
                to,
                payload,
            });
        }
        vec![Op::Redrive(Redrive { partition, moves })]
    }

    pub fn delete(&mut self, slot: usize, pick: Index, forced: bool) -> Vec<Op> {
        let partition = self.slots[slot];
        let location = self.location(partition, pick);
        let mut leases = match location {
            Location::Position(position) if forced => {
                let found = self.machine.leases_at(&self.kv, partition, position);
                found.expect("rows can be read")
            }
            _ => Vec::new(),
        };
        // Now and then the lease of another message, or one that is over.
        let receipts = self.receipts.get(&partition).filter(|all| !all.is_empty());
        if let Some(receipts) = receipts
            && forced
            && (leases.is_empty() || pick.index(7) == 0)
        {
            let receipt = receipts[pick.index(receipts.len())];
            leases.push(LeaseRef {
                group: receipt.group,
                delivery: receipt.delivery,
                slot: receipt.slot,
            });
        }
        // Or that of one group is not named.
        if pick.index(11) == 0 {
            leases.pop();
        }
        vec![Op::DeleteMessage(DeleteMessage {
            partition,
            location,
            leases,
        })]
    }

    fn location(&self, partition: PartitionId, pick: Index) -> Location {
        let p = self.twin.partitions.get(&partition);
        let live: Vec<_> = p.map_or_else(Vec::new, |p| p.live().collect());
        let all: Vec<_> = p.map_or_else(Vec::new, |p| p.messages.iter().collect());
        match (p, pick.index(9)) {
            // Also one that is retained, or replayed.
            (Some(p), 1) if !all.is_empty() => p.location(all[pick.index(all.len())]),
            (Some(p), 1..) if !live.is_empty() => p.location(live[pick.index(live.len())]),
            (_, 0) => Location::Delayed {
                due: self.now,
                sequence: 1,
            },
            _ => Location::Position(pick.index(200) as u64),
        }
    }
}
