//! A pause of deliveries while too many of them fail.
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// Pauses deliveries to a consumer group while too many of them fail: are nacked or rejected, or
/// have their lease end. It works in each partition by itself.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Failures among the deliveries that ended in a window that open it: 1..100 percent.
    /// Default: 50.
    #[serde(default = "default_error_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub error_percent: i32,
    /// Deliveries that must have ended in the window: 1..10,000. Default: 20.
    #[serde(default = "default_min_deliveries")]
    #[schemars(range(min = 1, max = 10_000))]
    pub min_deliveries: i32,
    /// 1 s..1 h. Default: `1m`.
    #[serde(default = "default_window")]
    #[x_kube(validation = Rule::new(
        "duration(self) >= duration('1s') && duration(self) <= duration('1h')"
    ).message("circuitBreaker.window must be between 1s and 1h"))]
    pub window: Span,
    /// How long nothing is delivered: 1 s..1 h. Then one message at a time is, until one is acked,
    /// which closes it, or fails, which opens it again. Default: `30s`.
    #[serde(default = "default_open")]
    #[x_kube(validation = Rule::new(
        "duration(self) >= duration('1s') && duration(self) <= duration('1h')"
    ).message("circuitBreaker.open must be between 1s and 1h"))]
    pub open: Span,
}

fn default_error_percent() -> i32 {
    50
}

fn default_min_deliveries() -> i32 {
    20
}

fn default_window() -> Span {
    "1m".into()
}

fn default_open() -> Span {
    "30s".into()
}
