//! What the queues of a namespace may ask for together.
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// What the queues of a namespace may ask for together, those that are being deleted among them.
/// What is absent has no limit.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceQuota {
    /// The namespace; `*`: each one that has no entry of its own.
    #[schemars(
        length(min = 1, max = 63),
        pattern(r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")
    )]
    pub namespace: String,
    /// Queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_queues: Option<i32>,
    /// Sum of `limits.maxMessages`, which each queue must have then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_messages: Option<i64>,
    /// Sum of `limits.maxBytes`, which each queue must have then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<ByteSize>,
    /// Partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_partitions: Option<i32>,
    /// Sum of `limits.ratePerSecond`, which each queue must have then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_rate_per_second: Option<i64>,
}
