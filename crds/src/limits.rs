//! What a queue may hold, take in and deliver at most.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// What a queue may hold at most. Each live message counts once.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Live messages; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_messages: Option<i64>,
    /// Bytes of bodies and attributes of live messages; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<ByteSize>,
    /// Largest message: 1..16Mi, body and attributes together. Default: `256Ki`.
    #[serde(default = "default_max_message_bytes")]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('16Mi')) <= 0")
        .message("limits.maxMessageBytes must be at most 16Mi"))]
    pub max_message_bytes: ByteSize,
    /// Deliveries in flight, of all groups together: 1..1,000,000. Each partition has its share;
    /// what is delivered at most once is not counted. Default: 20000.
    #[serde(default = "default_max_in_flight")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: i32,
    /// Messages accepted per second; a second's worth may come at once, and each partition has its
    /// share. Sends beyond it wait a little, and are refused then. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub rate_per_second: Option<i32>,
    /// What happens to a send beyond a limit of messages or bytes. Default: `Reject`.
    #[serde(default)]
    pub overflow: Overflow,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_messages: None,
            max_bytes: None,
            max_message_bytes: default_max_message_bytes(),
            max_in_flight: default_max_in_flight(),
            rate_per_second: None,
            overflow: Overflow::default(),
        }
    }
}

/// What happens to a send beyond a limit.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// It is refused with RESOURCE_EXHAUSTED.
    #[default]
    Reject,
    /// It is taken, and the oldest ready message of its partition is gone.
    DropOldest,
    /// It is taken, and the oldest ready message of its partition goes to the dead-letter queue.
    DeadLetterOldest,
}

fn default_max_in_flight() -> i32 {
    20_000
}

fn default_max_message_bytes() -> ByteSize {
    "256Ki".into()
}
