//! What a request must look like before anything is done with it. Pure.

mod receive;

use std::time::Duration;

use roadstead_core::clock::YEAR_MS;
use roadstead_core::shard::MAX_PRIORITY;
use roadstead_proto::v1::attribute_value::Value;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    AttributeValue, Ordering, OutgoingMessage, Producer, QueueRef, QueueSpec, Settlement,
};

pub use self::receive::{at_most_once, consumer, lease, retry_session, wait};
use super::ApiError;
use crate::shard::wire::millis;

/// Messages of one send, deliveries of one receive, settlements of one settle at most.
pub const BATCH_MAX: usize = 1_000;
/// Bytes of one request at most.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;

const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_KEY_MAX: usize = 256;
const CONTENT_TYPE_MAX: usize = 255;
const ORDERING_KEY_MAX: usize = 128;
const FAIRNESS_KEY_MAX: usize = 128;
const DEDUPLICATION_ID_MAX: usize = 128;
const TRACE_PARENT_MAX: usize = 256;
const TRACE_STATE_MAX: usize = 512;
const SCHEMA_ID_MAX: usize = 128;
const NUMBER_DIGITS_MAX: usize = 38;
const ID_MAX: usize = 64;
const ERROR_TEXT_MAX: usize = 1_024;
const MESSAGE_BYTES_DEFAULT: u32 = 256 << 10;
const YEAR: Duration = Duration::from_millis(YEAR_MS);
const LEASE_MAX: Duration = Duration::from_hours(12);

/// The queue that a request names.
pub fn queue(queue: Option<&QueueRef>) -> Result<&QueueRef, ApiError> {
    let queue = queue.ok_or_else(|| {
        ApiError::invalid("queue", "queue is missing: name it by namespace and name")
    })?;
    let namespace = &queue.namespace;
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if namespace.is_empty() || namespace.len() > 63 || !namespace.chars().all(label) {
        let message = format!(
            "queue.namespace {:?} is not a namespace: 1..63 of a-z, 0-9 and '-'",
            shown(namespace)
        );
        return Err(ApiError::invalid("queue.namespace", message));
    }
    let stem = queue.name.strip_suffix(".fifo").unwrap_or(&queue.name);
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if stem.is_empty() || stem.len() > 80 || !stem.chars().all(word) {
        let message = format!(
            "queue.name {:?} is not a queue name: 1..80 of A-Z, a-z, 0-9, '-' and '_', and then \
             .fifo if wanted",
            shown(&queue.name)
        );
        return Err(ApiError::invalid("queue.name", message));
    }
    Ok(queue)
}

/// The messages of one send to the queue with this specification: those that are refused, by their
/// places, each with its reason.
pub fn messages(
    messages: &[OutgoingMessage],
    spec: &QueueSpec,
) -> Result<Vec<(usize, ApiError)>, ApiError> {
    batch("messages", messages.len())?;
    let (mut total, mut refused) = (0usize, Vec::new());
    for (place, message) in messages.iter().enumerate() {
        let size = message_size(message);
        total = total.saturating_add(size);
        if let Err(refusal) = message_fields(message, size, spec) {
            refused.push((place, invalid(refusal)));
        }
    }
    if total > REQUEST_BYTES_MAX {
        let message = format!("messages hold {total} bytes, at most {REQUEST_BYTES_MAX}: split");
        return Err(ApiError::invalid("messages", message));
    }
    Ok(refused)
}

/// One message for the queue with this specification.
pub fn message(message: &OutgoingMessage, spec: &QueueSpec) -> Result<(), ApiError> {
    message_fields(message, message_size(message), spec).map_err(invalid)
}

fn invalid((field, why): Refusal) -> ApiError {
    ApiError::invalid(field, format!("{field} {why}"))
}

/// Bytes of a message that count against limits: its body and attributes.
pub fn message_size(message: &OutgoingMessage) -> usize {
    let attributes = message.attributes.iter();
    let attributes = attributes.map(|(key, value)| key.len() + value_len(value));
    message.body.len() + attributes.sum::<usize>()
}

type Refusal = (&'static str, String);

fn message_fields(message: &OutgoingMessage, size: usize, spec: &QueueSpec) -> Result<(), Refusal> {
    let limit = spec
        .limits
        .as_ref()
        .map_or(0, |limits| limits.max_message_bytes);
    let limit = if limit == 0 {
        MESSAGE_BYTES_DEFAULT
    } else {
        limit
    };
    if message.body.is_empty() {
        return Err(("body", "is empty: a message has at least 1 byte".into()));
    }
    if size > limit as usize {
        let why = format!("and attributes hold {size} bytes; the queue takes at most {limit}");
        return Err(("body", why));
    }
    if message.attributes.len() > ATTRIBUTES_MAX {
        let why = format!(
            "has {} entries, at most {ATTRIBUTES_MAX}",
            message.attributes.len()
        );
        return Err(("attributes", why));
    }
    for (key, value) in &message.attributes {
        attribute(key, value).map_err(|why| ("attributes", why))?;
    }
    at_most("content_type", &message.content_type, CONTENT_TYPE_MAX)?;
    at_most("ordering_key", &message.ordering_key, ORDERING_KEY_MAX)?;
    at_most("trace_parent", &message.trace_parent, TRACE_PARENT_MAX)?;
    at_most("trace_state", &message.trace_state, TRACE_STATE_MAX)?;
    at_most("schema_id", &message.schema_id, SCHEMA_ID_MAX)?;
    at_most("fairness_key", &message.fairness_key, FAIRNESS_KEY_MAX)?;
    if message.priority > u32::from(MAX_PRIORITY) {
        let why = format!("is {}, allowed are 0..{MAX_PRIORITY}", message.priority);
        return Err(("priority", why));
    }
    deduplication_id(&message.deduplication_id, spec)?;
    if spec.ordering() == Ordering::PerKey && message.ordering_key.is_empty() {
        let why = "is empty: this queue orders per key, so every message needs one".into();
        return Err(("ordering_key", why));
    }
    let ttl = message.time_to_live.as_ref();
    if ttl.is_some_and(|ttl| millis(ttl) == Some(0)) {
        return Err((
            "time_to_live",
            "is 0: leave it out or set 1 ms and more".into(),
        ));
    }
    within(ttl, YEAR).map_err(|why| ("time_to_live", why))?;
    within(message.delay.as_ref(), YEAR).map_err(|why| ("delay", why))
}

fn deduplication_id(id: &str, spec: &QueueSpec) -> Result<(), Refusal> {
    at_most("deduplication_id", id, DEDUPLICATION_ID_MAX)?;
    if !id.is_empty() && spec.deduplication.is_none() {
        let why =
            "is set and the queue has no deduplication: nobody would know it again; leave it \
                   out, or give the queue deduplication"
                .into();
        return Err(("deduplication_id", why));
    }
    Ok(())
}

fn attribute(key: &str, value: &AttributeValue) -> Result<(), String> {
    if key.is_empty() || key.len() > ATTRIBUTE_KEY_MAX {
        return Err(format!(
            "has a key of {} bytes, allowed are 1..{ATTRIBUTE_KEY_MAX}",
            key.len()
        ));
    }
    match &value.value {
        None => Err(format!("has no value for {:?}", shown(key))),
        Some(Value::NumberValue(number)) if !is_number(number) => Err(format!(
            "has {:?} as the number of {:?}: decimal, at most {NUMBER_DIGITS_MAX} digits",
            shown(number),
            shown(key)
        )),
        Some(_) => Ok(()),
    }
}

fn is_number(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let digits = mantissa.chars().filter(char::is_ascii_digit).count();
    let rest = mantissa
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .collect::<String>();
    let exponent_fits = (1..=3).contains(&exponent.len());
    (1..=NUMBER_DIGITS_MAX).contains(&digits)
        && (rest.is_empty() || rest == ".")
        && exponent_fits
        && exponent.chars().all(|c| c.is_ascii_digit())
}

fn value_len(value: &AttributeValue) -> usize {
    match &value.value {
        None => 0,
        Some(Value::StringValue(text) | Value::NumberValue(text)) => text.len(),
        Some(Value::BinaryValue(bytes)) => bytes.len(),
    }
}

/// Largest number of a producer's message; those behind it in a send have room above.
const MAX_SEQUENCE: u64 = i64::MAX as u64;

/// The producer of a send; absent is fine.
pub fn producer(producer: Option<&Producer>, partition: Option<u32>) -> Result<(), ApiError> {
    let Some(producer) = producer else {
        return Ok(());
    };
    id("producer.id", &producer.id)?;
    if producer.first_sequence == 0 {
        let message = "producer.first_sequence is 0: numbers start at 1";
        return Err(ApiError::invalid("producer.first_sequence", message));
    }
    if producer.first_sequence > MAX_SEQUENCE {
        let message = format!(
            "producer.first_sequence is {}, and at most {MAX_SEQUENCE}",
            producer.first_sequence
        );
        return Err(ApiError::invalid("producer.first_sequence", message));
    }
    if partition.is_none() {
        let message = "partition is missing: a producer's numbers rise per partition, so a send \
                       with a producer names its partition";
        return Err(ApiError::invalid("partition", message));
    }
    Ok(())
}

/// An id that a client mints: 1..64 bytes.
pub fn id(field: &str, value: &str) -> Result<(), ApiError> {
    if value.is_empty() || value.len() > ID_MAX {
        let message = format!("{field} has {} bytes, allowed are 1..{ID_MAX}", value.len());
        return Err(ApiError::invalid(field, message));
    }
    Ok(())
}

/// How many messages are asked for; 0 stands for `default`.
pub fn count(field: &str, asked: u32, default: u32, max: u32) -> Result<u32, ApiError> {
    if asked > max {
        let message = format!("{field} is {asked}, at most {max}");
        return Err(ApiError::invalid(field, message));
    }
    Ok(if asked == 0 { default } else { asked })
}

/// What is to be done with one delivery. Error texts are cut where they are used.
pub fn settlement(settlement: &Settlement) -> Result<(), ApiError> {
    let result = match &settlement.action {
        None => Err(("action", "is missing: ack, nack, reject or extend".into())),
        Some(Action::Nack(nack)) => {
            within(nack.delay.as_ref(), LEASE_MAX).map_err(|why| ("nack.delay", why))
        }
        Some(Action::Extend(extend)) if extend.lease.is_none() => {
            Err(("extend.lease", "is missing: how long from now".into()))
        }
        Some(Action::Extend(extend)) => {
            within(extend.lease.as_ref(), LEASE_MAX).map_err(|why| ("extend.lease", why))
        }
        Some(Action::Ack(_) | Action::Reject(_)) => Ok(()),
    };
    result.map_err(invalid)
}

/// The error text of a consumer, cut to what is kept.
pub fn error_text(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_TEXT_MAX)]
}

/// A number that rises from one frame to the next: above `last`, which is 0 before the first.
pub fn rising(field: &str, number: u64, last: u64) -> Result<u64, ApiError> {
    if number <= last {
        let message = format!(
            "{field} is {number} behind {last}, allowed are {}..: it rises with each batch",
            last.saturating_add(1)
        );
        return Err(ApiError::invalid(field, message));
    }
    Ok(number)
}

/// An enum's number that this version knows.
pub fn known<E: TryFrom<i32>>(field: &str, number: i32) -> Result<E, ApiError> {
    E::try_from(number).map_err(|_| {
        let message =
            format!("{field} is {number}, which stands for nothing here: 0 is the default");
        ApiError::invalid(field, message)
    })
}

/// 1 to 1,000 entries.
pub fn batch(field: &str, count: usize) -> Result<(), ApiError> {
    if count == 0 {
        let message = format!("{field} has no entries, allowed are 1..{BATCH_MAX}");
        return Err(ApiError::invalid(field, message));
    }
    not_too_many(field, count)
}

/// At most 1,000 entries.
pub fn not_too_many(field: &str, count: usize) -> Result<(), ApiError> {
    if count > BATCH_MAX {
        let message = format!("{field} has {count} entries, allowed are 1..{BATCH_MAX}: split");
        return Err(ApiError::invalid(field, message));
    }
    Ok(())
}

fn at_most(field: &'static str, value: &str, max: usize) -> Result<(), Refusal> {
    if value.len() > max {
        return Err((field, format!("has {} bytes, at most {max}", value.len())));
    }
    Ok(())
}

fn check(
    field: &str,
    value: Option<&prost_types::Duration>,
    max: Duration,
) -> Result<(), ApiError> {
    within(value, max).map_err(|why| ApiError::invalid(field, format!("{field} {why}")))
}

fn within(value: Option<&prost_types::Duration>, max: Duration) -> Result<(), String> {
    let Some(value) = value else { return Ok(()) };
    match millis(value) {
        Some(ms) if u128::from(ms) <= max.as_millis() => Ok(()),
        Some(ms) => Err(format!("is {ms} ms, at most {} ms", max.as_millis())),
        None => Err(format!(
            "is negative or no duration; allowed are 0..{} ms",
            max.as_millis()
        )),
    }
}

/// A client's text, cut to what fits into a message.
pub(super) fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
