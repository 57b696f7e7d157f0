//! Ops of queues whose keys are sticky.

use bytes::Bytes;
use roadstead_core::shard::*;

const PARTITION: PartitionId = PartitionId {
    queue: 13,
    partition: 0,
};

/// A queue with messages in two slots, of which one is received.
pub fn sticky() -> [Op; 3] {
    let config = PartitionConfig {
        ordering: Ordering::PerKey,
        sticky_keys: true,
        ..PartitionConfig::default()
    };
    let message = |key| NewMessage {
        key: Some(key),
        body: Bytes::from_static(b"body"),
        ..NewMessage::default()
    };
    let mut key_slots = KeySlots::default();
    key_slots.add(slot_of_key(1 << 63));
    [
        Op::Configure(Configure {
            partition: PARTITION,
            config,
        }),
        Op::Send(Send {
            partition: PARTITION,
            producer: None,
            atomic: false,
            messages: vec![message(7), message(1 << 63)],
        }),
        Op::Receive(Receive {
            partition: PARTITION,
            group: DEFAULT_GROUP,
            session: None,
            max: 10,
            lease_ms: None,
            at_most_once: false,
            key_slots,
        }),
    ]
}
