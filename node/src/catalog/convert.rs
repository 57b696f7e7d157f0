//! Queues as the API has them, from and to the core's.

use std::time::Duration;

use prost_types::Timestamp;
use roadstead_core::catalog::{DEFAULT_BACKOFF, Queue, QueueName, QueueSpec};
use roadstead_core::shard::{Backoff, Delivery, Growth, OnExpiry, Ordering, Overflow};
use roadstead_proto::v1;

use super::{deduplication, fairness, groups};
use crate::gateway::ApiError;
use crate::gateway::validate::known;
use crate::shard::wire::millis;

/// The specification that a request asks for; fields that are absent take their defaults.
pub fn spec_from_wire(wire: &v1::QueueSpec) -> Result<QueueSpec, ApiError> {
    let defaults = QueueSpec::default();
    let limits = wire.limits.unwrap_or_default();
    let retries = wire.retries.unwrap_or_default();
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    let ordering = match known("spec.ordering", wire.ordering)? {
        v1::Ordering::Unspecified | v1::Ordering::None => Ordering::None,
        v1::Ordering::PerKey => Ordering::PerKey,
        v1::Ordering::Strict => Ordering::Strict,
    };
    Ok(QueueSpec {
        partitions: or(wire.partitions, defaults.partitions),
        ordering,
        delivery: match known("spec.delivery", wire.delivery)? {
            v1::DeliveryGuarantee::Unspecified | v1::DeliveryGuarantee::AtLeastOnce => {
                Delivery::AtLeastOnce
            }
            v1::DeliveryGuarantee::AtMostOnce => Delivery::AtMostOnce,
        },
        lease_ms: milliseconds("spec.lease", wire.lease.as_ref(), defaults.lease_ms)?,
        ttl_ms: milliseconds(
            "spec.time_to_live",
            wire.time_to_live.as_ref(),
            defaults.ttl_ms,
        )?,
        on_expiry: match known("spec.expiry_action", wire.expiry_action)? {
            v1::ExpiryAction::Unspecified | v1::ExpiryAction::Drop => OnExpiry::Drop,
            v1::ExpiryAction::DeadLetter => OnExpiry::DeadLetter,
        },
        max_deliveries: or(retries.max_deliveries, defaults.max_deliveries),
        backoff: backoff_from_wire(&retries.backoff.unwrap_or_default())?,
        dead_letter: wire.dead_letter.as_ref().map(|policy| policy.queue.clone()),
        max_messages: limits.max_messages,
        max_bytes: limits.max_bytes,
        max_message_bytes: or(limits.max_message_bytes, defaults.max_message_bytes),
        max_in_flight: or(limits.max_in_flight, defaults.max_in_flight),
        overflow: match known("spec.limits.overflow", limits.overflow)? {
            v1::OverflowPolicy::Unspecified | v1::OverflowPolicy::Reject => Overflow::Reject,
            v1::OverflowPolicy::DropOldest => Overflow::DropOldest,
            v1::OverflowPolicy::DeadLetterOldest => Overflow::DeadLetterOldest,
        },
        deduplication: deduplication::from_wire(wire.deduplication.as_ref(), ordering)?,
        groups: groups::from_wire(&wire.groups)?,
        retain_ms: milliseconds(
            "spec.retain_after_ack",
            wire.retain_after_ack.as_ref(),
            defaults.retain_ms,
        )?,
        aging_ms: fairness::aging_from_wire(wire.priorities.as_ref(), defaults.aging_ms)?,
        weights: fairness::weights_from_wire(wire.fairness.as_ref())?,
        rate_per_second: limits.rate_per_second,
        sticky_keys: wire.sticky_keys,
    })
}

fn backoff_from_wire(wire: &v1::Backoff) -> Result<Option<Backoff>, ApiError> {
    let defaults = DEFAULT_BACKOFF;
    let growth = match known("spec.retries.backoff.type", wire.r#type)? {
        v1::BackoffType::None => return Ok(None),
        v1::BackoffType::Fixed => Growth::Fixed,
        v1::BackoffType::Linear => Growth::Linear,
        v1::BackoffType::Unspecified | v1::BackoffType::Exponential => Growth::Exponential,
    };
    let field = "spec.retries.backoff.initial";
    let initial_ms = milliseconds(field, wire.initial.as_ref(), defaults.initial_ms)?;
    // The default gives way: an initial wait alone is not refused for being longer than it.
    let longest = defaults.max_ms.max(initial_ms);
    let max_ms = milliseconds("spec.retries.backoff.max", wire.max.as_ref(), longest)?;
    let jitter = wire.jitter_percent.map(u8::try_from);
    Ok(Some(Backoff {
        growth,
        initial_ms,
        max_ms,
        jitter_percent: jitter.map_or(defaults.jitter_percent, |jitter| jitter.unwrap_or(u8::MAX)),
    }))
}

fn backoff_to_wire(backoff: Option<&Backoff>) -> v1::Backoff {
    let duration = |ms| prost_types::Duration::try_from(Duration::from_millis(ms)).ok();
    let Some(backoff) = backoff else {
        return v1::Backoff {
            r#type: v1::BackoffType::None.into(),
            ..v1::Backoff::default()
        };
    };
    let growth = match backoff.growth {
        Growth::Fixed => v1::BackoffType::Fixed,
        Growth::Linear => v1::BackoffType::Linear,
        Growth::Exponential => v1::BackoffType::Exponential,
    };
    v1::Backoff {
        r#type: growth.into(),
        initial: duration(backoff.initial_ms),
        max: duration(backoff.max_ms),
        jitter_percent: Some(u32::from(backoff.jitter_percent)),
    }
}

/// The specification as the API shows it, defaults filled in.
pub fn spec_to_wire(spec: &QueueSpec) -> v1::QueueSpec {
    let duration = |ms| prost_types::Duration::try_from(Duration::from_millis(ms)).ok();
    v1::QueueSpec {
        partitions: spec.partitions,
        ordering: match spec.ordering {
            Ordering::None => v1::Ordering::None,
            Ordering::PerKey => v1::Ordering::PerKey,
            Ordering::Strict => v1::Ordering::Strict,
        }
        .into(),
        delivery: match spec.delivery {
            Delivery::AtLeastOnce => v1::DeliveryGuarantee::AtLeastOnce,
            Delivery::AtMostOnce => v1::DeliveryGuarantee::AtMostOnce,
        }
        .into(),
        lease: duration(spec.lease_ms),
        time_to_live: duration(spec.ttl_ms),
        retries: Some(v1::RetryPolicy {
            max_deliveries: spec.max_deliveries,
            backoff: Some(backoff_to_wire(spec.backoff.as_ref())),
        }),
        expiry_action: match spec.on_expiry {
            OnExpiry::Drop => v1::ExpiryAction::Drop,
            OnExpiry::DeadLetter => v1::ExpiryAction::DeadLetter,
        }
        .into(),
        dead_letter: spec.dead_letter.as_ref().map(|queue| v1::DeadLetterPolicy {
            queue: queue.clone(),
        }),
        limits: Some(v1::QueueLimits {
            max_messages: spec.max_messages,
            max_bytes: spec.max_bytes,
            max_message_bytes: spec.max_message_bytes,
            max_in_flight: spec.max_in_flight,
            overflow: match spec.overflow {
                Overflow::Reject => v1::OverflowPolicy::Reject,
                Overflow::DropOldest => v1::OverflowPolicy::DropOldest,
                Overflow::DeadLetterOldest => v1::OverflowPolicy::DeadLetterOldest,
            }
            .into(),
            rate_per_second: spec.rate_per_second,
        }),
        deduplication: spec.deduplication.as_ref().map(deduplication::to_wire),
        groups: groups::to_wire(&spec.groups),
        retain_after_ack: duration(spec.retain_ms),
        priorities: Some(fairness::priorities_to_wire(spec)),
        fairness: Some(fairness::fairness_to_wire(spec)),
        sticky_keys: spec.sticky_keys,
    }
}

/// A queue as the API shows it.
pub fn queue_to_wire(queue: &Queue) -> v1::Queue {
    v1::Queue {
        queue: Some(name_to_wire(&queue.name)),
        spec: Some(spec_to_wire(&queue.spec)),
        id: queue.id,
        generation: queue.generation,
        created_at: Some(timestamp(queue.created_at)),
        shards: queue.shards.iter().map(|shard| u32::from(*shard)).collect(),
        group_ids: queue
            .group_ids
            .all()
            .map(|(name, id)| (name.to_owned(), id))
            .collect(),
    }
}

/// A name as the API has it.
pub fn name_to_wire(name: &QueueName) -> v1::QueueRef {
    v1::QueueRef {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}

/// A name as the core has it; absent: an empty one, which names no queue.
pub fn name_from_wire(queue: Option<&v1::QueueRef>) -> QueueName {
    queue.map_or_else(
        || QueueName::new("", ""),
        |queue| QueueName::new(&queue.namespace, &queue.name),
    )
}

fn timestamp(ms: u64) -> Timestamp {
    Timestamp {
        seconds: (ms / 1_000).cast_signed(),
        nanos: i32::try_from(ms % 1_000 * 1_000_000).unwrap_or_default(),
    }
}

/// A duration of a request in ms, rounded up; the error names the field.
pub(super) fn milliseconds(
    field: &str,
    wire: Option<&prost_types::Duration>,
    default: u64,
) -> Result<u64, ApiError> {
    let Some(wire) = wire else { return Ok(default) };
    millis(wire).ok_or_else(|| {
        let message = match (wire.seconds, wire.nanos) {
            (0.., 0..1_000_000_000) => format!("{field} is too large: {wire}"),
            _ => format!("{field} must be a duration and not negative, but is {wire}"),
        };
        ApiError::invalid(field, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_specification_takes_the_defaults_and_comes_back_whole() {
        let spec = spec_from_wire(&v1::QueueSpec::default()).expect("valid");
        assert_eq!(spec, QueueSpec::default());
        assert_eq!(spec_from_wire(&spec_to_wire(&spec)).expect("valid"), spec);
        let sticky = QueueSpec {
            sticky_keys: true,
            ..spec
        };
        let back = spec_from_wire(&spec_to_wire(&sticky)).expect("valid");
        assert_eq!(back, sticky);
    }

    #[test]
    fn a_backoff_comes_back_and_one_without_a_wait_is_none() {
        let back = |wire| backoff_from_wire(&wire).expect("valid");
        let backoff = |r#type: v1::BackoffType, initial: u64| v1::Backoff {
            r#type: r#type.into(),
            initial: Some(crate::shard::wire::duration_ms(initial)),
            ..v1::Backoff::default()
        };
        assert_eq!(back(backoff(v1::BackoffType::None, 5)), None);
        let fixed = back(backoff(v1::BackoffType::Fixed, 5)).expect("there is one");
        assert_eq!((fixed.growth, fixed.initial_ms), (Growth::Fixed, 5));
        let long = back(backoff(v1::BackoffType::Linear, 3_600_000)).expect("there is one");
        assert_eq!((long.initial_ms, long.max_ms), (3_600_000, 3_600_000));
        for known in [None, Some(fixed), Some(long)] {
            assert_eq!(back(backoff_to_wire(known.as_ref())), known);
        }
        let percent = v1::Backoff {
            jitter_percent: Some(1_000),
            ..v1::Backoff::default()
        };
        assert_eq!(back(percent).map(|b| b.jitter_percent), Some(u8::MAX));
    }

    #[test]
    fn what_an_enum_does_not_know_is_refused_by_name() {
        for (ordering, delivery, field) in [(4, 0, "spec.ordering"), (0, -1, "spec.delivery")] {
            let wire = v1::QueueSpec {
                ordering,
                delivery,
                ..v1::QueueSpec::default()
            };
            let error = spec_from_wire(&wire).expect_err("unknown");
            assert_eq!(error.detail.field, field);
            assert!(error.message.contains(field), "{}", error.message);
        }
    }

    #[test]
    fn a_negative_duration_is_refused_by_name() {
        for (seconds, nanos) in [(-1, 0), (5, -1)] {
            let wire = v1::QueueSpec {
                lease: Some(prost_types::Duration { seconds, nanos }),
                ..v1::QueueSpec::default()
            };
            let error = spec_from_wire(&wire).expect_err("negative");
            assert_eq!(error.detail.field, "spec.lease");
            assert!(error.message.contains("not negative"), "{}", error.message);
        }
    }

    #[test]
    fn a_duration_that_is_too_large_is_not_said_to_be_negative() {
        let wire = v1::QueueSpec {
            lease: Some(prost_types::Duration {
                seconds: 1 << 62,
                nanos: 0,
            }),
            ..v1::QueueSpec::default()
        };
        let error = spec_from_wire(&wire).expect_err("too large");
        assert_eq!(error.detail.field, "spec.lease");
        let said = error.message;
        assert!(said.contains("spec.lease is too large"), "{said}");
    }
}
