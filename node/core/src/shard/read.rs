//! What a leader may ask without changing anything.

use std::ops::ControlFlow;

use super::block::Block;
use super::config::Ordering;
use super::group::Look;
use super::header::{BLOCK, Header};
use super::id::{PartitionId, SessionId};
use super::keys::{self, Keys};
use super::machine::ShardMachine;
use super::op::hash_rows;
use super::outbox::rows_of;
use super::partition::{Partition, Shared};
use super::reply::{Delivered, Outbox, OutboxMessage, Received};
use super::state::totals;
use super::stats::Stats;
use super::stream::{MAX_PRIORITY, Stream};
use crate::kv::{self, Kv, KvError};

/// Whether a visit goes on.
type Flow = Result<ControlFlow<()>, KvError>;

impl ShardMachine {
    /// Messages of a group that a Receive may find now: no more than may still be leased, 0 for
    /// what is not here or gets no deliveries at present. Its rate is not asked. Cheap.
    pub fn ready(&self, partition: PartitionId, group: u32) -> u64 {
        self.ready_for(partition, group, false)
    }

    /// The same for a Receive at most once, which leases nothing.
    pub fn ready_at_most_once(&self, partition: PartitionId, group: u32) -> u64 {
        self.ready_for(partition, group, true)
    }

    fn ready_for(&self, partition: PartitionId, group: u32, at_most_once: bool) -> u64 {
        let look = self.partition(partition).and_then(|p| p.look(group));
        let look = look.filter(Look::delivers);
        let ready = |look: Look<'_>| look.counts().0.min(look.room_in_flight(at_most_once));
        look.map_or(0, ready)
    }

    /// Messages of a group that are receivable, by priority from 0 on, whatever may be leased at
    /// present; None when partition or group is not here. Cheap.
    pub fn ready_by_lane(
        &self,
        partition: PartitionId,
        group: u32,
    ) -> Option<[u64; MAX_PRIORITY as usize + 1]> {
        let look = self.partition(partition)?.look(group)?;
        let mut lanes = [0; MAX_PRIORITY as usize + 1];
        if look.lines.is_empty() {
            lanes[0] = look.counts().0;
            return Some(lanes);
        }
        for (lane, ready) in (0..).zip(&mut lanes) {
            *ready = look
                .ready_in(lane, Stream::BASE)
                .map(|(_, ready)| ready)
                .sum();
        }
        Some(lanes)
    }

    /// Whether a group gets deliveries: it is here, not paused, its circuit breaker is not open,
    /// and no walk is under way for it.
    pub fn delivers(&self, partition: PartitionId, group: u32) -> bool {
        let look = self.partition(partition).and_then(|p| p.look(group));
        look.as_ref().is_some_and(Look::delivers)
    }

    /// The groups of a partition that get deliveries at present.
    pub fn delivering(&self, partition: PartitionId) -> Vec<u32> {
        let groups = self
            .partition(partition)
            .into_iter()
            .flat_map(|p| p.groups.keys());
        groups
            .copied()
            .filter(|group| self.delivers(partition, *group))
            .collect()
    }

    /// Counts of a group; None when partition or group is not here.
    pub fn stats(
        &self,
        kv: &dyn Kv,
        partition: PartitionId,
        group: u32,
    ) -> Result<Option<Stats>, KvError> {
        let look = self.partition(partition).and_then(|p| p.look(group));
        look.map(|look| look.stats(kv)).transpose()
    }

    /// Whether a session leases something in a partition.
    pub fn holds(
        &self,
        kv: &dyn Kv,
        partition: PartitionId,
        session: SessionId,
    ) -> Result<bool, KvError> {
        let held = self.partition(partition).map(|p| p.held_by(kv, session, 1));
        Ok(held.transpose()?.is_some_and(|held| !held.is_empty()))
    }

    /// What a session has leased in a partition, delivery by delivery.
    pub fn leases_of(
        &self,
        kv: &dyn Kv,
        partition: PartitionId,
        session: SessionId,
    ) -> Result<Vec<Received>, KvError> {
        let Some(p) = self.partition(partition) else {
            return Ok(Vec::new());
        };
        let deliveries = p.held_by(kv, session, usize::MAX)?.into_iter();
        deliveries
            .filter_map(|(group, number)| Some((p.look(group)?, number)))
            .map(|(look, number)| look.received(kv, number))
            .collect()
    }

    /// The outboxes that hold something, in order of source and target.
    pub fn outboxes(&self) -> Vec<Outbox> {
        let of = |p: &Partition| {
            let source = p.id();
            let list = p.outboxes.iter().map(move |(target, numbers)| Outbox {
                source,
                target: *target,
                pending: numbers.pending(),
            });
            list.collect::<Vec<_>>()
        };
        self.partitions
            .values()
            .flat_map(of)
            .filter(|outbox| outbox.pending > 0)
            .collect()
    }

    /// The first `max` messages of the outbox of (source, target), in order of number.
    pub fn outbox_heads(
        &self,
        kv: &dyn Kv,
        source: PartitionId,
        target: PartitionId,
        max: usize,
    ) -> Result<Vec<OutboxMessage>, KvError> {
        // Also of a partition that is being deleted: what is on its way still arrives.
        let p = self.partitions.get(&source);
        p.map_or(Ok(Vec::new()), |p| p.outbox_heads(kv, target, max))
    }

    /// A digest of all rows: equal on replicas that have applied the same entries. Reads them all.
    pub fn digest(kv: &dyn Kv) -> Result<u64, KvError> {
        hash_rows(kv, &[], (usize::MAX, usize::MAX)).map(|all| all.hash)
    }
}

impl Look<'_> {
    /// Ready and blocked messages.
    fn counts(&self) -> (u64, u64) {
        let (group, waiting) = (&self.group, self.waiting());
        if self.config.ordering == Ordering::Strict && group.engaged != 0 {
            (group.returned, group.blocked + waiting)
        } else {
            (group.returned + waiting, group.blocked)
        }
    }

    fn stats(&self, kv: &dyn Kv) -> Result<Stats, KvError> {
        let (ready, blocked) = self.counts();
        let mut next_due_at = None;
        if self.state.delayed > 0 {
            let row = rows_of(self, kv, b'd', 1)?.pop();
            next_due_at =
                row.and_then(|(key, _)| Keys::split(&key).map(|(_, rest)| keys::due(rest)));
        }
        if self.group.backing_off + self.early() > 0 {
            next_due_at = Some(next_due_at.unwrap_or(u64::MAX).min(self.state.due_hint));
        }
        Ok(Stats {
            ready,
            in_flight: self.group.in_flight,
            delayed: self.state.delayed + self.group.backing_off + self.early(),
            blocked,
            bytes: self.state.bytes,
            messages: self.state.messages,
            retained: self.state.retained,
            retained_bytes: self.state.retained_bytes,
            outbox: self.outbox_pending(),
            ids: self.state.ids,
            oldest_ready_at: if ready > 0 {
                self.oldest_ready(kv)?
            } else {
                None
            },
            next_due_at,
            breaker: self.breaker_state(),
            rate: self.rate_state(),
            totals: totals(&self.state, self.group),
        })
    }

    /// When the oldest of the first returned and the first waiting message of each stream was
    /// accepted.
    fn oldest_ready(&self, kv: &dyn Kv) -> Result<Option<u64>, KvError> {
        let mut oldest: Option<u64> = None;
        let others = self.lines.all().keys().copied();
        for stream in [Stream::BASE].into_iter().chain(others) {
            let returned = if self.returned_in(stream) > 0 {
                self.first_returned(kv, stream)?
            } else {
                None
            };
            let any_waits = self.counts().0 > self.group.returned && self.waiting_in(stream) > 0;
            let waiting = if any_waits {
                self.first_waiting(kv, stream)?
            } else {
                None
            };
            let both = [oldest, returned, waiting.map(|header| header.enqueued_at)];
            oldest = both.into_iter().flatten().min();
        }
        Ok(oldest)
    }

    fn first_returned(&self, kv: &dyn Kv, stream: Stream) -> Result<Option<u64>, KvError> {
        let (from, end) = self.keys.all_returned(stream);
        let Some((key, _)) = kv::first(kv, &from, &end)? else {
            return Ok(None);
        };
        let position = keys::tail(&key);
        let block = self.read_block(kv, position / BLOCK)?;
        Ok(block.and_then(|block| block.live(position % BLOCK).map(|h| h.enqueued_at)))
    }

    fn first_waiting(&self, kv: &dyn Kv, stream: Stream) -> Result<Option<Header>, KvError> {
        let mut found = None;
        self.visit_open(kv, stream, &mut |position, header| {
            if !self.is_early(kv, position, header)? {
                found = Some(*header);
            }
            Ok(if found.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        Ok(found)
    }

    /// Visits the messages of a stream that the group has not settled, from its cursor on.
    fn visit_open(
        &self,
        kv: &dyn Kv,
        stream: Stream,
        visit: &mut dyn FnMut(u64, &Header) -> Flow,
    ) -> Result<(), KvError> {
        let from = self.spot(stream).cursor;
        let mut visit = |position: u64, header: &Header| {
            if header.stream == stream {
                visit(position, header)
            } else {
                Ok(ControlFlow::Continue(()))
            }
        };
        let first = from.max(self.lines.get(stream).first) / BLOCK;
        let mut next = self.next_block_of(kv, stream, first)?;
        while let Some(number) = next {
            if let Some(mut block) = self.read_block(kv, number)?
                && self
                    .visit_block(kv, (number, &mut block), from, &mut visit)?
                    .is_break()
            {
                break;
            }
            next = self.next_block_of(kv, stream, number + 1)?;
        }
        Ok(())
    }

    fn visit_block(
        &self,
        kv: &dyn Kv,
        (number, block): (u64, &mut Block),
        from: u64,
        visit: &mut dyn FnMut(u64, &Header) -> Flow,
    ) -> Flow {
        let settled = self.settled(kv, (number, block))?;
        for place in from.saturating_sub(number * BLOCK)..BLOCK {
            let open = settled >> place & 1 == 0;
            if let Some(header) = block.live(place).filter(|_| open)
                && visit(number * BLOCK + place, &header)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The first `max` rows of one kind of the group.
    pub(crate) fn rows(&self, kv: &dyn Kv, kind: u8, max: usize) -> Result<Vec<kv::Row>, KvError> {
        let (from, end) = self.keys.all(kind);
        kv::take(kv, &from, &end, max)
    }

    /// A delivery as it was answered, with what of it is still leased.
    fn received(&self, kv: &dyn Kv, number: u64) -> Result<Received, KvError> {
        let slots = self
            .read_delivery(kv, number)?
            .map_or(Vec::new(), |batch| batch.slots);
        let mut messages = Vec::with_capacity(slots.len());
        let mut block: Option<(u64, Block)> = None;
        for (n, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.live) {
            let wanted = slot.position / BLOCK;
            if block.as_ref().is_none_or(|(number, _)| *number != wanted) {
                block = self.read_block(kv, wanted)?.map(|block| (wanted, block));
            }
            let header = block
                .as_ref()
                .and_then(|(_, b)| b.live(slot.position % BLOCK));
            let Some(header) = header else {
                let id = self.id();
                return Err(KvError(format!(
                    "partition {id}: delivery {number} names a message that is gone"
                )));
            };
            let failed = slot.delivery_count.saturating_sub(1);
            let before = self.attempts(kv, slot.position, failed)?;
            messages.push(Delivered {
                slot: n as u16,
                delivery_count: slot.delivery_count,
                id: header.id(self.id()),
                sequence: header.sequence,
                payload: header.payload,
                enqueued_at: header.enqueued_at,
                deadline: slot.deadline,
                priority: header.priority,
                first_delivered_at: before.first_delivered_at,
                last_delivered_at: before.last_delivered_at(),
            });
        }
        Ok(Received {
            partition: self.id(),
            group: self.keys.group,
            delivery: number,
            epoch: self.group.epoch as u32,
            messages,
            more: false,
        })
    }
}

impl Shared {
    /// Visits the blocks from `first` on, read from the rows.
    pub(crate) fn visit_blocks(
        &self,
        kv: &dyn Kv,
        first: u64,
        visit: &mut dyn FnMut(u64, &mut Block) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let (_, end) = self.keys.kinds(b'm', b'm' + 1);
        let mut next = Some(first);
        while let Some(number) = next.take() {
            let Some((key, _)) = kv::first(kv, &self.keys.block(number), &end)? else {
                break;
            };
            let number = keys::tail(&key);
            if let Some(mut block) = self.read_block(kv, number)?
                && visit(number, &mut block).is_continue()
            {
                next = number.checked_add(1);
            }
        }
        Ok(())
    }
}
