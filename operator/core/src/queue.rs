//! From Queue manifests to queues. Used by the operator and by `roadstead dev -f`.
use std::time::Duration;

use roadstead_crds::{
    Backoff, BackoffType, ByteSize, Delivery, ExpiryAction, Ordering, Queue, QueueSpec, Span,
};
use roadstead_proto::v1;

use crate::validate::Violation;
use crate::{deduplication, fairness, groups, limits, sticky};

/// Name of the queue of a Queue object in its cluster.
pub fn queue_name(queue: &Queue) -> String {
    let object = queue.metadata.name.clone().unwrap_or_default();
    queue.spec.queue_name.clone().unwrap_or(object)
}

/// The queue that a Queue object stands for; `namespace` where the object names none.
pub fn queue_ref(queue: &Queue, namespace: &str) -> v1::QueueRef {
    let namespace = queue.metadata.namespace.as_deref().unwrap_or(namespace);
    v1::QueueRef {
        namespace: namespace.to_owned(),
        name: queue_name(queue),
    }
}

/// Whether `one` stands for the queue that both name. The object that has it keeps it; else the
/// older one gets it. Creation times have whole seconds, so age alone would let an object that
/// came later in the same second take the queue of another.
pub fn precedes(one: &Queue, other: &Queue) -> bool {
    let rank = |queue: &Queue| {
        let has = queue
            .status
            .as_ref()
            .is_some_and(|status| status.queue_id.is_some());
        let created = queue
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        (!has, created, queue.metadata.uid.clone())
    };
    rank(one) < rank(other)
}

/// What the node is asked for. `dead_letter` is the queue name of the object that
/// `deadLetter.queueRef` names. Every field is set, so that it can be compared.
pub fn specification(
    spec: &QueueSpec,
    dead_letter: Option<String>,
) -> Result<v1::QueueSpec, Violation> {
    let dead_letter = match (&spec.dead_letter, dead_letter) {
        (None, _) => None,
        (Some(_), Some(queue)) => Some(v1::DeadLetterPolicy { queue }),
        (Some(policy), None) => {
            let message = format!(
                "there is no Queue {:?} in this namespace",
                policy.queue_ref.name
            );
            return Err(Violation::new("spec.deadLetter.queueRef", message));
        }
    };
    let limits = limits::specification(&spec.limits)?;
    Ok(v1::QueueSpec {
        partitions: positive(spec.partitions),
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
        lease: Some(duration(&spec.lease, "spec.lease")?),
        time_to_live: Some(duration(
            &spec.expiry.time_to_live,
            "spec.expiry.timeToLive",
        )?),
        retries: Some(v1::RetryPolicy {
            max_deliveries: positive(spec.retries.max_deliveries),
            backoff: Some(backoff(&spec.retries.backoff)?),
        }),
        expiry_action: match spec.expiry.action {
            ExpiryAction::Drop => v1::ExpiryAction::Drop,
            ExpiryAction::DeadLetter => v1::ExpiryAction::DeadLetter,
        }
        .into(),
        dead_letter,
        limits: Some(limits),
        deduplication: deduplication::specification(spec)?,
        groups: groups::specification(&spec.groups, limits.max_in_flight)?,
        retain_after_ack: Some(duration(
            &spec.expiry.retain_after_ack,
            "spec.expiry.retainAfterAck",
        )?),
        priorities: Some(fairness::priorities(&spec.priorities)?),
        fairness: Some(fairness::specification(&spec.fairness)),
        sticky_keys: spec.sticky_keys,
    })
}

/// A schedule as the node shows it: without waits where there is none.
fn backoff(spec: &Backoff) -> Result<v1::Backoff, Violation> {
    let growth = match spec.growth {
        BackoffType::None => v1::BackoffType::None,
        BackoffType::Fixed => v1::BackoffType::Fixed,
        BackoffType::Linear => v1::BackoffType::Linear,
        BackoffType::Exponential => v1::BackoffType::Exponential,
    };
    let mut backoff = v1::Backoff {
        r#type: growth.into(),
        ..v1::Backoff::default()
    };
    if growth != v1::BackoffType::None {
        let (initial, max) = (&spec.initial, &spec.max);
        backoff.initial = Some(duration(initial, "spec.retries.backoff.initial")?);
        backoff.max = Some(duration(max, "spec.retries.backoff.max")?);
        backoff.jitter_percent = Some(positive(spec.jitter_percent));
    }
    Ok(backoff)
}

pub(crate) fn positive(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

pub(crate) fn duration(span: &Span, field: &str) -> Result<prost_types::Duration, Violation> {
    let duration: Option<Duration> = span.to_duration();
    duration
        .and_then(|duration| duration.try_into().ok())
        .ok_or_else(|| {
            Violation::new(
                field,
                format!("{span} is no duration: write it like 30s or 1h30m"),
            )
        })
}

pub(crate) fn size(size: &ByteSize, field: &str) -> Result<u64, Violation> {
    size.bytes().ok_or_else(|| {
        Violation::new(
            field,
            format!("{size} is no number of bytes: write it like 256Ki"),
        )
    })
}

/// How a queue that exists differs from what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Not at all.
    None,
    /// In fields that can change in place.
    Changeable,
    /// In fields that cannot: what they are and what is wanted.
    Fixed(String),
}

/// Compares a queue that exists with what is wanted.
pub fn difference(have: &v1::QueueSpec, want: &v1::QueueSpec) -> Difference {
    let (have, want) = (settled(have), settled(want));
    let mut fixed = Vec::new();
    if have.ordering != want.ordering {
        // In the words of the manifest.
        let (have, want) = (have.ordering(), want.ordering());
        fixed.push(format!("ordering is {have:?}, not {want:?}"));
    }
    if want.partitions < have.partitions {
        fixed.push(format!(
            "partitions is {}, not {}",
            have.partitions, want.partitions
        ));
    }
    fixed.extend(sticky::fixed(&have, &want));
    fixed.extend(deduplication::fixed(&have, &want));
    if !fixed.is_empty() {
        return Difference::Fixed(fixed.join("; "));
    }
    if have == want {
        Difference::None
    } else {
        Difference::Changeable
    }
}

/// A specification in which what is left out has its default.
fn settled(spec: &v1::QueueSpec) -> v1::QueueSpec {
    let mut spec = spec.clone();
    let seconds = |seconds| prost_types::Duration { seconds, nanos: 0 };
    spec.partitions = spec.partitions.max(1);
    if spec.ordering() == v1::Ordering::Unspecified {
        spec.set_ordering(v1::Ordering::None);
    }
    if spec.delivery() == v1::DeliveryGuarantee::Unspecified {
        spec.set_delivery(v1::DeliveryGuarantee::AtLeastOnce);
    }
    spec.lease.get_or_insert(seconds(30));
    spec.time_to_live.get_or_insert(seconds(96 * 3_600));
    let retries = spec.retries.get_or_insert_default();
    set_default(&mut retries.max_deliveries, 5);
    let backoff = retries.backoff.get_or_insert_default();
    if backoff.r#type() == v1::BackoffType::Unspecified {
        backoff.set_type(v1::BackoffType::Exponential);
    }
    if backoff.r#type() != v1::BackoffType::None {
        backoff.initial.get_or_insert(seconds(1));
        backoff.max.get_or_insert(seconds(300));
        backoff.jitter_percent.get_or_insert(10);
    }
    if spec.expiry_action() == v1::ExpiryAction::Unspecified {
        spec.set_expiry_action(v1::ExpiryAction::Drop);
    }
    let ordering = spec.ordering();
    if let Some(setting) = &mut spec.deduplication {
        deduplication::settle(setting, ordering);
    }
    let limits = spec.limits.get_or_insert_default();
    set_default(&mut limits.max_message_bytes, 256 * 1_024);
    set_default(&mut limits.max_in_flight, 20_000);
    if limits.overflow() == v1::OverflowPolicy::Unspecified {
        limits.set_overflow(v1::OverflowPolicy::Reject);
    }
    let most = limits.max_in_flight;
    groups::settle(&mut spec.groups, most);
    spec.retain_after_ack.get_or_insert(seconds(0));
    fairness::settle(&mut spec);
    spec
}

pub(crate) fn set_default(field: &mut u32, default: u32) {
    if *field == 0 {
        *field = default;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn queue(spec: &serde_json::Value) -> Queue {
        let mut object = json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "Queue",
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"clusterRef": {"name": "main"}},
        });
        object["spec"]
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_empty_manifest_gives_the_documented_defaults() {
        let spec = specification(&queue(&json!({})).spec, None).unwrap();
        assert_eq!(
            difference(&v1::QueueSpec::default(), &spec),
            Difference::None
        );
        assert_eq!(spec.partitions, 1);
    }

    #[test]
    fn the_object_that_has_the_queue_keeps_it() {
        let object = |second: u32, uid: &str, id: Option<&str>| {
            let mut queue = queue(&json!({}));
            let time = json!(format!("2026-01-01T00:00:{second:02}Z"));
            queue.metadata.creation_timestamp = serde_json::from_value(time).unwrap();
            queue.metadata.uid = Some(uid.to_owned());
            queue.status = id.map(|id| serde_json::from_value(json!({"queueID": id})).unwrap());
            queue
        };
        let (has, new) = (object(1, "b", Some("7")), object(1, "a", None));
        assert!(
            precedes(&has, &new) && !precedes(&new, &has),
            "the same second"
        );
        let (old, young) = (object(1, "b", None), object(2, "a", None));
        assert!(precedes(&old, &young) && !precedes(&young, &old));
        assert!(
            precedes(&new, &object(1, "b", None)),
            "one of the two, always the same"
        );
    }

    #[test]
    fn every_field_arrives() {
        let queue = queue(&json!({
            "queueName": "o.fifo", "partitions": 8, "ordering": "PerKey", "delivery": "AtMostOnce",
            "lease": "1m", "expiry": {
                "timeToLive": "2h", "action": "DeadLetter", "retainAfterAck": "3h",
            },
            "retries": {
                "maxDeliveries": 9,
                "backoff": {"type": "Linear", "initial": "3s", "max": "4s", "jitterPercent": 0},
            },
            "deadLetter": {"queueRef": {"name": "dlq"}},
            "groups": [{"name": "default", "maxInFlight": 7}, {"name": "search"}],
            "limits": {
                "maxMessages": 10, "maxBytes": "1Ki", "maxMessageBytes": "1Mi",
                "overflow": "DeadLetterOldest", "ratePerSecond": 500, "maxInFlight": 7,
            },
            "priorities": {"aging": "5s"},
            "fairness": {"weights": [{"tenant": "b", "weight": 3}, {"tenant": "a", "weight": 2}]},
            "deduplication": {"by": "Content", "window": "1m", "maxIds": 90},
        }));
        let spec = specification(&queue.spec, Some("orders-dead".into())).unwrap();
        let limits = spec.limits.unwrap();
        assert_eq!(queue_ref(&queue, "default").name, "o.fifo");
        assert_eq!(
            (spec.partitions, spec.ordering()),
            (8, v1::Ordering::PerKey)
        );
        assert_eq!(spec.delivery(), v1::DeliveryGuarantee::AtMostOnce);
        assert_eq!(
            (
                spec.lease.unwrap().seconds,
                spec.time_to_live.unwrap().seconds
            ),
            (60, 7_200)
        );
        assert_eq!(spec.expiry_action(), v1::ExpiryAction::DeadLetter);
        let retries = spec.retries.unwrap();
        let backoff = retries.backoff.unwrap();
        assert_eq!(retries.max_deliveries, 9);
        assert_eq!(backoff.r#type(), v1::BackoffType::Linear);
        let seconds = |wait: Option<prost_types::Duration>| wait.unwrap().seconds;
        assert_eq!((seconds(backoff.initial), seconds(backoff.max)), (3, 4));
        assert_eq!(backoff.jitter_percent, Some(0));
        assert_eq!(spec.dead_letter.unwrap().queue, "orders-dead");
        assert_eq!(seconds(spec.retain_after_ack), 3 * 3_600);
        assert_eq!(spec.groups[0].name, "search");
        let setting = spec.deduplication.unwrap();
        assert_eq!(setting.by(), v1::DeduplicateBy::Content);
        assert_eq!(setting.scope(), v1::DeduplicationScope::Key);
        assert_eq!((seconds(setting.window), setting.max_ids), (60, 90));
        assert_eq!((limits.max_messages, limits.max_bytes), (10, 1_024));
        assert_eq!(
            (limits.max_message_bytes, limits.max_in_flight),
            (1 << 20, 7)
        );
        assert_eq!(limits.overflow(), v1::OverflowPolicy::DeadLetterOldest);
        assert_eq!(limits.rate_per_second, 500);
        assert_eq!(seconds(spec.priorities.unwrap().aging), 5);
        let weights = spec.fairness.unwrap().weights;
        assert_eq!((weights[0].tenant.as_str(), weights[0].weight), ("a", 2));
    }

    #[test]
    fn a_missing_dead_letter_queue_is_named() {
        let queue = queue(&json!({"deadLetter": {"queueRef": {"name": "dlq"}}}));
        let violation = specification(&queue.spec, None).unwrap_err();
        assert_eq!(violation.field, "spec.deadLetter.queueRef");
        assert!(violation.message.contains("\"dlq\""));
    }

    #[test]
    fn differences() {
        let want = |spec: serde_json::Value| specification(&queue(&spec).spec, None).unwrap();
        let have = want(json!({"partitions": 4}));
        assert_eq!(
            difference(&have, &want(json!({"partitions": 5}))),
            Difference::Changeable
        );
        assert_eq!(
            difference(&have, &want(json!({"partitions": 4, "lease": "1m"}))),
            Difference::Changeable
        );
        for ordering in ["Strict", "PerKey"] {
            let fixed = difference(&have, &want(json!({"ordering": ordering})));
            let words = format!("ordering is None, not {ordering}; partitions is 4, not 1");
            assert_eq!(fixed, Difference::Fixed(words));
        }
    }
}
