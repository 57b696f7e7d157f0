//! What the queues of a namespace may ask for together, and what they do ask for.
//!
//! What counts is what queues say in their specifications, not what they hold: a queue never holds
//! more than it says, so a namespace never holds more than its quota.

mod excess;
mod report;
mod usage;

pub use excess::{Excess, Why};
pub use report::QuotaReport;
pub use usage::{Taken, Usage};

use super::names::validate_namespace;
use super::spec::{QueueSpec, Violation};
use crate::codec::{Decoded, Put, Reader};

/// The name under which the quota of all namespaces stands that have none of their own.
pub const ANY_NAMESPACE: &str = "*";
/// Namespaces with a quota at most, [`ANY_NAMESPACE`] among them.
pub const MAX_QUOTAS: usize = 1_000;
/// The highest limit of a quota, so that no sum can wrap below it.
pub const MAX_QUOTA: u64 = i64::MAX as u64;

/// What the queues of a namespace may ask for together, those that are being deleted among them.
/// 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Queues.
    pub queues: u32,
    /// Sum of `max_messages`, which each queue must say then: 0..=2^63-1.
    pub messages: u64,
    /// Sum of `max_bytes`, which each queue must say then: 0..=2^63-1.
    pub bytes: u64,
    /// Partitions.
    pub partitions: u32,
    /// Sum of `rate_per_second`, which each queue must say then: 0..=2^63-1.
    pub rate_per_second: u64,
}

/// One thing that a quota bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Queues.
    Queues,
    /// Live messages.
    Messages,
    /// Bytes of live messages.
    Bytes,
    /// Partitions.
    Partitions,
    /// Messages accepted per second.
    Rate,
}

impl Bound {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Queues,
        Self::Messages,
        Self::Bytes,
        Self::Partitions,
        Self::Rate,
    ];

    /// The field of a quota, as the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Partitions => "partitions",
            Self::Rate => "rate_per_second",
        }
    }

    /// The field of a specification that asks for it, as the API names it; of queues their name.
    pub fn field(self) -> &'static str {
        match self {
            Self::Queues => "queue.name",
            Self::Messages => "limits.max_messages",
            Self::Bytes => "limits.max_bytes",
            Self::Partitions => "partitions",
            Self::Rate => "limits.rate_per_second",
        }
    }

    /// What a queue asks for; None: without limit.
    fn asked(self, spec: &QueueSpec) -> Option<u64> {
        let limit = |limit: u64| (limit != 0).then_some(limit);
        match self {
            Self::Queues => Some(1),
            Self::Messages => limit(spec.max_messages),
            Self::Bytes => limit(spec.max_bytes),
            Self::Partitions => Some(u64::from(spec.partitions)),
            Self::Rate => limit(u64::from(spec.rate_per_second)),
        }
    }
}

impl Quota {
    /// What it allows; None: as much as one likes.
    pub fn limit(&self, bound: Bound) -> Option<u64> {
        let limit = match bound {
            Bound::Queues => u64::from(self.queues),
            Bound::Messages => self.messages,
            Bound::Bytes => self.bytes,
            Bound::Partitions => u64::from(self.partitions),
            Bound::Rate => self.rate_per_second,
        };
        (limit != 0).then_some(limit)
    }

    /// Checks a quota and the name that it shall stand under.
    pub(super) fn check(&self, namespace: &str) -> Result<(), Vec<Violation>> {
        let mut found = check_name(namespace).err().unwrap_or_default();
        for bound in Bound::ALL {
            if let Some(limit) = self.limit(bound).filter(|limit| *limit > MAX_QUOTA) {
                found.push(Violation {
                    field: bound.name(),
                    message: format!("{limit} is not in 0..{MAX_QUOTA}"),
                });
            }
        }
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(u64::from(self.queues));
        out.put_varint(self.messages);
        out.put_varint(self.bytes);
        out.put_varint(u64::from(self.partitions));
        out.put_varint(self.rate_per_second);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            queues: r.varint_u32("quota of queues")?,
            messages: r.varint("quota of messages")?,
            bytes: r.varint("quota of bytes")?,
            partitions: r.varint_u32("quota of partitions")?,
            rate_per_second: r.varint("quota of messages per second")?,
        })
    }
}

/// Checks the name that a quota stands under: a namespace, or [`ANY_NAMESPACE`].
pub(super) fn check_name(namespace: &str) -> Result<(), Vec<Violation>> {
    if namespace == ANY_NAMESPACE {
        return Ok(());
    }
    validate_namespace(namespace).map_err(|violation| {
        vec![Violation {
            field: "namespace",
            ..violation
        }]
    })
}
