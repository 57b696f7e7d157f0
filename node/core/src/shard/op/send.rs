//! Adds messages to a partition.

mod apply;

use bytes::Bytes;

use crate::clock::YEAR_MS;
use crate::codec::{Decoded, Put, Reader};
use crate::shard::deduplication::Identity;
use crate::shard::id::{PartitionId, PayloadRef, put_partition, read_partition};
use crate::shard::stream::MAX_PRIORITY;

/// Messages per op at most.
pub const MAX_SEND: usize = 1_000;
/// Longest producer id, in bytes.
pub(crate) const MAX_PRODUCER_BYTES: usize = 64;

/// Adds messages to one partition; answered message by message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The partition.
    pub partition: PartitionId,
    /// Who sends, so that a retry is not taken for new messages.
    pub producer: Option<ProducerRef>,
    /// 1..=1,000 messages, added in this order.
    pub messages: Vec<NewMessage>,
    /// All of them are added or none. Such a batch displaces no other message: where there is no
    /// room for all of it, it is refused.
    pub atomic: bool,
}

/// A producer and the number of its first message of the op; the others follow one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerRef {
    /// Fresh for each producer instance, 1..=64 bytes.
    pub id: Bytes,
    /// From 1.
    pub first: u64,
}

/// A message as its producer gave it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewMessage {
    /// [`crate::shard::key_hash`] of the ordering key.
    pub key: Option<u64>,
    /// Not receivable before this has passed, in ms: 0..=[`YEAR_MS`]; more is cut.
    pub delay_ms: u64,
    /// Not receivable before this, in ms since 1970; 0: at once. Refused when it is more than
    /// [`YEAR_MS`] away.
    pub not_before: u64,
    /// How long it waits at most, in ms, if that is shorter than the queue's time to live: from
    /// when it is receivable on; 0: as the queue says.
    pub ttl_ms: u64,
    /// By what it is known when it is sent again.
    pub identity: Option<Identity>,
    /// 0..=[`MAX_PRIORITY`]: the higher goes first; more is cut.
    pub priority: u8,
    /// [`crate::shard::key_hash`] of the tenant that it is for, not 0: the tenants of a queue take
    /// turns.
    pub tenant: Option<u64>,
    /// Header block: attributes and the like, opaque to the core.
    pub header: Bytes,
    /// What the consumer gets.
    pub body: Bytes,
}

// Frozen: these bits are in logs. The others are reserved.
const ATOMIC: u8 = 1;

// Frozen: these bits are in logs.
const HAS_KEY: u8 = 1;
const HAS_DELAY: u8 = 2;
const HAS_NOT_BEFORE: u8 = 4;
const HAS_TTL: u8 = 8;
const HAS_ID: u8 = 16;
const HAS_CONTENT: u8 = 32;
const HAS_PRIORITY: u8 = 64;
const HAS_TENANT: u8 = 128;

impl Send {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        out.push(if self.atomic { ATOMIC } else { 0 });
        match &self.producer {
            None => out.put_varint(0),
            Some(producer) => {
                out.put_prefixed(&producer.id);
                out.put_varint(producer.first);
            }
        }
        out.put_varint(self.messages.len() as u64);
        for message in &self.messages {
            message.encode(out);
        }
    }

    /// Bytes that this op adds to an entry, at most.
    pub fn encoded_len_max(&self) -> usize {
        let messages: usize = self.messages.iter().map(NewMessage::encoded_len_max).sum();
        messages + self.producer.as_ref().map_or(1, |p| p.id.len() + 12) + 32
    }
}

impl NewMessage {
    /// Bytes that this message adds to an entry, at most.
    pub fn encoded_len_max(&self) -> usize {
        self.header.len() + self.body.len() + 90
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let (identity, hash) = match self.identity {
            None => (0, 0),
            Some(Identity::Id(hash)) => (HAS_ID, hash),
            Some(Identity::Content(hash)) => (HAS_CONTENT, hash),
        };
        out.push(
            identity
                | flag(self.key.is_some(), HAS_KEY)
                | flag(self.delay_ms != 0, HAS_DELAY)
                | flag(self.not_before != 0, HAS_NOT_BEFORE)
                | flag(self.ttl_ms != 0, HAS_TTL)
                | flag(self.priority != 0, HAS_PRIORITY)
                | flag(self.tenant.is_some(), HAS_TENANT),
        );
        if let Some(key) = self.key {
            out.put_u64(key);
        }
        if self.delay_ms != 0 {
            out.put_varint(self.delay_ms.min(YEAR_MS));
        }
        if self.not_before != 0 {
            out.put_varint(self.not_before);
        }
        if self.ttl_ms != 0 {
            out.put_varint(self.ttl_ms);
        }
        if identity != 0 {
            out.put_u128(hash);
        }
        if self.priority != 0 {
            out.push(self.priority.min(MAX_PRIORITY));
        }
        if let Some(tenant) = self.tenant {
            out.put_u64(tenant);
        }
        put_payload(out, &self.header, &self.body);
    }
}

/// Writes a payload with its length in front.
pub(super) fn put_payload(out: &mut Vec<u8>, header: &[u8], body: &[u8]) {
    let mut prefix = Vec::with_capacity(4);
    prefix.put_varint(header.len() as u64);
    out.put_varint((prefix.len() + header.len() + body.len()) as u64);
    out.extend_from_slice(&prefix);
    out.extend_from_slice(header);
    out.extend_from_slice(body);
}

/// A payload in an entry: where it is, and how long its body is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoggedPayload {
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) body_len: u32,
}

/// Reads a payload with its length in front.
pub(super) fn read_payload(r: &mut Reader<'_>) -> Decoded<LoggedPayload> {
    let len = r.count(1, "length of payload")?;
    let (Ok(offset), Ok(len32)) = (u32::try_from(r.at()), u32::try_from(len)) else {
        return r.fail("payload beyond 4 GiB");
    };
    let mut blob = Reader::new(r.bytes(len, "payload")?);
    let header = blob.count(1, "length of payload header")?;
    let body_len = (blob.remaining() - header) as u32;
    Ok(LoggedPayload {
        offset,
        len: len32,
        body_len,
    })
}

/// A [`Send`] as logged.
#[derive(Debug)]
pub(crate) struct LoggedSend<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) producer: Option<(&'a [u8], u64)>,
    pub(crate) messages: Vec<LoggedMessage>,
    pub(crate) atomic: bool,
}

/// A [`NewMessage`] as logged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoggedMessage {
    /// 0: none.
    pub(crate) key: u64,
    pub(crate) delay_ms: u64,
    /// 0: none.
    pub(crate) not_before: u64,
    /// 0: none.
    pub(crate) ttl_ms: u64,
    pub(crate) identity: Option<Identity>,
    pub(crate) priority: u8,
    /// 0: none.
    pub(crate) tenant: u64,
    pub(crate) payload: LoggedPayload,
}

impl<'a> LoggedSend<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Decoded<Self> {
        let partition = read_partition(r)?;
        let flags = r.u8("send flags")?;
        if flags & !ATOMIC != 0 {
            return r.fail("send flags");
        }
        let id = r.prefixed(MAX_PRODUCER_BYTES, "producer id")?;
        let producer = if id.is_empty() {
            None
        } else {
            Some((id, r.varint("producer sequence")?))
        };
        let count = r.count(3, "number of messages")?;
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            messages.push(LoggedMessage::decode(r)?);
        }
        Ok(Self {
            partition,
            producer,
            messages,
            atomic: flags & ATOMIC != 0,
        })
    }
}

/// Reads a priority.
pub(super) fn read_priority(r: &mut Reader<'_>) -> Decoded<u8> {
    let priority = r.u8("priority")?;
    if priority > MAX_PRIORITY {
        return r.fail("priority");
    }
    Ok(priority)
}

impl LoggedMessage {
    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let flags = r.u8("message flags")?;
        let key = if flags & HAS_KEY == 0 {
            0
        } else {
            r.u64("key hash")?.max(1)
        };
        let mut number = |bit: u8, what| {
            if flags & bit == 0 {
                Ok(0)
            } else {
                r.varint(what)
            }
        };
        Ok(Self {
            key,
            delay_ms: number(HAS_DELAY, "delay")?,
            not_before: number(HAS_NOT_BEFORE, "time of first delivery")?,
            ttl_ms: number(HAS_TTL, "time to live")?,
            identity: match flags & (HAS_ID | HAS_CONTENT) {
                0 => None,
                HAS_ID => Some(Identity::Id(r.u128("hash of deduplication id")?)),
                HAS_CONTENT => Some(Identity::Content(r.u128("hash of content")?)),
                _ => return r.fail("identity of message"),
            },
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
        })
    }
}

impl LoggedPayload {
    pub(crate) fn at(self, index: u64) -> PayloadRef {
        PayloadRef {
            index,
            offset: self.offset,
            len: self.len,
        }
    }
}
