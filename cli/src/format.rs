//! Queues, messages and counts as JSON and text.

use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use roadstead_client::ReceivedMessage;
use roadstead_client::proto::{
    self, BackoffType, DeadLetterInfo, DeduplicateBy, DeduplicationScope, FailedAttempt, Ordering,
    OverflowPolicy, QueueSpec, QueueStats,
};
use serde_json::{Map, Value, json};

use crate::units;

/// `namespace/name`.
pub fn name(queue: Option<&proto::QueueRef>) -> String {
    queue.map_or_else(String::new, |queue| {
        format!("{}/{}", queue.namespace, queue.name)
    })
}

/// The name of an ordering.
pub fn ordering(ordering: Ordering) -> &'static str {
    match ordering {
        Ordering::Unspecified | Ordering::None => "None",
        Ordering::PerKey => "PerKey",
        Ordering::Strict => "Strict",
    }
}

fn duration(duration: Option<prost_types::Duration>) -> Option<String> {
    duration
        .and_then(|duration| Duration::try_from(duration).ok())
        .map(units::show)
}

/// A specification; what it leaves to the server is absent.
pub fn spec(spec: &QueueSpec) -> Value {
    let limits = spec.limits.unwrap_or_default();
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() && value != json!(0) {
            object.insert(key.into(), value);
        }
    };
    put("partitions", json!(spec.partitions));
    put("ordering", json!(ordering(spec.ordering())));
    let once = spec.delivery() == proto::DeliveryGuarantee::AtMostOnce;
    put(
        "delivery",
        json!(if once { "AtMostOnce" } else { "AtLeastOnce" }),
    );
    put("stickyKeys", json!(spec.sticky_keys.then_some(true)));
    put("lease", json!(duration(spec.lease)));
    put("timeToLive", json!(duration(spec.time_to_live)));
    put(
        "maxDeliveries",
        json!(spec.retries.map_or(0, |retries| retries.max_deliveries)),
    );
    let action = spec.expiry_action();
    if action != proto::ExpiryAction::Unspecified {
        let dead = action == proto::ExpiryAction::DeadLetter;
        put("onExpiry", json!(if dead { "DeadLetter" } else { "Drop" }));
    }
    put("backoff", backoff(spec));
    put(
        "deadLetter",
        json!(spec.dead_letter.as_ref().map(|policy| &policy.queue)),
    );
    put("maxMessages", json!(limits.max_messages));
    put("maxBytes", json!(limits.max_bytes));
    put("maxMessageBytes", json!(limits.max_message_bytes));
    put("maxInFlight", json!(limits.max_in_flight));
    match limits.overflow() {
        OverflowPolicy::Unspecified => {}
        OverflowPolicy::Reject => put("overflow", json!("Reject")),
        OverflowPolicy::DropOldest => put("overflow", json!("DropOldest")),
        OverflowPolicy::DeadLetterOldest => put("overflow", json!("DeadLetterOldest")),
    }
    put("ratePerSecond", json!(limits.rate_per_second));
    let aging = spec.priorities.and_then(|priorities| priorities.aging);
    put("aging", json!(duration(aging)));
    put("weights", weights(spec));
    put("deduplication", deduplication(spec));
    put("groups", groups(spec));
    let retained = spec
        .retain_after_ack
        .filter(|it| (it.seconds, it.nanos) != (0, 0));
    put("retainAfterAck", json!(duration(retained)));
    Value::Object(object)
}

fn weights(spec: &QueueSpec) -> Value {
    let weights = spec.fairness.iter().flat_map(|fairness| &fairness.weights);
    let weights: Map<_, _> = weights
        .map(|of| (of.tenant.clone(), json!(of.weight)))
        .collect();
    if weights.is_empty() {
        return Value::Null;
    }
    Value::Object(weights)
}

fn groups(spec: &QueueSpec) -> Value {
    let group = |group: &proto::ConsumerGroup| {
        let mut value = json!({"name": group.name});
        if group.start() == proto::GroupStart::End {
            value["start"] = json!("End");
        }
        if group.delivery() == proto::GroupDelivery::Paused {
            value["delivery"] = json!("Paused");
        }
        if group.max_in_flight != 0 {
            value["maxInFlight"] = json!(group.max_in_flight);
        }
        if group.rate_per_second != 0 {
            value["ratePerSecond"] = json!(group.rate_per_second);
        }
        if let Some(breaker) = &group.circuit_breaker {
            value["circuitBreaker"] = json!({
                "errorPercent": breaker.error_percent,
                "minDeliveries": breaker.min_deliveries,
                "window": duration(breaker.window),
                "open": duration(breaker.open),
            });
        }
        value
    };
    match &spec.groups[..] {
        [] => Value::Null,
        groups => groups.iter().map(group).collect(),
    }
}

fn deduplication(spec: &QueueSpec) -> Value {
    let Some(setting) = &spec.deduplication else {
        return Value::Null;
    };
    let content = setting.by() == DeduplicateBy::Content;
    let mut value = json!({"by": if content { "Content" } else { "ID" }});
    match setting.scope() {
        DeduplicationScope::Unspecified => {}
        DeduplicationScope::Queue => value["scope"] = json!("Queue"),
        DeduplicationScope::Key => value["scope"] = json!("Key"),
    }
    if let Some(window) = duration(setting.window) {
        value["window"] = json!(window);
    }
    if setting.max_ids != 0 {
        value["maxIds"] = json!(setting.max_ids);
    }
    value
}

fn backoff(spec: &QueueSpec) -> Value {
    let Some(backoff) = spec.retries.and_then(|retries| retries.backoff) else {
        return Value::Null;
    };
    let growth = match backoff.r#type() {
        BackoffType::Unspecified | BackoffType::Exponential => "Exponential",
        BackoffType::None => return json!({"type": "None"}),
        BackoffType::Fixed => "Fixed",
        BackoffType::Linear => "Linear",
    };
    json!({
        "type": growth,
        "initial": duration(backoff.initial),
        "max": duration(backoff.max),
        "jitterPercent": backoff.jitter_percent,
    })
}

/// Live counts.
pub fn stats(stats: &QueueStats) -> Value {
    json!({
        "ready": stats.ready,
        "readyByPriority": by_priority(stats),
        "circuitBreaker": breaker(stats),
        "ratesUsedUp": rates(stats),
        "inFlight": stats.in_flight,
        "delayed": stats.delayed,
        "blocked": stats.blocked,
        "bytes": stats.bytes,
        "oldestAgeSeconds": oldest(stats).map(|age| age.as_secs_f64()),
        "deadLetteredTotal": stats.dead_lettered_total,
        "sentTotal": stats.sent_total,
        "deliveredTotal": stats.delivered_total,
        "ackedTotal": stats.acked_total,
        "nackedTotal": stats.nacked_total,
        "redeliveredTotal": stats.redelivered_total,
        "expiredTotal": stats.expired_total,
        "outbox": stats.outbox,
        "redrivenTotal": stats.redriven_total,
        "deduplicationIds": stats.deduplication_ids,
        "messages": stats.messages,
        "retained": stats.retained,
        "retainedBytes": stats.retained_bytes,
        "partitionsUnavailable": stats.partitions_unavailable,
    })
}

/// In how many partitions the circuit breaker lets nothing or little through, if it is anywhere so.
fn breaker(stats: &QueueStats) -> Value {
    match (stats.breakers_open, stats.breakers_half_open) {
        (0, 0) => Value::Null,
        (open, half_open) => json!({"open": open, "halfOpen": half_open}),
    }
}

/// In how many partitions what is ready waits for the rate, if it does anywhere.
fn rates(stats: &QueueStats) -> Value {
    match stats.rates_used_up {
        0 => Value::Null,
        partitions => json!(partitions),
    }
}

/// By priority, where any other than 0 has something.
fn by_priority(stats: &QueueStats) -> Value {
    let lanes = (0..).zip(&stats.ready_by_priority);
    let lanes = lanes.filter(|(_, ready)| **ready > 0);
    let lanes: Map<_, _> = lanes
        .map(|(lane, ready): (u8, _)| (lane.to_string(), json!(ready)))
        .collect();
    if lanes.keys().all(|lane| lane == "0") {
        return Value::Null;
    }
    Value::Object(lanes)
}

/// How long the oldest ready message has waited.
pub fn oldest(stats: &QueueStats) -> Option<Duration> {
    let at = SystemTime::try_from(stats.oldest_enqueued_at?).ok()?;
    Some(at.elapsed().unwrap_or_default())
}

/// A body under its key, unchanged and always a string: `body` is its text, `bodyBase64` what is no
/// text (UTF-8). Were it parsed, big numbers, repeated keys and the order of keys would be lost.
pub fn body(body: &[u8]) -> (&'static str, Value) {
    match std::str::from_utf8(body) {
        Ok(text) => ("body", json!(text)),
        Err(_) => ("bodyBase64", json!(BASE64_STANDARD.encode(body))),
    }
}

/// Attributes by name; binary ones in base64.
pub fn attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a proto::AttributeValue)>,
) -> Value {
    use proto::attribute_value::Value as Kind;
    let value = |value: &proto::AttributeValue| match &value.value {
        Some(Kind::StringValue(text) | Kind::NumberValue(text)) => json!(text),
        Some(Kind::BinaryValue(bytes)) => json!(BASE64_STANDARD.encode(bytes)),
        None => Value::Null,
    };
    Value::Object(
        attributes
            .into_iter()
            .map(|(name, one)| (name.clone(), value(one)))
            .collect(),
    )
}

/// A received message.
pub fn message(message: &ReceivedMessage) -> Value {
    let since = message
        .enqueued_at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut value = json!({
        "id": message.id,
        "partition": message.partition,
        "sequence": message.sequence,
        "deliveryCount": message.delivery_count,
        "enqueuedAtMs": since.as_millis() as u64,
        "orderingKey": message.ordering_key,
        "deduplicationId": message.deduplication_id,
        "priority": message.priority,
        "fairnessKey": message.fairness_key,
        "contentType": message.content_type,
        "attributes": attributes(&message.attributes),
    });
    let (key, body) = body(&message.body);
    value[key] = body;
    if let Some(dead) = &message.dead_letter {
        value["deadLetter"] = dead_letter(dead);
    }
    value
}

/// Why and from where a message was dead-lettered.
pub fn dead_letter(dead: &DeadLetterInfo) -> Value {
    json!({
        "reason": reason(dead),
        "error": dead.error,
        "sourceQueue": dead.source_queue,
        "deliveryCount": dead.delivery_count,
        "firstDeliveredAt": time(dead.first_delivered_at),
        "attempts": dead.attempts.iter().map(attempt).collect::<Value>(),
    })
}

/// A delivery that failed.
fn attempt(attempt: &FailedAttempt) -> Value {
    let end = attempt.end().as_str_name();
    json!({
        "deliveredAt": time(attempt.delivered_at),
        "endedAt": time(attempt.ended_at),
        "end": end.trim_start_matches("ATTEMPT_END_"),
        "error": attempt.error,
    })
}

/// A time as RFC 3339 has it.
pub fn time(at: Option<prost_types::Timestamp>) -> Value {
    json!(at.map(|at| at.to_string()))
}

/// The reason's name, without what all of them begin with.
pub fn reason(dead: &DeadLetterInfo) -> &'static str {
    let name = dead.reason().as_str_name();
    name.trim_start_matches("DEAD_LETTER_REASON_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_carried_unchanged() {
        for text in [
            r#"{"b":1,"a":12345678901234567890123,"b":2.0}"#,
            "[1, 2]",
            "\"plain\"",
            "plain",
            "",
        ] {
            assert_eq!(body(text.as_bytes()), ("body", json!(text)));
        }
        assert_eq!(body(&[0xff, 0xfe]), ("bodyBase64", json!("//4=")));
    }

    #[test]
    fn what_is_not_said_is_not_shown() {
        let value = spec(&QueueSpec {
            partitions: 3,
            ..QueueSpec::default()
        });
        assert_eq!(value["partitions"], 3);
        assert_eq!(value["ordering"], "None");
        assert!(value.get("lease").is_none() && value.get("maxBytes").is_none());
    }
}
