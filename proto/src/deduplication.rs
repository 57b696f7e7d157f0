//! What makes two messages one, and which partition they meet in.
//!
//! Part of the contract: whoever routes messages, client or node, uses these functions. Nobody can
//! make two messages that are different and taken for one: the hash is a cryptographic one.

use sha2::{Digest, Sha256};

use crate::partition_of_key;
use crate::v1::attribute_value::Value;
use crate::v1::{AttributeValue, DeduplicateBy, DeduplicationScope, OutgoingMessage, QueueSpec};

/// The hash of a deduplication id: of the SHA-256 of its UTF-8 bytes the first 16, big-endian.
pub fn id_hash(id: &str) -> u128 {
    first_half(Sha256::new().chain_update(id))
}

/// The hash of what a message says: the first 16 bytes, big-endian, of the SHA-256 of
///
/// ```text
/// 0xff | content type | number of attributes | (name | kind | value)* | body
/// ```
///
/// with numbers and the length before each text as 8 bytes, little-endian, attributes in the order
/// of their names' bytes, and of each its kind as one byte (1 text, 2 number, 3 binary). The body
/// has no length before it. Ordering key, times and trace context are not in it: they say how a
/// message is delivered and not what it is. No deduplication id begins with 0xff.
pub fn content_hash(message: &OutgoingMessage) -> u128 {
    let mut hash = Sha256::new();
    hash.update([0xff]);
    put_text(&mut hash, message.content_type.as_bytes());
    hash.update((message.attributes.len() as u64).to_le_bytes());
    for (name, value) in &message.attributes {
        put_text(&mut hash, name.as_bytes());
        put_value(&mut hash, value);
    }
    hash.update(&message.body);
    first_half(hash)
}

/// The hash of an id or of a content among the messages of an ordering key, which may be empty: the
/// first 16 bytes, big-endian, of the SHA-256 of the key's length, the key and that hash, with
/// numbers as above.
pub fn hash_in_key(key: &str, hash: u128) -> u128 {
    let mut both = Sha256::new();
    put_text(&mut both, key.as_bytes());
    both.update(hash.to_be_bytes());
    first_half(both)
}

fn first_half(hash: Sha256) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    u128::from_be_bytes(half)
}

fn put_text(hash: &mut Sha256, text: &[u8]) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

fn put_value(hash: &mut Sha256, value: &AttributeValue) {
    let (kind, bytes) = match &value.value {
        None => (0, &[][..]),
        Some(Value::StringValue(text)) => (1, text.as_bytes()),
        Some(Value::NumberValue(number)) => (2, number.as_bytes()),
        Some(Value::BinaryValue(bytes)) => (3, &bytes[..]),
    };
    hash.update([kind]);
    put_text(hash, bytes);
}

/// The partition, of `partitions` (at least 1), where a message of a queue with this specification
/// belongs; `None`: any.
///
/// A message that may be sent again must come to where it is remembered. In the scope of the queue
/// that is the partition of its deduplication id, in the scope of the key that of its ordering key,
/// and without one that of its id. What has no id and is not compared by its content follows its
/// ordering key.
pub fn partition_of(message: &OutgoingMessage, spec: &QueueSpec, partitions: u32) -> Option<u32> {
    let key = &message.ordering_key;
    let by_key = (!key.is_empty()).then(|| partition_of_key(key, partitions));
    match &spec.deduplication {
        // All partitions are one.
        Some(_) if partitions <= 1 => Some(0),
        Some(setting) if by_key.is_none() || setting.scope() != DeduplicationScope::Key => {
            let id = &message.deduplication_id;
            if !id.is_empty() {
                return Some(partition_of_key(id, partitions));
            }
            let by_content = setting.by() == DeduplicateBy::Content;
            let of_content = || (content_hash(message) as u64 % u64::from(partitions)) as u32;
            if by_content {
                Some(of_content())
            } else {
                by_key
            }
        }
        _ => by_key,
    }
}

/// Whether a message of a queue with this specification is compared by its id or content.
pub fn is_deduplicated(message: &OutgoingMessage, spec: &QueueSpec) -> bool {
    spec.deduplication.is_some_and(|setting| {
        !message.deduplication_id.is_empty() || setting.by() == DeduplicateBy::Content
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::v1::Deduplication;

    fn message(body: &'static str) -> OutgoingMessage {
        OutgoingMessage {
            body: Bytes::from_static(body.as_bytes()),
            ..OutgoingMessage::default()
        }
    }

    fn attribute(name: &str, value: Value) -> (String, AttributeValue) {
        (name.to_owned(), AttributeValue { value: Some(value) })
    }

    fn spec(by: DeduplicateBy, scope: DeduplicationScope) -> QueueSpec {
        let setting = Deduplication {
            by: by.into(),
            scope: scope.into(),
            ..Deduplication::default()
        };
        QueueSpec {
            deduplication: Some(setting),
            ..QueueSpec::default()
        }
    }

    #[test]
    fn hashes_never_change() {
        assert_eq!(
            id_hash("order-7"),
            0xdf8c_f802_27ec_3237_922d_f0ec_d883_85c5
        );
        assert_eq!(
            hash_in_key("customer-3", id_hash("order-7")),
            0xedeb_6ed2_20cf_50d8_ecd9_191f_29c6_a042
        );
        let full = OutgoingMessage {
            content_type: "text/plain".into(),
            attributes: [
                attribute("a", Value::StringValue("x".into())),
                attribute("b", Value::NumberValue("1".into())),
                attribute("c", Value::BinaryValue(Bytes::from_static(&[0]))),
            ]
            .into(),
            ..message("hello")
        };
        // As another implementation hashes the bytes that the contract names.
        let expected = [
            0x153e_9a51_f00c_935e_2639_19a2_6317_b6e5,
            0x29c4_f5f0_b5ca_89a4_ecaa_61d2_f22a_8c81,
        ];
        assert_eq!([&message("hello"), &full].map(content_hash), expected);
    }

    #[test]
    fn what_a_message_says_is_told_apart_and_how_it_is_delivered_is_not() {
        let plain = message("hello");
        let with = |name: &str, value: Value| OutgoingMessage {
            attributes: [attribute(name, value)].into(),
            ..plain.clone()
        };
        let text = |text: &str| Value::StringValue(text.into());
        let others = [
            message("hell"),
            with("a", text("bc")),
            with("ab", text("c")),
            with("a", Value::NumberValue("1".into())),
            with("a", text("1")),
            OutgoingMessage {
                content_type: "a".into(),
                ..plain.clone()
            },
        ];
        let mut hashes: Vec<u128> = others.iter().map(content_hash).collect();
        hashes.push(content_hash(&plain));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), others.len() + 1);
        let later = OutgoingMessage {
            ordering_key: "k".into(),
            trace_parent: "t".into(),
            delay: Some(prost_types::Duration::default()),
            ..plain.clone()
        };
        assert_eq!(content_hash(&later), content_hash(&plain));
    }

    #[test]
    fn a_message_goes_to_where_it_is_remembered() {
        use DeduplicateBy::{Content, Id};
        use DeduplicationScope::{Key, Queue};
        let keyed = OutgoingMessage {
            ordering_key: "customer-3".into(),
            ..message("z")
        };
        let both = OutgoingMessage {
            deduplication_id: "a".into(),
            ..keyed.clone()
        };
        let id = OutgoingMessage {
            ordering_key: String::new(),
            ..both.clone()
        };
        let of_key = Some(partition_of_key("customer-3", 8));
        let of_id = Some(partition_of_key("a", 8));
        let of_content = Some((content_hash(&keyed) as u64 % 8) as u32);
        assert!(of_key != of_id && of_id != of_content && of_content != of_key);
        let to = |spec: &QueueSpec| {
            [&keyed, &both, &id, &message("z")].map(|message| partition_of(message, spec, 8))
        };
        assert_eq!(to(&QueueSpec::default()), [of_key, of_key, None, None]);
        assert_eq!(to(&spec(Id, Queue)), [of_key, of_id, of_id, None]);
        assert_eq!(to(&spec(Id, Key)), [of_key, of_key, of_id, None]);
        let content = [of_content, of_id, of_id, of_content];
        assert_eq!(to(&spec(Content, Queue)), content);
        assert_eq!(to(&spec(Content, Key)), [of_key, of_key, of_id, of_content]);
        assert_eq!(partition_of(&message("z"), &spec(Id, Queue), 1), Some(0));
    }
}
