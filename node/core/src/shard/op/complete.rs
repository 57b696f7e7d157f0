//! Acks deliveries and sends what came of them, in one step.

use std::collections::BTreeMap;

use super::send::{LoggedMessage, NewMessage};
use super::settle::MAX_SETTLE;
use crate::clock::YEAR_MS;
use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::attempts::Attempts;
use crate::shard::group::View;
use crate::shard::id::{MessageId, PartitionId, Receipt, put_partition, read_partition};
use crate::shard::overflow::LEAVING_MAX;
use crate::shard::partition::{Partition, Shared, Step};
use crate::shard::reply::{OutboxMessage, OutboxReason, Refusal, Reply};
use crate::shard::state::Phase;

/// Outputs per op at most.
pub const MAX_OUTPUTS: usize = 1_000;

/// Acks deliveries of one partition and group, and sends messages to partitions of any shard: all
/// of it or nothing.
///
/// The outputs go by way of the outbox. Each has been accepted when this is, with a number of this
/// partition in its id; a target that has no room for it yet lets it wait here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete {
    /// The partition.
    pub partition: PartitionId,
    /// The group.
    pub group: u32,
    /// 1..=1,000 deliveries, each once. When one of them is not leased any more, nothing is done.
    pub acks: Vec<Ack>,
    /// 0..=1,000 messages, sent in this order.
    pub outputs: Vec<Output>,
}

/// A delivery that is acked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ack {
    /// Number of the delivery, from the receipt.
    pub delivery: u64,
    /// Place in its batch, from the receipt.
    pub slot: u16,
    /// Epoch of the group, from the receipt.
    pub epoch: u32,
}

impl From<&Receipt> for Ack {
    fn from(receipt: &Receipt) -> Self {
        let Receipt {
            delivery,
            slot,
            epoch,
            ..
        } = *receipt;
        Self {
            delivery,
            slot,
            epoch,
        }
    }
}

/// A message that came of what is acked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where it goes.
    pub target: PartitionId,
    /// What it says. It is not compared with others: its `identity` is left out.
    pub message: NewMessage,
}

impl Complete {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        out.put_varint(u64::from(self.group));
        out.put_varint(self.acks.len() as u64);
        for ack in &self.acks {
            out.put_varint(ack.delivery);
            out.put_varint(u64::from(ack.slot));
            out.put_varint(u64::from(ack.epoch));
        }
        out.put_varint(self.outputs.len() as u64);
        for output in &self.outputs {
            put_partition(out, output.target);
            output.message.encode(out);
        }
    }

    /// Bytes that this op adds to an entry, at most.
    pub fn encoded_len_max(&self) -> usize {
        let outputs = self.outputs.iter();
        let outputs: usize = outputs.map(|it| it.message.encoded_len_max() + 16).sum();
        outputs + self.acks.len() * 24 + 48
    }
}

/// A [`Complete`] as logged.
#[derive(Debug)]
pub(crate) struct LoggedComplete {
    pub(crate) partition: PartitionId,
    pub(crate) group: u32,
    acks: Vec<Ack>,
    outputs: Vec<(PartitionId, LoggedMessage)>,
}

impl LoggedComplete {
    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let partition = read_partition(r)?;
        let group = r.varint_u32("group of acks")?;
        let count = r.count(3, "number of acks")?;
        let mut acks = Vec::with_capacity(count);
        for _ in 0..count {
            acks.push(Ack {
                delivery: r.varint("delivery")?,
                slot: r.varint_u16("slot")?,
                epoch: r.varint_u32("epoch")?,
            });
        }
        let count = r.count(5, "number of outputs")?;
        let mut outputs = Vec::with_capacity(count);
        for _ in 0..count {
            outputs.push((read_partition(r)?, LoggedMessage::decode(r)?));
        }
        Ok(Self {
            partition,
            group,
            acks,
            outputs,
        })
    }

    pub(crate) fn apply(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        let bad_count = self.acks.is_empty()
            || self.acks.len() > MAX_SETTLE
            || self.outputs.len() > MAX_OUTPUTS;
        if bad_count {
            return Ok(Reply::Refused(Refusal::BadCount));
        }
        let Some(mut view) = p.view(self.group) else {
            return Ok(Reply::Refused(Refusal::NoGroup));
        };
        if let Some(refusal) = self.check(&mut view, step)? {
            return Ok(Reply::Refused(refusal));
        }
        for ack in &self.acks {
            if let Some(lease) = view.end_lease(step, ack.delivery, ack.slot)? {
                view.acked(step, &lease)?;
            }
        }
        let first = view.state.sequence + 1;
        for (target, message) in &self.outputs {
            view.leave_for(step, *target, message);
        }
        Ok(Reply::Completed { first })
    }

    fn check(&self, p: &mut View<'_>, step: &Step<'_>) -> Result<Option<Refusal>, KvError> {
        if p.group.phase != Phase::Settled {
            return Ok(Some(Refusal::StaleReceipt));
        }
        let mut acks = self.acks.clone();
        acks.sort_unstable();
        let twice = acks.windows(2).any(|two| two[0] == two[1]);
        for ack in &acks {
            let current = u64::from(ack.epoch) == p.group.epoch;
            if twice || !current || !p.is_leased(step.kv, ack.delivery, ack.slot)? {
                return Ok(Some(Refusal::StaleReceipt));
            }
        }
        let mut outputs = BTreeMap::<u64, u64>::new();
        for (target, _) in &self.outputs {
            *outputs.entry(target.queue).or_default() += 1;
        }
        let full = |(queue, more)| p.outbox_pending_to(queue) + more > LEAVING_MAX;
        if outputs.into_iter().any(full) {
            return Ok(Some(Refusal::OutboxFull));
        }
        let late = step.now.saturating_add(YEAR_MS);
        let too_late = |(_, output): &(_, LoggedMessage)| output.not_before > late;
        Ok(self
            .outputs
            .iter()
            .any(too_late)
            .then_some(Refusal::TooLate))
    }
}

impl Shared {
    /// Puts a new message into the outbox for a target.
    fn leave_for(&mut self, step: &mut Step<'_>, target: PartitionId, message: &LoggedMessage) {
        self.state.sequence += 1;
        let PartitionId { queue, partition } = self.keys.0;
        let id = MessageId {
            queue,
            partition,
            sequence: self.state.sequence,
        };
        let payload = message.payload.at(step.index);
        let due = message.due(step.now);
        Self::hold(step, payload);
        let message = OutboxMessage {
            number: 0,
            id,
            enqueued_at: step.now,
            key: Some(message.key).filter(|key| *key != 0),
            due: if due > step.now { due } else { 0 },
            ttl_ms: message.ttl_ms,
            priority: message.priority,
            tenant: Some(message.tenant).filter(|tenant| *tenant != 0),
            payload,
            reason: OutboxReason::Sent,
            delivery_count: 0,
            at: step.now,
            attempts: Attempts::default(),
        };
        self.put_in_outbox(step, target, message);
    }
}
