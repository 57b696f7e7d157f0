//! Limits of a queue in a manifest.

use roadstead_crds::{Limits, Overflow};
use roadstead_proto::v1;

use crate::queue::{positive, size};
use crate::validate::Violation;

/// What the node is asked for.
pub(crate) fn specification(limits: &Limits) -> Result<v1::QueueLimits, Violation> {
    let largest = size(&limits.max_message_bytes, "spec.limits.maxMessageBytes")?;
    let max_bytes = match &limits.max_bytes {
        Some(bytes) => size(bytes, "spec.limits.maxBytes")?,
        None => 0,
    };
    Ok(v1::QueueLimits {
        max_messages: u64::try_from(limits.max_messages.unwrap_or(0)).unwrap_or(0),
        max_bytes,
        max_message_bytes: u32::try_from(largest).unwrap_or(u32::MAX),
        max_in_flight: positive(limits.max_in_flight),
        overflow: match limits.overflow {
            Overflow::Reject => v1::OverflowPolicy::Reject,
            Overflow::DropOldest => v1::OverflowPolicy::DropOldest,
            Overflow::DeadLetterOldest => v1::OverflowPolicy::DeadLetterOldest,
        }
        .into(),
        rate_per_second: positive(limits.rate_per_second.unwrap_or(0)),
    })
}
