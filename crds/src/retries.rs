//! What becomes of messages that are not consumed in time.
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// When a waiting message is given up.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expiry {
    /// How long a message waits at most: 1 s..1 year. A message may name less for itself. Default:
    /// `96h`.
    #[serde(default = "default_time_to_live")]
    #[x_kube(validation = Rule::new(
        "duration(self) >= duration('1s') && duration(self) <= duration('8760h')"
    ).message("expiry.timeToLive must be between 1s and 8760h"))]
    pub time_to_live: Span,
    /// What becomes of it then. Default: `Drop`.
    #[serde(default)]
    pub action: ExpiryAction,
    /// How long a message can be replayed after all consumer groups have settled it: 0 s..1 year.
    /// Default: `0s`.
    #[serde(default = "default_retain_after_ack")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('8760h')")
        .message("expiry.retainAfterAck must be at most 8760h"))]
    pub retain_after_ack: Span,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            time_to_live: default_time_to_live(),
            action: ExpiryAction::Drop,
            retain_after_ack: default_retain_after_ack(),
        }
    }
}

/// What becomes of a message that has waited too long.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpiryAction {
    /// It is gone.
    #[default]
    Drop,
    /// It goes to the dead-letter queue, which must be named.
    DeadLetter,
}

/// What happens to a message that was not acked.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Deliveries before a message is dead-lettered: 1..1000. Default: 5.
    #[serde(default = "default_max_deliveries")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_deliveries: i32,
    /// How long a message waits after a delivery that failed: whose lease ended, or that was nacked
    /// without a delay. Default: the defaults of its fields.
    #[serde(default)]
    pub backoff: Backoff,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max_deliveries: default_max_deliveries(),
            backoff: Backoff::default(),
        }
    }
}

/// A schedule of retries.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.initial) <= duration(self.max)").message(
    "retries.backoff.max must be at least retries.backoff.initial"
))]
pub struct Backoff {
    /// How the wait grows. Default: `Exponential`.
    #[serde(default, rename = "type")]
    pub growth: BackoffType,
    /// Wait after the first failure: 0 s..12 h. Default: `1s`.
    #[serde(default = "default_initial")]
    #[x_kube(validation = Rule::new(
        "duration(self) >= duration('0s') && duration(self) <= duration('12h')"
    ).message("retries.backoff.initial must be between 0s and 12h"))]
    pub initial: Span,
    /// Longest wait: at least `initial`, at most 12 h. Default: `5m`.
    #[serde(default = "default_max")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('12h')").message(
        "retries.backoff.max must be at most 12h"
    ))]
    pub max: Span,
    /// A wait is shorter by up to this share, so that what failed together does not come back
    /// together: 0..100 percent. Default: 10.
    #[serde(default = "default_jitter")]
    #[schemars(range(min = 0, max = 100))]
    pub jitter_percent: i32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            growth: BackoffType::Exponential,
            initial: default_initial(),
            max: default_max(),
            jitter_percent: default_jitter(),
        }
    }
}

/// How the wait grows from failure to failure.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackoffType {
    /// There is none: a message is delivered again at once.
    None,
    /// It stays.
    Fixed,
    /// By the initial wait each time.
    Linear,
    /// It doubles.
    #[default]
    Exponential,
}

fn default_retain_after_ack() -> Span {
    "0s".into()
}

fn default_time_to_live() -> Span {
    "96h".into()
}

fn default_max_deliveries() -> i32 {
    5
}

fn default_initial() -> Span {
    "1s".into()
}

fn default_max() -> Span {
    "5m".into()
}

fn default_jitter() -> i32 {
    10
}
