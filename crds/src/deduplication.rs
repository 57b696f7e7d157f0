//! How messages that are sent again are known.
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// Keeps messages from being added twice, whoever sends them again.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deduplication {
    /// What is compared. Default: `ID`.
    #[serde(default)]
    pub by: DeduplicateBy,
    /// Among which messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<DeduplicationScope>,
    /// How long an id is remembered from the first message's acceptance on: 1 s..24 h.
    /// Default: `5m`.
    #[serde(default = "default_window")]
    #[x_kube(validation = Rule::new(
        "duration(self) >= duration('1s') && duration(self) <= duration('24h')"
    ).message("deduplication.window must be between 1s and 24h"))]
    pub window: Span,
    /// Ids of the queue that are remembered at one time at most, each partition its share: up to
    /// 10,000,000. Beyond it messages with new ids are refused: no id is forgotten before its
    /// window ends. Default: 1000000.
    #[serde(default = "default_max_ids")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_ids: i32,
}

/// What is compared.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeduplicateBy {
    /// The deduplication id that the producer gives; a message without one is always new.
    #[default]
    #[serde(rename = "ID")]
    Id,
    /// The same, and where the producer gives none, body, attributes and content type.
    Content,
}

/// Among which messages an id stands for one. Default: `Key` where ordering is `PerKey`, else
/// `Queue`. Cannot change while there is deduplication.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeduplicationScope {
    /// All of the queue. With ordering `PerKey` it needs one partition.
    Queue,
    /// Those with the same ordering key.
    Key,
}

fn default_window() -> Span {
    "5m".into()
}

fn default_max_ids() -> i32 {
    1_000_000
}
