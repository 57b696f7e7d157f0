//! Messages, going out and coming in.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use roadstead_proto::v1::attribute_value::Value;
use roadstead_proto::v1::{AttributeValue, DeadLetterInfo, Delivery, OutgoingMessage};

/// A message to send.
///
/// ```
/// use roadstead_client::Message;
/// let message = Message::new(r#"{"order":7}"#)
///     .content_type("application/json")
///     .key("customer-3")
///     .attribute("source", "web");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message(pub(crate) OutgoingMessage);

impl Message {
    /// A message with this body: 1 byte..the queue's largest.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self(OutgoingMessage {
            body: body.into(),
            ..OutgoingMessage::default()
        })
    }

    /// The ordering key, at most 128 bytes: messages with the same key are delivered in order,
    /// where the queue's ordering is per key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.ordering_key = key.into();
        self
    }

    /// By what the message is known when it is sent again, at most 128 bytes: within the queue's
    /// deduplication window it is not added again, whoever sends it. Refused where the queue has no
    /// deduplication.
    #[must_use]
    pub fn deduplication_id(mut self, id: impl Into<String>) -> Self {
        self.0.deduplication_id = id.into();
        self
    }

    /// 0 to 9, and 0 where nothing is said: what has a higher one is received first, as far as the
    /// queue's aging lets it.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.0.priority = priority.into();
        self
    }

    /// Names a tenant, at most 128 bytes: the tenants of a priority take turns, so that none waits
    /// for the backlog of another one.
    #[must_use]
    pub fn fairness_key(mut self, tenant: impl Into<String>) -> Self {
        self.0.fairness_key = tenant.into();
        self
    }

    /// A text attribute; at most 32 attributes, names of 1..256 bytes.
    #[must_use]
    pub fn attribute(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.typed_attribute(name.into(), Value::StringValue(value.into()))
    }

    /// A number as an attribute: decimal, at most 38 digits.
    #[must_use]
    pub fn number_attribute(self, name: impl Into<String>, number: impl Into<String>) -> Self {
        self.typed_attribute(name.into(), Value::NumberValue(number.into()))
    }

    /// Bytes as an attribute.
    #[must_use]
    pub fn binary_attribute(self, name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        self.typed_attribute(name.into(), Value::BinaryValue(bytes.into()))
    }

    fn typed_attribute(mut self, name: String, value: Value) -> Self {
        self.0
            .attributes
            .insert(name, AttributeValue { value: Some(value) });
        self
    }

    /// The media type of the body.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.0.content_type = content_type.into();
        self
    }

    /// Not receivable before this has passed: at most one year.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.0.delay = prost_types::Duration::try_from(delay).ok();
        self
    }

    /// Not receivable before this, by cluster time: at most one year away. Of this and the delay
    /// the later counts.
    #[must_use]
    pub fn not_before(mut self, at: SystemTime) -> Self {
        self.0.not_before = Some(at.into());
        self
    }

    /// How long it waits at most, from when it is receivable on, if that is shorter than the
    /// queue's time to live: 1 ms to one year.
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.0.time_to_live = prost_types::Duration::try_from(time_to_live).ok();
        self
    }

    /// The W3C `traceparent` of the work that this message continues.
    #[must_use]
    pub fn trace_parent(mut self, trace_parent: impl Into<String>) -> Self {
        self.0.trace_parent = trace_parent.into();
        self
    }

    /// The W3C `tracestate` that goes with it: at most 512 bytes.
    #[must_use]
    pub fn trace_state(mut self, trace_state: impl Into<String>) -> Self {
        self.0.trace_state = trace_state.into();
        self
    }

    /// Names the schema of the body, in a registry of your own; at most 128 bytes.
    #[must_use]
    pub fn schema_id(mut self, id: impl Into<String>) -> Self {
        self.0.schema_id = id.into();
        self
    }

    /// Bytes that it counts for here: body, attributes, keys and id.
    pub(crate) fn size(&self) -> usize {
        let names = [
            &self.0.ordering_key,
            &self.0.deduplication_id,
            &self.0.fairness_key,
        ];
        let names: usize = names.iter().map(|name| name.len()).sum();
        self.content_size() + names + 16
    }

    /// Bytes that count against the limits of a server: body and attributes.
    pub(crate) fn content_size(&self) -> usize {
        let attributes = self.0.attributes.iter().map(|(name, value)| {
            name.len()
                + match &value.value {
                    Some(Value::StringValue(text) | Value::NumberValue(text)) => text.len(),
                    Some(Value::BinaryValue(bytes)) => bytes.len(),
                    None => 0,
                }
        });
        self.0.body.len() + attributes.sum::<usize>()
    }
}

impl From<OutgoingMessage> for Message {
    fn from(message: OutgoingMessage) -> Self {
        Self(message)
    }
}

/// A message as a consumer gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedMessage {
    /// Given at first acceptance and kept through every move.
    pub id: String,
    /// As it was sent.
    pub body: Bytes,
    /// As they were sent.
    pub attributes: BTreeMap<String, AttributeValue>,
    /// The media type; may be empty.
    pub content_type: String,
    /// May be empty.
    pub ordering_key: String,
    /// Where it lies in the queue.
    pub partition: u32,
    /// Its number in the partition.
    pub sequence: u64,
    /// 1 on the first delivery.
    pub delivery_count: u32,
    /// When it was accepted, by cluster time.
    pub enqueued_at: SystemTime,
    /// W3C traceparent; may be empty.
    pub trace_parent: String,
    /// W3C tracestate; may be empty.
    pub trace_state: String,
    /// Names the schema of the body; may be empty.
    pub schema_id: String,
    /// Set on a message that was dead-lettered.
    pub dead_letter: Option<DeadLetterInfo>,
    /// As its producer gave it; may be empty.
    pub deduplication_id: String,
    /// 0 to 9.
    pub priority: u32,
    /// Names its tenant; may be empty.
    pub fairness_key: String,
    /// When it was first delivered to the group, by cluster time; `None`: never before.
    pub first_delivered_at: Option<SystemTime>,
    /// When it was last delivered to the group before this.
    pub last_delivered_at: Option<SystemTime>,
}

impl ReceivedMessage {
    /// The message and its receipt.
    pub(crate) fn split(delivery: Delivery) -> (Self, Bytes) {
        let at = |ms: u64| (ms != 0).then(|| UNIX_EPOCH + Duration::from_millis(ms));
        let message = Self {
            id: delivery.message_id,
            body: delivery.body,
            attributes: delivery.attributes,
            content_type: delivery.content_type,
            ordering_key: delivery.ordering_key,
            partition: delivery.partition,
            sequence: delivery.sequence,
            delivery_count: delivery.delivery_count,
            enqueued_at: UNIX_EPOCH + Duration::from_millis(delivery.enqueued_at_ms),
            trace_parent: delivery.trace_parent,
            trace_state: delivery.trace_state,
            schema_id: delivery.schema_id,
            dead_letter: delivery.dead_letter,
            deduplication_id: delivery.deduplication_id,
            priority: delivery.priority,
            fairness_key: delivery.fairness_key,
            first_delivered_at: at(delivery.first_delivered_at_ms),
            last_delivered_at: at(delivery.last_delivered_at_ms),
        };
        (message, delivery.receipt)
    }

    /// The text of an attribute; `None` when there is none of that name or it is binary.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name)?.value.as_ref()? {
            Value::StringValue(text) | Value::NumberValue(text) => Some(text),
            Value::BinaryValue(_) => None,
        }
    }
}
