//! Consumer groups of a queue.
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::CircuitBreaker;

/// Settings of one consumer group. Each group gets every message, with positions, leases, retries
/// and dead letters of its own.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.name != 'default' || self.start == 'Beginning'").message(
    "the group `default` begins with the queue: leave its start out, or say Beginning"
))]
pub struct Group {
    /// 1..63 of a-z, 0-9 and `-`, with a letter or digit at either end. Every queue has the group
    /// `default`; one that is taken out of the list is deleted with its place in the queue.
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Where it begins when it is new; changes nothing later. Default: `Beginning`.
    #[serde(default)]
    pub start: GroupStart,
    /// Whether it gets deliveries. Default: `Active`.
    #[serde(default)]
    pub delivery: GroupDelivery,
    /// Its own deliveries in flight at most: 1..1,000,000, no more than `limits.maxInFlight`, which
    /// is for all groups together. Absent: no limit beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: Option<i32>,
    /// Messages delivered to it per second, again and again counted; a second's worth may come at
    /// once, and each partition has its share. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub rate_per_second: Option<i32>,
    /// Pauses its deliveries while too many of them fail; absent: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// Where a new consumer group begins.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupStart {
    /// With the first message that is still there.
    #[default]
    Beginning,
    /// With what gets its place in line from then on.
    End,
}

/// Whether a consumer group gets deliveries.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupDelivery {
    /// It does.
    #[default]
    Active,
    /// It does not; what it has can be settled, and what it needs stays.
    Paused,
}

/// Name of the group that every queue has.
pub const DEFAULT_GROUP: &str = "default";
