//! What one partition promises.

use super::backoff::Backoff;
use super::deduplication::Deduplication;
use super::group_config::GroupConfig;
use super::home::MAX_EARLIER;
use super::overflow::Overflow;
use super::tenants::TenantWeight;
use crate::codec::{Decoded, Put, Reader};

/// What order a queue keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// None is promised.
    #[default]
    None,
    /// Per ordering key: at most one message of a key is in flight, order is kept through nack,
    /// delay and the end of a lease.
    PerKey,
    /// The whole partition is one key.
    Strict,
}

impl Ordering {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::PerKey => 1,
            Self::Strict => 2,
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match r.u8("ordering")? {
            0 => Ok(Self::None),
            1 => Ok(Self::PerKey),
            2 => Ok(Self::Strict),
            _ => r.fail("ordering"),
        }
    }
}

/// What a delivery means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// It is leased until it is acked.
    #[default]
    AtLeastOnce,
    /// It is acked by being delivered.
    AtMostOnce,
}

impl Delivery {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::AtLeastOnce => 0,
            Self::AtMostOnce => 1,
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match r.u8("delivery guarantee")? {
            0 => Ok(Self::AtLeastOnce),
            1 => Ok(Self::AtMostOnce),
            _ => r.fail("delivery guarantee"),
        }
    }
}

/// What becomes of a message whose time to live is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExpiry {
    /// It is gone.
    #[default]
    Drop,
    /// It goes to the dead-letter queue.
    DeadLetter,
}

impl OnExpiry {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Drop => 0,
            Self::DeadLetter => 1,
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match r.u8("action on expiry")? {
            0 => Ok(Self::Drop),
            1 => Ok(Self::DeadLetter),
            _ => r.fail("action on expiry"),
        }
    }
}

/// Where failed messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterTarget {
    /// Id of the queue.
    pub queue: u64,
    /// Its number of partitions, at least 1.
    pub partitions: u32,
}

/// What one partition promises: the queue's specification, with the partition's share of limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionConfig {
    /// Rises with every change.
    pub revision: u64,
    /// Cannot change.
    pub ordering: Ordering,
    /// At least once or at most once.
    pub delivery: Delivery,
    /// Lease of a delivery in ms, 0..=12 h.
    pub lease_ms: u64,
    /// How long a message waits at most, in ms; 0: for ever.
    pub ttl_ms: u64,
    /// What becomes of it then.
    pub on_expiry: OnExpiry,
    /// Deliveries without an ack before a message is dead-lettered, at least 1.
    pub max_deliveries: u32,
    /// How long a message waits after a delivery that failed; None: it does not.
    pub backoff: Option<Backoff>,
    /// Where failed messages go; None: they are dropped.
    pub dead_letter: Option<DeadLetterTarget>,
    /// Live messages at most; 0: no limit.
    pub max_messages: u64,
    /// Bytes of live messages at most; 0: no limit.
    pub max_bytes: u64,
    /// Largest body in bytes; 0: no limit.
    pub max_message_bytes: u32,
    /// Deliveries in flight at most, of all groups together; 0: no limit.
    pub max_in_flight: u32,
    /// What becomes of a message that would go beyond `max_messages` or `max_bytes`.
    pub overflow: Overflow,
    /// How messages that are sent again are known; None: by their producer's numbers only.
    pub deduplication: Option<Deduplication>,
    /// Consumer groups in order of their ids, at most [`MAX_GROUPS`](super::MAX_GROUPS). The
    /// default one (0) is there also when it is not among them.
    pub groups: Vec<GroupConfig>,
    /// How long a message can be replayed after all groups have settled it, in ms; 0: not at all.
    pub retain_ms: u64,
    /// A message is received as though it had come so much earlier for each step of its priority,
    /// in ms: what waits longer than that for each step that another one is above it goes before
    /// it. 0: what has a higher priority always goes first, and the lowest may wait for ever.
    pub aging_ms: u64,
    /// Tenants that get more than one message in a turn, in order of their hashes, at most
    /// [`MAX_WEIGHTS`](super::MAX_WEIGHTS).
    pub weights: Vec<TenantWeight>,
    /// Messages accepted from producers per 1,000 s at most, beside a burst of one second's worth
    /// or one message; 0: no limit. Those that come by outboxes and duplicates do not count.
    pub rate: u64,
    /// Keys have slots ([`slot_of_key`](super::slot_of_key)), and a receive may be for some of
    /// them. Only with [`Ordering::PerKey`] and without weights; cannot change.
    pub sticky_keys: bool,
    /// Partitions of the queue; 0: not told. Matters with order by key only.
    pub partitions: u32,
    /// How many it had before, from the first number on, rising.
    pub earlier: Vec<u32>,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self {
            revision: 1,
            ordering: Ordering::None,
            delivery: Delivery::AtLeastOnce,
            lease_ms: 30_000,
            ttl_ms: 96 * 3_600_000,
            on_expiry: OnExpiry::Drop,
            max_deliveries: 5,
            backoff: None,
            dead_letter: None,
            max_messages: 0,
            max_bytes: 0,
            max_message_bytes: 256 * 1024,
            max_in_flight: 20_000,
            overflow: Overflow::Reject,
            deduplication: None,
            groups: Vec::new(),
            retain_ms: 0,
            aging_ms: 60_000,
            weights: Vec::new(),
            rate: 0,
            sticky_keys: false,
            partitions: 0,
            earlier: Vec::new(),
        }
    }
}

const VERSION: u8 = 1;

impl PartitionConfig {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.put_varint(self.revision);
        out.push(self.ordering.code());
        out.push(self.delivery.code());
        out.put_varint(self.lease_ms);
        out.put_varint(self.ttl_ms);
        out.push(self.on_expiry.code());
        out.put_varint(u64::from(self.max_deliveries));
        Backoff::encode(self.backoff.as_ref(), out);
        match self.dead_letter {
            None => out.put_varint(0),
            Some(target) => {
                out.put_varint(u64::from(target.partitions.max(1)));
                out.put_varint(target.queue);
            }
        }
        out.put_varint(self.max_messages);
        out.put_varint(self.max_bytes);
        out.put_varint(u64::from(self.max_message_bytes));
        out.put_varint(u64::from(self.max_in_flight));
        out.push(self.overflow.code());
        Deduplication::encode(self.deduplication.as_ref(), out);
        GroupConfig::encode_all(&self.groups, out);
        out.put_varint(self.retain_ms);
        out.put_varint(self.aging_ms);
        TenantWeight::encode_all(&self.weights, out);
        out.put_varint(self.rate);
        out.push(u8::from(self.sticky_keys));
        out.put_varint(u64::from(self.partitions));
        put_counts(out, &self.earlier);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        r.version(VERSION, "version of partition config")?;
        Ok(Self {
            revision: r.varint("revision")?,
            ordering: Ordering::read(r)?,
            delivery: Delivery::read(r)?,
            lease_ms: r.varint("lease")?,
            ttl_ms: r.varint("time to live")?,
            on_expiry: OnExpiry::read(r)?,
            max_deliveries: r.varint_u32("max deliveries")?.max(1),
            backoff: Backoff::decode(r)?,
            dead_letter: match r.varint_u32("dead-letter partitions")? {
                0 => None,
                partitions => Some(DeadLetterTarget {
                    queue: r.varint("dead-letter queue")?,
                    partitions,
                }),
            },
            max_messages: r.varint("max messages")?,
            max_bytes: r.varint("max bytes")?,
            max_message_bytes: r.varint_u32("max message bytes")?,
            max_in_flight: r.varint_u32("max in flight")?,
            overflow: Overflow::read(r)?,
            deduplication: Deduplication::decode(r)?,
            groups: GroupConfig::decode_all(r)?,
            retain_ms: r.varint("time of retention")?,
            aging_ms: r.varint("time of aging")?,
            weights: TenantWeight::decode_all(r)?,
            rate: r.varint("rate")?,
            sticky_keys: match r.u8("sticky keys")? {
                0 => false,
                1 => true,
                _ => return r.fail("sticky keys"),
            },
            partitions: r.varint_u32("number of partitions")?,
            earlier: read_counts(r)?,
        })
    }
}

/// Writes the numbers of partitions that a queue had.
pub(crate) fn put_counts(out: &mut Vec<u8>, counts: &[u32]) {
    out.put_varint(counts.len() as u64);
    for count in counts {
        out.put_varint(u64::from(*count));
    }
}

/// Reads what [`put_counts`] wrote.
pub(crate) fn read_counts(r: &mut Reader<'_>) -> Decoded<Vec<u32>> {
    let many = r.count(1, "earlier numbers of partitions")?;
    if many > MAX_EARLIER {
        return r.fail("earlier numbers of partitions");
    }
    let read = |_| r.varint_u32("earlier number of partitions");
    (0..many).map(read).collect()
}
