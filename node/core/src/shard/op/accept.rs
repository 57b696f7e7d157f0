//! Takes in messages from the outbox of a partition, of any shard.

use bytes::Bytes;

use super::send::{LoggedPayload, put_payload, read_payload, read_priority};
use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::attempts::Attempts;
use crate::shard::config::Ordering;
use crate::shard::header::Header;
use crate::shard::id::{
    MessageId, PartitionId, key_hash, put_message_id, put_partition, read_message_id,
    read_partition,
};
use crate::shard::overflow::{DISPLACED_MAX, LEAVING_MAX};
use crate::shard::partition::{Partition, Shared, Step};
use crate::shard::reply::{OutboxMessage, OutboxReason, Refusal, Reply};
use crate::shard::stream::MAX_PRIORITY;

/// Adds messages that stand in the outbox of `source`.
///
/// The target remembers the highest number that it has accepted from each source, so an op may be
/// said again: what was accepted before is not added twice. It stops at the first message that
/// does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Partition in whose outbox the messages stand.
    pub source: PartitionId,
    /// Partition that takes them in.
    pub target: PartitionId,
    /// Number of the first one in the outbox of (source, target); the others follow one by one.
    pub first: u64,
    /// 1..=1,000 messages.
    pub messages: Vec<MovedMessage>,
}

/// A message on its way from one partition to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedMessage {
    /// Where it was first accepted; kept.
    pub id: MessageId,
    /// When it was first accepted, in ms since 1970; kept.
    pub enqueued_at: u64,
    /// Hash of its ordering key.
    pub key: Option<u64>,
    /// Not receivable before this, in ms since 1970; 0: at once.
    pub due: u64,
    /// Its own time to live in ms, from when it is receivable on; 0: none.
    pub ttl_ms: u64,
    /// 0..=[`MAX_PRIORITY`](crate::shard::MAX_PRIORITY); kept.
    pub priority: u8,
    /// Hash of its tenant; kept.
    pub tenant: Option<u64>,
    /// Header block, opaque to the core.
    pub header: Bytes,
    /// Body.
    pub body: Bytes,
}

// Frozen: these bits are in logs. The others are reserved.
const HAS_DUE: u8 = 1;
const HAS_TTL: u8 = 2;
const HAS_PRIORITY: u8 = 4;
const HAS_TENANT: u8 = 8;

impl Accept {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.source);
        put_partition(out, self.target);
        out.put_varint(self.first);
        out.put_varint(self.messages.len() as u64);
        for message in &self.messages {
            put_message_id(out, message.id);
            out.put_varint(message.enqueued_at);
            let flag = |number: u64, bit: u8| if number == 0 { 0 } else { bit };
            out.push(
                flag(message.due, HAS_DUE)
                    | flag(message.ttl_ms, HAS_TTL)
                    | flag(u64::from(message.priority), HAS_PRIORITY)
                    | flag(message.tenant.unwrap_or(0), HAS_TENANT),
            );
            // 0 is no key: a key's hash never is 0.
            out.put_u64(message.key.unwrap_or(0));
            if message.due != 0 {
                out.put_varint(message.due);
            }
            if message.ttl_ms != 0 {
                out.put_varint(message.ttl_ms);
            }
            if message.priority != 0 {
                out.push(message.priority.min(MAX_PRIORITY));
            }
            if let Some(tenant) = message.tenant.filter(|tenant| *tenant != 0) {
                out.put_u64(tenant);
            }
            put_payload(out, &message.header, &message.body);
        }
    }

    /// Bytes that this op adds to an entry, at most.
    pub fn encoded_len_max(&self) -> usize {
        self.messages
            .iter()
            .map(|m| m.header.len() + m.body.len() + 110)
            .sum::<usize>()
            + 64
    }
}

/// An [`Accept`] as logged.
#[derive(Debug)]
pub(crate) struct LoggedAccept {
    pub(crate) source: PartitionId,
    pub(crate) target: PartitionId,
    pub(crate) first: u64,
    pub(crate) messages: Vec<LoggedMoved>,
}

/// A [`MovedMessage`] as logged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoggedMoved {
    pub(crate) id: MessageId,
    pub(crate) enqueued_at: u64,
    /// 0: none.
    pub(crate) key: u64,
    /// 0: none.
    pub(crate) due: u64,
    /// 0: none.
    pub(crate) ttl_ms: u64,
    pub(crate) priority: u8,
    /// 0: none.
    pub(crate) tenant: u64,
    pub(crate) payload: LoggedPayload,
}

impl LoggedAccept {
    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let source = read_partition(r)?;
        let target = read_partition(r)?;
        let first = r.varint("outbox number")?;
        let count = r.count(15, "number of messages")?;
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            let id = read_message_id(r)?;
            let enqueued_at = r.varint("time of acceptance")?;
            let flags = r.u8("message flags")?;
            if flags & !(HAS_DUE | HAS_TTL | HAS_PRIORITY | HAS_TENANT) != 0 {
                return r.fail("message flags");
            }
            let key = r.u64("key hash")?;
            let mut number = |bit: u8, what| {
                if flags & bit == 0 {
                    Ok(0)
                } else {
                    r.varint(what)
                }
            };
            messages.push(LoggedMoved {
                id,
                enqueued_at,
                key,
                due: number(HAS_DUE, "due time")?,
                ttl_ms: number(HAS_TTL, "time to live")?,
                priority: if flags & HAS_PRIORITY == 0 {
                    0
                } else {
                    read_priority(r)?
                },
                tenant: if flags & HAS_TENANT == 0 {
                    0
                } else {
                    r.u64("tenant")?
                },
                payload: read_payload(r)?,
            });
        }
        Ok(Self {
            source,
            target,
            first,
            messages,
        })
    }
}

impl LoggedAccept {
    pub(crate) fn apply(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        if self.messages.is_empty() || self.messages.len() > super::MAX_SEND {
            return Ok(Reply::Refused(Refusal::BadCount));
        }
        let before = p.accepted(step.kv, self.source)?;
        let mut through = before;
        let mut stopped = None;
        let mut budget = DISPLACED_MAX;
        for (number, message) in (self.first..).zip(&self.messages) {
            if number <= through {
                continue;
            }
            if number > through + 1 {
                stopped = Some(Refusal::Gap);
                break;
            }
            if let Err(refusal) = message.take_in(p, step, self.source, &mut budget)? {
                stopped = Some(refusal);
                break;
            }
            through = number;
        }
        if through != before {
            p.set_accepted(step.kv, self.source, through);
        }
        // Where nothing else waits for a group, it waits for the delayed one.
        let any_delayed = self.messages.iter().any(|message| message.due > step.now);
        if p.config.ordering == Ordering::Strict && any_delayed {
            p.for_each_group(&mut |view| view.strict_advance(step))?;
        }
        Ok(Reply::Accepted { through, stopped })
    }
}

impl LoggedMoved {
    /// Adds it, or sends it on to the next home of its key.
    fn take_in(
        &self,
        p: &mut Partition,
        step: &mut Step<'_>,
        source: PartitionId,
        budget: &mut usize,
    ) -> Result<Result<(), Refusal>, KvError> {
        if self.key != 0
            && let Some(partition) = p.way_on(step.kv, source, self.key)?
        {
            let queue = p.id().queue;
            if p.outbox_pending_to(queue) >= LEAVING_MAX {
                return Ok(Err(Refusal::OutboxFull));
            }
            self.send_on(p, step, PartitionId { queue, partition });
            return Ok(Ok(()));
        }
        if let Err(refusal) = p.make_room(step, (self.payload.len, self.priority), budget)? {
            return Ok(Err(refusal));
        }
        self.add(p, step)?;
        Ok(Ok(()))
    }

    fn send_on(&self, p: &mut Partition, step: &mut Step<'_>, target: PartitionId) {
        let payload = self.payload.at(step.index);
        Shared::hold(step, payload);
        let message = OutboxMessage {
            number: 0,
            id: self.id,
            enqueued_at: self.enqueued_at,
            key: Some(self.key),
            due: self.due,
            ttl_ms: self.ttl_ms,
            priority: self.priority,
            tenant: Some(self.tenant).filter(|tenant| *tenant != 0),
            payload,
            reason: OutboxReason::Sent,
            delivery_count: 0,
            at: step.now,
            attempts: Attempts::default(),
        };
        p.put_in_outbox(step, target, message);
    }

    fn add(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<(), KvError> {
        let mut key = self.key;
        if key == 0 && p.config.ordering == Ordering::PerKey {
            // It came from a queue without keys: it is a key of its own.
            let mut id = Vec::new();
            put_message_id(&mut id, self.id);
            key = key_hash(&id);
        }
        let header = Header {
            sequence: p.state.sequence + 1,
            payload: self.payload.at(step.index),
            enqueued_at: self.enqueued_at,
            in_line_since: step.now,
            key,
            ttl: self.ttl_ms,
            priority: self.priority,
            tenant: self.tenant,
            ..Header::from_elsewhere(self.id)
        };
        p.add_by(step, header, self.due)
    }
}
