//! What a dead letter carries of its end: why, from where, and which deliveries failed.
//!
//! ```text
//! reason (u8) | delivery count (varint) | at, ms since 1970 (varint)
//! | source namespace/name (text) | error (text)
//! | first delivery, ms since 1970 (varint, 0: none) | attempt*
//! attempt = how it ended (u8) | delivered, ms after the first (varint) | ended, ms after that
//!           (varint) | error (text)
//! text    = length (varint) | UTF-8
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use prost_types::Timestamp;
use roadstead_proto::v1::{DeadLetterInfo, FailedAttempt};

use super::blob::{put_varint, take_varint, text};
use super::wire::{since_1970, timestamp};

/// The field's bytes.
pub(super) fn encode(info: &DeadLetterInfo) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(u8::try_from(info.reason).unwrap_or(0));
    put_varint(&mut out, u64::from(info.delivery_count));
    put_varint(&mut out, ms(info.at.as_ref()));
    put_text(&mut out, &info.source_queue);
    put_text(&mut out, &info.error);
    let first = ms(info.first_delivered_at.as_ref());
    put_varint(&mut out, first);
    for attempt in &info.attempts {
        let delivered = ms(attempt.delivered_at.as_ref());
        let ended = ms(attempt.ended_at.as_ref());
        out.put_u8(u8::try_from(attempt.end).unwrap_or(0));
        put_varint(&mut out, delivered.saturating_sub(first));
        put_varint(&mut out, ended.saturating_sub(delivered));
        put_text(&mut out, &attempt.error);
    }
    out
}

/// Reads them; None where they are none.
pub(super) fn decode(field: &Bytes) -> Option<DeadLetterInfo> {
    let reason = i32::from(*field.first()?);
    let at = &mut 1;
    let mut info = DeadLetterInfo {
        reason,
        delivery_count: u32::try_from(take_varint(field, at)?).ok()?,
        at: Some(timestamp(take_varint(field, at)?)),
        source_queue: take_text(field, at)?,
        error: take_text(field, at)?,
        ..DeadLetterInfo::default()
    };
    let first = take_varint(field, at)?;
    info.first_delivered_at = (first != 0).then(|| timestamp(first));
    while *at < field.len() {
        let end = i32::from(field[*at]);
        *at += 1;
        let delivered = first.saturating_add(take_varint(field, at)?);
        let ended = delivered.saturating_add(take_varint(field, at)?);
        info.attempts.push(FailedAttempt {
            delivered_at: Some(timestamp(delivered)),
            ended_at: Some(timestamp(ended)),
            end,
            error: take_text(field, at)?,
        });
    }
    Some(info)
}

fn ms(at: Option<&Timestamp>) -> u64 {
    at.map_or(0, since_1970)
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_varint(out, text.len() as u64);
    out.put_slice(text.as_bytes());
}

fn take_text(field: &Bytes, at: &mut usize) -> Option<String> {
    let length = usize::try_from(take_varint(field, at)?).ok()?;
    let end = at.checked_add(length).filter(|end| *end <= field.len())?;
    let read = text(&field[*at..end]);
    *at = end;
    read
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info() -> DeadLetterInfo {
        let attempt = |delivered, ended, end, error: &str| FailedAttempt {
            delivered_at: Some(timestamp(delivered)),
            ended_at: Some(timestamp(ended)),
            end,
            error: error.into(),
        };
        DeadLetterInfo {
            reason: 2,
            error: "no".into(),
            source_queue: "shop/a".into(),
            delivery_count: 300,
            at: Some(timestamp(1_000)),
            first_delivered_at: Some(timestamp(500)),
            attempts: vec![attempt(500, 510, 3, ""), attempt(900, 1_000, 2, "no")],
        }
    }

    #[test]
    fn it_comes_back_and_its_bytes_are_frozen() {
        let bytes = encode(&info()).freeze();
        let mut expected = vec![2, 0xac, 2, 0xe8, 7, 6];
        expected.extend(b"shop/a");
        expected.extend([2, b'n', b'o', 0xf4, 3]);
        expected.extend([3, 0, 10, 0, 2, 0x90, 3, 100, 2, b'n', b'o']);
        assert_eq!(bytes, expected);
        assert_eq!(decode(&bytes), Some(info()));
        let without = DeadLetterInfo {
            first_delivered_at: None,
            attempts: Vec::new(),
            ..info()
        };
        assert_eq!(decode(&encode(&without).freeze()), Some(without));
        assert_eq!(decode(&bytes.slice(..bytes.len() - 1)), None);
        assert_eq!(decode(&Bytes::new()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&Bytes::from(bytes));
        }
    }
}
