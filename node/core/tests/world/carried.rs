//! A message of an outbox on its way to its target.

use bytes::Bytes;
use roadstead_core::shard::{MovedMessage, OutboxMessage};

/// The message with its payload, as a courier carries it.
pub fn carried(message: &OutboxMessage, header: Bytes, body: Bytes) -> MovedMessage {
    MovedMessage {
        id: message.id,
        enqueued_at: message.enqueued_at,
        key: message.key,
        due: message.due,
        ttl_ms: message.ttl_ms,
        priority: message.priority,
        tenant: message.tenant,
        header,
        body,
    }
}
