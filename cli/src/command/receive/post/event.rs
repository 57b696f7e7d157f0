//! A message as a `CloudEvent` 1.0 over HTTP.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use clap::ValueEnum;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use roadstead_client::ReceivedMessage;
use roadstead_client::proto::AttributeValue;
use roadstead_client::proto::attribute_value::Value;
use serde::de::IgnoredAny;
use serde_json::{Map, json};

/// How an event travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Body as it is, the rest in headers ce-*
    Binary,
    /// One JSON object
    Structured,
}

/// The type of an event whose message names none.
const TYPE: &str = "dev.roadstead.message";
/// Attributes of messages that name an event's type, the first one that is there.
const TYPES: [&str; 2] = ["ce-type", "type"];
/// Names that an event has by itself, or may not have.
const TAKEN: [&str; 12] = [
    "data",
    "datacontenttype",
    "id",
    "source",
    "specversion",
    "subject",
    "time",
    "traceparent",
    "tracestate",
    "type",
    "dataschema",
    "schemaid",
];
const UNTYPED: &str = "application/octet-stream";
/// The media types of what is an event already.
const EVENTS: &str = "application/cloudevents";
/// What is encoded in values, by the HTTP binding.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
/// What may stand in the name of a header.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+');

/// Headers and body of the request. `source` is where events come from, as a URI reference.
pub fn request(message: &ReceivedMessage, source: &str, mode: Mode) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let count = message.delivery_count.to_string();
    put(&mut headers, "roadstead-delivery-count", &count);
    if !message.trace_parent.is_empty() {
        put(&mut headers, "traceparent", &message.trace_parent);
        if !message.trace_state.is_empty() {
            put(&mut headers, "tracestate", &message.trace_state);
        }
    }
    let media = content_type(message);
    let is_event = media.as_bytes().starts_with(EVENTS.as_bytes());
    let event = if is_event {
        Vec::new()
    } else {
        event(message, source)
    };
    for (name, value) in &message.attributes {
        if !event.iter().any(|(_, of)| *of == Some(name.as_str())) {
            let name = utf8_percent_encode(name, NAME);
            put(
                &mut headers,
                &format!("roadstead-attribute-{name}"),
                &text(value),
            );
        }
    }
    let event = event.into_iter().map(|(member, _)| member);
    match mode {
        _ if is_event => {
            headers.insert(CONTENT_TYPE, media);
            (headers, message.body.clone())
        }
        Mode::Binary => {
            headers.insert(CONTENT_TYPE, media);
            for (name, value) in event {
                put(&mut headers, &format!("ce-{name}"), &value);
            }
            (headers, message.body.clone())
        }
        Mode::Structured => {
            let json = HeaderValue::from_static("application/cloudevents+json; charset=UTF-8");
            headers.insert(CONTENT_TYPE, json);
            let media = String::from_utf8_lossy(media.as_bytes()).into_owned();
            (headers, structured(event, &media, &message.body))
        }
    }
}

/// Name and value of an event's attribute, and the name of the message's that it is.
type Member<'a> = ((String, String), Option<&'a str>);

fn event<'a>(message: &'a ReceivedMessage, source: &str) -> Vec<Member<'a>> {
    let named = TYPES.iter().find_map(|&name| {
        let value = message.attribute(name).filter(|value| !value.is_empty());
        value.map(|value| (name, value))
    });
    let (taken, kind) = named.map_or((None, TYPE), |(name, value)| (Some(name), value));
    let time = prost_types::Timestamp::from(message.enqueued_at).to_string();
    let own = [
        ("specversion", "1.0", None),
        ("id", message.id.as_str(), None),
        ("source", source, None),
        ("type", kind, taken),
        ("time", time.as_str(), None),
        ("subject", message.ordering_key.as_str(), None),
        ("traceparent", message.trace_parent.as_str(), None),
        ("tracestate", message.trace_state.as_str(), None),
        (
            schema_name(&message.schema_id),
            message.schema_id.as_str(),
            None,
        ),
    ];
    let own = own.into_iter().filter(|(_, value, _)| !value.is_empty());
    let own = own.map(|(name, value, of)| ((name.to_owned(), value.to_owned()), of));
    let extensions = message.attributes.iter();
    let extensions = extensions.filter(|(name, _)| is_extension(name));
    let extensions =
        extensions.map(|(name, value)| ((name.clone(), text(value)), Some(name.as_str())));
    own.chain(extensions).collect()
}

/// What an event calls its schema: `dataschema` is a URI.
fn schema_name(id: &str) -> &'static str {
    let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(in_scheme)
    };
    match id.split_once(':') {
        Some((scheme, _)) if is_scheme(scheme) => "dataschema",
        _ => "schemaid",
    }
}

/// Whether an event can have an attribute of this name beside its own.
fn is_extension(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.bytes().all(allowed) && !TAKEN.contains(&name)
}

/// The media type of the body; what no header can carry is no media type.
fn content_type(message: &ReceivedMessage) -> HeaderValue {
    let media = HeaderValue::from_str(&message.content_type);
    let media = media
        .ok()
        .filter(|media| media.to_str().is_ok_and(|text| !text.is_empty()));
    media.unwrap_or_else(|| HeaderValue::from_static(UNTYPED))
}

fn text(value: &AttributeValue) -> String {
    match &value.value {
        Some(Value::StringValue(text) | Value::NumberValue(text)) => text.clone(),
        Some(Value::BinaryValue(bytes)) => BASE64_STANDARD.encode(bytes),
        None => String::new(),
    }
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let value = utf8_percent_encode(value, VALUE).to_string();
    // Both hold only what a header can carry.
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.append(name, value);
    }
}

/// The JSON event format. A body that is JSON stands there as it is, digit for digit.
fn structured(event: impl Iterator<Item = (String, String)>, media: &str, body: &Bytes) -> Bytes {
    let mut object: Map<_, _> = event.map(|(name, value)| (name, json!(value))).collect();
    object.insert("datacontenttype".into(), json!(media));
    let text = str::from_utf8(body).ok();
    let whole = |text| serde_json::from_str::<IgnoredAny>(text).is_ok();
    let as_json = is_json(media) && text.is_some_and(whole);
    let as_text = text.filter(|_| media != UNTYPED);
    match as_text {
        Some(text) if !as_json => object.insert("data".into(), json!(text)),
        None if !as_json => {
            object.insert("data_base64".into(), json!(BASE64_STANDARD.encode(body)))
        }
        _ => None,
    };
    let mut bytes = json!(object).to_string().into_bytes();
    if as_json {
        bytes.pop();
        bytes.extend_from_slice(b",\"data\":");
        bytes.extend_from_slice(body);
        bytes.push(b'}');
    }
    bytes.into()
}

fn is_json(media: &str) -> bool {
    let essence = media.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}
