//! Adds messages to a partition.

use bytes::Bytes;

use crate::codec::{Decoded, Put, Reader};
use crate::kv::KvError;
use crate::shard::config::Ordering;
use crate::shard::deduplication::Identity;
use crate::shard::header::Header;
use crate::shard::id::{PartitionId, PayloadRef, put_partition, read_partition};
use crate::shard::ids::NewId;
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::{Refusal, Reply, SendOutcome};

/// Messages per op at most.
pub const MAX_SEND: usize = 1_000;
/// Longest delay of a message: a year, in ms. More is cut.
pub const MAX_DELAY_MS: u64 = 366 * 24 * 3_600_000;
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
    /// Not receivable before this has passed, in ms: 0..=[`MAX_DELAY_MS`].
    pub delay_ms: u64,
    /// Not receivable before this, in ms since 1970; 0: at once. Refused when it is more than
    /// [`MAX_DELAY_MS`] away.
    pub not_before: u64,
    /// How long it waits at most, in ms, if that is shorter than the queue's time to live: from
    /// when it is receivable on; 0: as the queue says.
    pub ttl_ms: u64,
    /// By what it is known when it is sent again.
    pub identity: Option<Identity>,
    /// Header block: attributes and the like, opaque to the core.
    pub header: Bytes,
    /// What the consumer gets.
    pub body: Bytes,
}

// Frozen: these bits are in logs. The others are reserved (lane).
const HAS_KEY: u8 = 1;
const HAS_DELAY: u8 = 2;
const HAS_NOT_BEFORE: u8 = 4;
const HAS_TTL: u8 = 8;
const HAS_ID: u8 = 16;
const HAS_CONTENT: u8 = 32;
const KNOWN: u8 = HAS_KEY | HAS_DELAY | HAS_NOT_BEFORE | HAS_TTL | HAS_ID | HAS_CONTENT;

impl Send {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
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
        self.header.len() + self.body.len() + 80
    }

    fn encode(&self, out: &mut Vec<u8>) {
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
                | flag(self.ttl_ms != 0, HAS_TTL),
        );
        if let Some(key) = self.key {
            out.put_u64(key);
        }
        if self.delay_ms != 0 {
            out.put_varint(self.delay_ms.min(MAX_DELAY_MS));
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
    pub(crate) payload: LoggedPayload,
}

impl<'a> LoggedSend<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Decoded<Self> {
        let partition = read_partition(r)?;
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
        })
    }
}

impl LoggedMessage {
    fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let flags = r.u8("message flags")?;
        if flags & !KNOWN != 0 {
            return r.fail("message flags");
        }
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

impl LoggedSend<'_> {
    pub(crate) fn apply(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        let count = self.messages.len();
        if count == 0 || count > MAX_SEND {
            return Ok(Reply::Refused(Refusal::BadCount));
        }
        if let Some((id, first)) = self.producer
            && let Err(refusal) = p.meet_producer(step, id, first, count as u64)?
        {
            return Ok(Reply::Refused(refusal));
        }
        p.forget_for_send(step)?;
        let mut outcomes = Vec::with_capacity(count);
        let mut new_ids = Vec::new();
        let mut full = None;
        for (n, message) in self.messages.iter().enumerate() {
            let producer = self.producer.map(|(id, first)| (id, first + n as u64));
            let outcome = match full {
                // A smaller one that still fits would overtake what is sent again.
                Some(refusal) if p.config.ordering != Ordering::None => {
                    SendOutcome::Refused(refusal)
                }
                _ => message.apply(p, step, producer, &mut new_ids)?,
            };
            if let SendOutcome::Refused(
                refusal @ (Refusal::MessageLimit | Refusal::ByteLimit | Refusal::IdLimit),
            ) = outcome
            {
                full = Some(refusal);
            }
            outcomes.push(outcome);
        }
        p.file_ids(step, &new_ids);
        // Where nothing else waits for a group, it waits for the delayed one.
        let any_delayed = self.messages.iter().any(LoggedMessage::is_delayed);
        if p.config.ordering == Ordering::Strict && any_delayed {
            p.for_each_group(&mut |view| view.strict_advance(step))?;
        }
        Ok(Reply::Sent(outcomes))
    }
}

impl LoggedMessage {
    fn apply(
        &self,
        p: &mut Partition,
        step: &mut Step<'_>,
        producer: Option<(&[u8], u64)>,
        new_ids: &mut Vec<NewId>,
    ) -> Result<SendOutcome, KvError> {
        if let Some((id, number)) = producer {
            match p.produced(id, number) {
                Ok(None) => {}
                Ok(Some(sequence)) => return Ok(SendOutcome::Duplicate { sequence }),
                Err(refusal) => return Ok(SendOutcome::Refused(refusal)),
            }
        }
        if let Err(refusal) = self.check(p, step.now) {
            return Ok(SendOutcome::Refused(refusal));
        }
        let setting = p.config.deduplication;
        let id = match (self.identity, setting) {
            (Some(identity), Some(setting)) => setting.remembered_as(identity),
            _ => None,
        };
        if let Some(id) = id
            && let Some(sequence) = p.remembered(step.kv, id, step.now)?
        {
            // The number stands for the same message from now on, also when the id is forgotten.
            if let Some((producer, number)) = producer {
                p.remember(step.kv, producer, number, sequence)?;
            }
            return Ok(SendOutcome::Duplicate { sequence });
        }
        let max_ids = setting.filter(|_| id.is_some()).map(|it| it.max_ids);
        let room = p.has_room(self.payload.len);
        if let Err(refusal) = room.and_then(|()| p.has_room_for_id(max_ids)) {
            return Ok(SendOutcome::Refused(refusal));
        }
        let sequence = self.add(p, step)?;
        if let Some(id) = id {
            p.remember_id(step, (id, sequence))?;
            new_ids.push((id, sequence));
        }
        if let Some((id, number)) = producer {
            p.remember(step.kv, id, number, sequence)?;
        }
        Ok(SendOutcome::Accepted { sequence })
    }

    /// Adds it as a new message. Its sequence.
    fn add(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<u64, KvError> {
        let sequence = p.state.sequence + 1;
        let mut header = Header {
            sequence,
            payload: self.payload.at(step.index),
            enqueued_at: step.now,
            ready_from: step.now,
            ttl: self.ttl_ms,
            key: self.key,
            due: 0,
            origin: None,
            loose: false,
        };
        let due = self.due(step.now);
        if due <= step.now {
            p.add(step, header)?;
        } else if p.config.ordering == Ordering::None {
            p.add_delayed(step, header, due);
        } else {
            header.due = due;
            header.ready_from = due;
            p.add(step, header)?;
        }
        Ok(sequence)
    }

    fn is_delayed(&self) -> bool {
        self.delay_ms != 0 || self.not_before != 0
    }

    /// When it is receivable at the earliest, ms.
    fn due(&self, now: u64) -> u64 {
        let delayed = now.saturating_add(self.delay_ms.min(MAX_DELAY_MS));
        delayed.max(self.not_before)
    }

    fn check(&self, p: &Partition, now: u64) -> Result<(), Refusal> {
        let max = p.config.max_message_bytes;
        if max != 0 && self.payload.body_len > max {
            return Err(Refusal::TooLarge);
        }
        if p.config.ordering == Ordering::PerKey && self.key == 0 {
            return Err(Refusal::KeyRequired);
        }
        if self.not_before > now.saturating_add(MAX_DELAY_MS) {
            return Err(Refusal::TooLate);
        }
        if p.config.deduplication.is_none() && matches!(self.identity, Some(Identity::Id(_))) {
            return Err(Refusal::NoDeduplication);
        }
        Ok(())
    }
}
