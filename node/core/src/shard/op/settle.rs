//! Acks, nacks, rejects and extends deliveries.

use bytes::Bytes;

use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::attempts::{Attempt, AttemptEnd};
use crate::shard::breaker::Outcome;
use crate::shard::group::View;
use crate::shard::id::{PartitionId, Receipt, put_partition, read_partition};
use crate::shard::lease::{Lease, MAX_LEASE_MS};
use crate::shard::outbox::Failed;
use crate::shard::partition::Step;
use crate::shard::place::Back;
use crate::shard::reply::{DeadLetterReason, EventKind, Refusal, Reply, SettleOutcome};
use crate::shard::state::Phase;

/// Settlements per op at most.
pub const MAX_SETTLE: usize = 1_000;
/// Longest error text that is kept, in bytes. Longer ones are cut.
pub const MAX_ERROR_BYTES: usize = 1_024;

/// Settles deliveries of one partition and group; answered item by item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// The partition.
    pub partition: PartitionId,
    /// The group.
    pub group: u32,
    /// 1..=1,000 settlements, carried out in this order.
    pub items: Vec<Settlement>,
}

/// What to do with one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Number of the delivery, from the receipt.
    pub delivery: u64,
    /// Place in its batch, from the receipt.
    pub slot: u16,
    /// Epoch of the group, from the receipt.
    pub epoch: u32,
    /// What to do.
    pub action: Action,
}

impl Settlement {
    /// A settlement of the delivery that `receipt` names.
    pub fn new(receipt: &Receipt, action: Action) -> Self {
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
            action,
        }
    }
}

/// The ways to settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Done: the message is gone for this group.
    Ack,
    /// Not done: deliver it again.
    Nack {
        /// Not before this has passed: 0..=12 h in ms, more is cut; None: as the queue's backoff
        /// says.
        delay_ms: Option<u64>,
        /// Kept for the dead letter.
        error: Bytes,
        /// It was not tried: this delivery does not count, and the delay is not waited.
        unstarted: bool,
    },
    /// Never deliver it again: dead-letter it now.
    Reject {
        /// Kept with the dead letter.
        error: Bytes,
    },
    /// The lease ends this long from now: 0..=12 h in ms, more is cut.
    Extend {
        /// Milliseconds.
        lease_ms: u64,
    },
}

// Frozen: these bytes are in logs.
const ACK: u8 = 0;
const NACK: u8 = 1;
const NACK_UNSTARTED: u8 = 2;
const REJECT: u8 = 3;
const EXTEND: u8 = 4;
const NACK_AFTER: u8 = 5;

impl Settle {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        out.put_varint(u64::from(self.group));
        out.put_varint(self.items.len() as u64);
        for item in &self.items {
            item.encode(out);
        }
    }
}

fn cut(error: &Bytes) -> &[u8] {
    &error[..error.len().min(MAX_ERROR_BYTES)]
}

impl Settlement {
    fn encode(&self, out: &mut Vec<u8>) {
        let kind = match &self.action {
            Action::Ack => ACK,
            Action::Nack {
                unstarted: true, ..
            } => NACK_UNSTARTED,
            Action::Nack { delay_ms: None, .. } => NACK,
            Action::Nack {
                delay_ms: Some(_), ..
            } => NACK_AFTER,
            Action::Reject { .. } => REJECT,
            Action::Extend { .. } => EXTEND,
        };
        out.push(kind);
        out.put_varint(self.delivery);
        out.put_varint(u64::from(self.slot));
        out.put_varint(u64::from(self.epoch));
        match &self.action {
            Action::Ack => {}
            Action::Nack {
                delay_ms,
                error,
                unstarted,
            } => {
                if let Some(delay_ms) = delay_ms.filter(|_| !unstarted) {
                    out.put_varint(delay_ms);
                }
                out.put_prefixed(cut(error));
            }
            Action::Reject { error } => out.put_prefixed(cut(error)),
            Action::Extend { lease_ms } => out.put_varint(*lease_ms),
        }
    }
}

/// A [`Settle`] as logged.
#[derive(Debug)]
pub(crate) struct LoggedSettle<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) group: u32,
    pub(crate) items: Vec<LoggedSettlement<'a>>,
}

/// A [`Settlement`] as logged.
#[derive(Debug)]
pub(crate) struct LoggedSettlement<'a> {
    pub(crate) delivery: u64,
    pub(crate) slot: u16,
    pub(crate) epoch: u32,
    pub(crate) action: LoggedAction<'a>,
}

/// An [`Action`] as logged.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LoggedAction<'a> {
    Ack,
    Nack {
        delay_ms: Option<u64>,
        error: &'a [u8],
        unstarted: bool,
    },
    Reject {
        error: &'a [u8],
    },
    Extend {
        lease_ms: u64,
    },
}

impl<'a> LoggedSettle<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Decoded<Self> {
        let partition = read_partition(r)?;
        let group = r.varint_u32("settle group")?;
        let count = r.count(4, "number of settlements")?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(LoggedSettlement::decode(r)?);
        }
        Ok(Self {
            partition,
            group,
            items,
        })
    }
}

impl<'a> LoggedSettlement<'a> {
    fn decode(r: &mut Reader<'a>) -> Decoded<Self> {
        let kind = r.u8("kind of settlement")?;
        let delivery = r.varint("delivery")?;
        let slot = r.varint_u16("slot")?;
        let epoch = r.varint_u32("epoch")?;
        let action = match kind {
            ACK => LoggedAction::Ack,
            NACK | NACK_UNSTARTED | NACK_AFTER => LoggedAction::Nack {
                delay_ms: if kind == NACK_AFTER {
                    Some(r.varint("delay")?)
                } else {
                    None
                },
                error: r.prefixed(MAX_ERROR_BYTES, "error text")?,
                unstarted: kind == NACK_UNSTARTED,
            },
            REJECT => LoggedAction::Reject {
                error: r.prefixed(MAX_ERROR_BYTES, "error text")?,
            },
            EXTEND => LoggedAction::Extend {
                lease_ms: r.varint("lease")?,
            },
            _ => return r.fail("kind of settlement"),
        };
        Ok(Self {
            delivery,
            slot,
            epoch,
            action,
        })
    }
}

impl LoggedSettle<'_> {
    pub(crate) fn apply(&self, p: &mut View<'_>, step: &mut Step<'_>) -> Result<Reply, KvError> {
        if self.items.is_empty() || self.items.len() > MAX_SETTLE {
            return Ok(Reply::Refused(Refusal::BadCount));
        }
        let mut outcomes = Vec::with_capacity(self.items.len());
        for item in &self.items {
            outcomes.push(item.apply(p, step)?);
        }
        Ok(Reply::Settled(outcomes))
    }
}

impl View<'_> {
    /// Removes a message whose lease has just ended with an ack.
    #[inline]
    pub(crate) fn acked(&mut self, step: &mut Step<'_>, lease: &Lease) -> Result<(), KvError> {
        self.note_outcome(step, lease.position, Outcome::Success)?;
        self.remove(step, lease.position, lease.failed())?
            .free(step)?;
        self.group.acked += 1;
        Ok(())
    }
}

impl LoggedSettlement<'_> {
    fn apply(&self, p: &mut View<'_>, step: &mut Step<'_>) -> Result<SettleOutcome, KvError> {
        if u64::from(self.epoch) != p.group.epoch || p.group.phase != Phase::Settled {
            return Ok(SettleOutcome::Stale);
        }
        if let LoggedAction::Extend { lease_ms } = self.action {
            let deadline = step.now + lease_ms.min(MAX_LEASE_MS);
            let done = p.extend(step, self.delivery, self.slot, deadline)?;
            return Ok(if done {
                SettleOutcome::Done
            } else {
                SettleOutcome::Stale
            });
        }
        let Some(lease) = p.end_lease(step, self.delivery, self.slot)? else {
            return Ok(SettleOutcome::Stale);
        };
        match self.action {
            LoggedAction::Ack | LoggedAction::Extend { .. } => {
                p.acked(step, &lease)?;
            }
            LoggedAction::Nack {
                unstarted: true, ..
            } => {
                p.give_back(
                    step,
                    Back {
                        position: lease.position,
                        due: 0,
                        delivery_count: lease.failed(),
                    },
                )?;
            }
            LoggedAction::Nack {
                delay_ms, error, ..
            } => {
                p.note_outcome(step, lease.position, Outcome::Failure)?;
                nack(p, step, lease, (delay_ms, error))?;
            }
            LoggedAction::Reject { error } => {
                p.note_outcome(step, lease.position, Outcome::Failure)?;
                let attempt = lease.attempt(step.now, AttemptEnd::Rejected, error);
                fail(p, step, lease, (DeadLetterReason::Rejected, attempt))?;
            }
        }
        Ok(SettleOutcome::Done)
    }
}

fn fail(
    p: &mut View<'_>,
    step: &mut Step<'_>,
    lease: Lease,
    (reason, last): (DeadLetterReason, Attempt),
) -> Result<(), KvError> {
    p.fail(
        step,
        Failed {
            position: lease.position,
            before: lease.failed(),
            reason,
            last: Some(last),
        },
    )
}

fn nack(
    p: &mut View<'_>,
    step: &mut Step<'_>,
    lease: Lease,
    (delay_ms, error): (Option<u64>, &[u8]),
) -> Result<(), KvError> {
    p.group.nacked += 1;
    let attempt = lease.attempt(step.now, AttemptEnd::Nacked, error);
    if lease.delivery_count >= p.config.max_deliveries {
        return fail(p, step, lease, (DeadLetterReason::MaxDeliveries, attempt));
    }
    let Lease {
        position,
        delivery_count,
        ..
    } = lease;
    let header = p.header(step.kv, position)?;
    p.event(step, header.id(p.id()), EventKind::Nacked(delivery_count));
    p.keep_attempt(step, (position, lease.failed()), attempt)?;
    let delay_ms = delay_ms.unwrap_or_else(|| p.backoff(delivery_count, &header));
    let due = step.now + delay_ms.min(MAX_LEASE_MS);
    p.give_back(
        step,
        Back {
            position,
            due,
            delivery_count,
        },
    )
}
