//! What travels with a message from an outbox to its target, beside its payload.
//!
//! ```text
//! version (1) | queue (u64) | partition (u32) | sequence (u64) | accepted at, ms (u64) | key (u64)
//! | due, ms (u64) | time to live, ms (u64) | priority (u8) | tenant (u64)
//! ```
//! Little endian; the first three are where it was first accepted; 0: none.

use bytes::{BufMut, Bytes, BytesMut};
use roadstead_core::shard::{MessageId, MovedMessage, OutboxMessage, split_payload};

const VERSION: u8 = 1;
const LEN: usize = 62;

/// The travelling form.
pub fn encode(message: &OutboxMessage) -> Bytes {
    let mut out = BytesMut::with_capacity(LEN);
    out.put_u8(VERSION);
    out.put_u64_le(message.id.queue);
    out.put_u32_le(message.id.partition);
    out.put_u64_le(message.id.sequence);
    out.put_u64_le(message.enqueued_at);
    out.put_u64_le(message.key.unwrap_or(0));
    out.put_u64_le(message.due);
    out.put_u64_le(message.ttl_ms);
    out.put_u8(message.priority);
    out.put_u64_le(message.tenant.unwrap_or(0));
    out.freeze()
}

/// The payload as it travels: header with its length in front, and body.
pub fn join(header: &[u8], body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(header.len() + body.len() + 5);
    let mut length = header.len() as u64;
    while length >= 0x80 {
        out.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
    out.put_slice(header);
    out.put_slice(body);
    out.freeze()
}

/// Reads the travelling form; None when it is none.
pub fn decode(header: &Bytes, payload: &Bytes) -> Option<MovedMessage> {
    let bytes: &[u8; LEN] = header
        .first_chunk::<LEN>()
        .filter(|_| header.len() == LEN)?;
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let partition = u32::from_le_bytes([bytes[9], bytes[10], bytes[11], bytes[12]]);
    let key = Some(number(29)).filter(|key| *key != 0);
    let (header, body) = split_payload(payload).ok()?;
    let id = MessageId {
        queue: number(1),
        partition,
        sequence: number(13),
    };
    (bytes[0] == VERSION).then_some(MovedMessage {
        id,
        enqueued_at: number(21),
        key,
        due: number(37),
        ttl_ms: number(45),
        priority: bytes[53],
        tenant: Some(number(54)).filter(|tenant| *tenant != 0),
        header,
        body,
    })
}

#[cfg(test)]
mod tests {
    use roadstead_core::shard::{Attempts, OutboxReason, PayloadRef};

    use super::*;

    #[test]
    fn what_travels_arrives_and_its_bytes_are_frozen() {
        let message = OutboxMessage {
            number: 1,
            id: MessageId {
                queue: 2,
                partition: 3,
                sequence: 4,
            },
            enqueued_at: 5,
            key: Some(6),
            due: 7,
            ttl_ms: 8,
            priority: 9,
            tenant: Some(10),
            payload: PayloadRef {
                index: 0,
                offset: 0,
                len: 0,
            },
            reason: OutboxReason::Redriven,
            delivery_count: 1,
            at: 0,
            attempts: Attempts::default(),
        };
        let bytes = encode(&message);
        let mut golden = vec![1];
        golden.extend([2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([9, 10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, golden);
        let payload = join(b"head", b"body");
        let moved = decode(&bytes, &payload).unwrap();
        assert_eq!(
            (moved.id, moved.enqueued_at, moved.key),
            (message.id, 5, Some(6))
        );
        assert_eq!((moved.priority, moved.tenant), (9, Some(10)));
        assert_eq!(
            (&moved.header[..], &moved.body[..]),
            (&b"head"[..], &b"body"[..])
        );
        assert_eq!(decode(&bytes.slice(1..), &payload), None);
        assert_eq!(decode(&bytes, &Bytes::from_static(&[9])), None);
        let long = [7; 300];
        let moved = decode(&bytes, &join(&long, b"b")).unwrap();
        assert_eq!((&moved.header[..], &moved.body[..]), (&long[..], &b"b"[..]));
    }
}
