//! The payload blob: a message as it is logged, opaque to the state machine.
//!
//! ```text
//! blob    = header length (varint) | header | body
//! header  = version (1) | field*
//! field   = tag (u8) | length (varint) | bytes
//! tag  1 content type      UTF-8
//!      2 ordering key      UTF-8
//!      3 trace parent      UTF-8
//!      4 attribute         key length (varint) | key
//!                          | kind (u8: 1 text, 2 number, 3 binary) | value
//!      5 dead letter       see `dead_letter`
//!      6 schema id         UTF-8
//!      7 origin            reserved: cluster, queue and sequence that it was copied from
//!      8 deduplication id  UTF-8
//!      9 fairness key      UTF-8
//!     10 trace state       UTF-8
//! ```
//! Fields come in the order of their tags, a dead letter's last; an unknown tag is skipped, so that
//! an older node shows what a newer one has logged. Varints are LEB128.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use roadstead_core::shard::split_payload;
use roadstead_proto::v1::attribute_value::Value;
use roadstead_proto::v1::{AttributeValue, DeadLetterInfo, OutgoingMessage};

use super::dead_letter;

const VERSION: u8 = 1;
const CONTENT_TYPE: u8 = 1;
const ORDERING_KEY: u8 = 2;
const TRACE_PARENT: u8 = 3;
const ATTRIBUTE: u8 = 4;
const DEAD_LETTER: u8 = 5;
const SCHEMA_ID: u8 = 6;
const DEDUPLICATION_ID: u8 = 8;
const FAIRNESS_KEY: u8 = 9;
const TRACE_STATE: u8 = 10;

const TEXT: u8 = 1;
const NUMBER: u8 = 2;
const BINARY: u8 = 3;

/// A blob that does not follow the format: storage gave back something else than was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a stored payload is unreadable at byte {0} of its header: stop the node and run \
     `roadstead-node check-data` on its directory"
)]
pub struct BlobError(pub usize);

/// A blob taken apart; the body shares the blob's bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Blob {
    /// A media type, or empty.
    pub content_type: String,
    /// Empty: none.
    pub ordering_key: String,
    /// W3C traceparent, or empty.
    pub trace_parent: String,
    /// W3C tracestate, or empty.
    pub trace_state: String,
    /// Names the schema of the body, or is empty.
    pub schema_id: String,
    /// By name.
    pub attributes: BTreeMap<String, AttributeValue>,
    /// Set on a message that was dead-lettered.
    pub dead_letter: Option<DeadLetterInfo>,
    /// As its producer gave it; empty: none.
    pub deduplication_id: String,
    /// Names its tenant; empty: none.
    pub fairness_key: String,
    /// What the producer sent.
    pub body: Bytes,
}

/// The header of a message as its producer gave it. Headers of one batch share the allocation of
/// `scratch`; a message without attributes needs none.
pub fn header(message: &OutgoingMessage, scratch: &mut BytesMut) -> Bytes {
    let length = header_len(message);
    if length == 1 {
        return Bytes::from_static(&[VERSION]);
    }
    let out = scratch;
    out.reserve(length);
    out.put_u8(VERSION);
    put_text(out, CONTENT_TYPE, &message.content_type);
    put_text(out, ORDERING_KEY, &message.ordering_key);
    put_text(out, TRACE_PARENT, &message.trace_parent);
    for (key, value) in &message.attributes {
        put_attribute(out, key, value);
    }
    put_text(out, SCHEMA_ID, &message.schema_id);
    put_text(out, DEDUPLICATION_ID, &message.deduplication_id);
    put_text(out, FAIRNESS_KEY, &message.fairness_key);
    put_text(out, TRACE_STATE, &message.trace_state);
    out.split().freeze()
}

fn header_len(message: &OutgoingMessage) -> usize {
    let texts = [
        &message.content_type,
        &message.ordering_key,
        &message.trace_parent,
        &message.schema_id,
        &message.deduplication_id,
        &message.fairness_key,
        &message.trace_state,
    ];
    let texts = texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| field_len(text.len()));
    let attributes = message.attributes.iter().filter_map(|(key, value)| {
        let (_, bytes) = attribute_bytes(value)?;
        Some(field_len(attribute_len(key, bytes)))
    });
    1 + texts.sum::<usize>() + attributes.sum::<usize>()
}

/// Header and body of a message that moves to a dead-letter queue: an earlier dead letter's
/// information gives way to the new one.
pub fn with_dead_letter(blob: &Bytes, info: &DeadLetterInfo) -> Result<(Bytes, Bytes), BlobError> {
    let (mut kept, body) = without(blob, info.error.len() + 96)?;
    let field = dead_letter::encode(info);
    put_field(&mut kept, DEAD_LETTER, &field);
    Ok((kept.freeze(), body))
}

/// Header and body of a message that goes back to work: nothing says any more that it was
/// dead-lettered.
pub fn without_dead_letter(blob: &Bytes) -> Result<(Bytes, Bytes), BlobError> {
    let (kept, body) = without(blob, 0)?;
    Ok((kept.freeze(), body))
}

/// The header without a dead letter's information, with room for more, and the body.
fn without(blob: &Bytes, room: usize) -> Result<(BytesMut, Bytes), BlobError> {
    let (header, body) = split(blob)?;
    let mut kept = BytesMut::with_capacity(header.len() + 1 + room);
    kept.put_u8(VERSION);
    visit_fields(&header, |tag, value| {
        if tag != DEAD_LETTER {
            put_field(&mut kept, tag, &value);
        }
        Some(())
    })?;
    Ok((kept, body))
}

/// What a person changes of a message; None: it stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Edit {
    /// What the consumer gets.
    pub body: Option<Bytes>,
    /// All of them.
    pub attributes: Option<BTreeMap<String, AttributeValue>>,
    /// A media type, or empty.
    pub content_type: Option<String>,
}

/// Header and body of a message that was changed; all other fields stay, also unknown ones.
pub fn edited(blob: &Bytes, edit: &Edit) -> Result<(Bytes, Bytes), BlobError> {
    let (header, body) = split(blob)?;
    let mut fields: Vec<(u8, BytesMut)> = Vec::new();
    let mut put = |tag, encode: &dyn Fn(&mut BytesMut)| {
        let mut field = BytesMut::new();
        encode(&mut field);
        fields.push((tag, field));
    };
    visit_fields(&header, |tag, value| {
        let replaced = tag == ATTRIBUTE && edit.attributes.is_some()
            || tag == CONTENT_TYPE && edit.content_type.is_some();
        if !replaced {
            put(tag, &|out| put_field(out, tag, &value));
        }
        Some(())
    })?;
    if let Some(content_type) = &edit.content_type {
        put(CONTENT_TYPE, &|out| {
            put_text(out, CONTENT_TYPE, content_type);
        });
    }
    for (key, value) in edit.attributes.iter().flatten() {
        put(ATTRIBUTE, &|out| put_attribute(out, key, value));
    }
    // In order of their tags, a dead letter's last.
    fields.sort_by_key(|(tag, _)| (*tag == DEAD_LETTER, *tag));
    let mut out = BytesMut::from(&[VERSION][..]);
    for (_, field) in &fields {
        out.put_slice(field);
    }
    Ok((out.freeze(), edit.body.clone().unwrap_or(body)))
}

/// Takes a blob apart.
pub fn decode(blob: &Bytes) -> Result<Blob, BlobError> {
    let (header, body) = split(blob)?;
    let mut read = Blob {
        body,
        ..Blob::default()
    };
    visit_fields(&header, |tag, value| {
        match tag {
            CONTENT_TYPE => read.content_type = text(&value)?,
            ORDERING_KEY => read.ordering_key = text(&value)?,
            TRACE_PARENT => read.trace_parent = text(&value)?,
            TRACE_STATE => read.trace_state = text(&value)?,
            SCHEMA_ID => read.schema_id = text(&value)?,
            ATTRIBUTE => {
                let (key, value) = take_attribute(&value)?;
                read.attributes.insert(key, value);
            }
            DEAD_LETTER => read.dead_letter = Some(dead_letter::decode(&value)?),
            DEDUPLICATION_ID => read.deduplication_id = text(&value)?,
            FAIRNESS_KEY => read.fairness_key = text(&value)?,
            _ => {}
        }
        Some(())
    })?;
    Ok(read)
}

fn split(blob: &Bytes) -> Result<(Bytes, Bytes), BlobError> {
    let (header, body) = split_payload(blob).map_err(|_| BlobError(0))?;
    match header.first() {
        Some(&VERSION) => Ok((header.slice(1..), body)),
        _ => Err(BlobError(0)),
    }
}

/// Visits the fields behind the version byte.
fn visit_fields(
    fields: &Bytes,
    mut visit: impl FnMut(u8, Bytes) -> Option<()>,
) -> Result<(), BlobError> {
    let mut at = 0;
    while at < fields.len() {
        let field = at;
        let tag = fields[at];
        at += 1;
        let length = take_varint(fields, &mut at).ok_or(BlobError(field))?;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| at.checked_add(length));
        let end = end
            .filter(|end| *end <= fields.len())
            .ok_or(BlobError(field))?;
        visit(tag, fields.slice(at..end)).ok_or(BlobError(field))?;
        at = end;
    }
    Ok(())
}

fn put_field(out: &mut BytesMut, tag: u8, value: &[u8]) {
    out.put_u8(tag);
    put_varint(out, value.len() as u64);
    out.put_slice(value);
}

fn put_text(out: &mut BytesMut, tag: u8, value: &str) {
    if !value.is_empty() {
        put_field(out, tag, value.as_bytes());
    }
}

const fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

fn attribute_bytes(value: &AttributeValue) -> Option<(u8, &[u8])> {
    Some(match value.value.as_ref()? {
        Value::StringValue(text) => (TEXT, text.as_bytes()),
        Value::NumberValue(number) => (NUMBER, number.as_bytes()),
        Value::BinaryValue(bytes) => (BINARY, bytes),
    })
}

const fn attribute_len(key: &str, value: &[u8]) -> usize {
    varint_len(key.len() as u64) + key.len() + 1 + value.len()
}

fn put_attribute(out: &mut BytesMut, key: &str, value: &AttributeValue) {
    let Some((kind, bytes)) = attribute_bytes(value) else {
        return;
    };
    out.put_u8(ATTRIBUTE);
    put_varint(out, attribute_len(key, bytes) as u64);
    put_varint(out, key.len() as u64);
    out.put_slice(key.as_bytes());
    out.put_u8(kind);
    out.put_slice(bytes);
}

fn take_attribute(field: &Bytes) -> Option<(String, AttributeValue)> {
    let mut at = 0;
    let length = usize::try_from(take_varint(field, &mut at)?).ok()?;
    let end = at.checked_add(length).filter(|end| *end < field.len())?;
    let key = text(&field[at..end])?;
    let bytes = field.slice(end + 1..);
    let value = match field[end] {
        TEXT => Value::StringValue(text(&bytes)?),
        NUMBER => Value::NumberValue(text(&bytes)?),
        BINARY => Value::BinaryValue(bytes),
        _ => return None,
    };
    Some((key, AttributeValue { value: Some(value) }))
}

pub(super) fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

pub(super) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

const fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(super) fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[path = "blob_tests.rs"]
mod tests;
