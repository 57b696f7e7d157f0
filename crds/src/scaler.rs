//! What scales consumers with the backlog, as an object.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Span, Timestamp};

/// How a workload follows the backlog of queues. Absent fields take the default that is named.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "roadstead.dev",
    version = "v1alpha1",
    kind = "ConsumerScaler",
    plural = "consumerscalers",
    shortname = "rds",
    category = "roadstead",
    namespaced,
    cel,
    derive = "PartialEq",
    status = "ConsumerScalerStatus",
    doc = "Scales a workload with the backlog of the queues that it consumes.",
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".spec.scaleTargetRef.name"
    ),
    printcolumn(name = "Min", type_ = "integer", json_path = ".spec.minReplicas"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxReplicas"),
    printcolumn(
        name = "Current",
        type_ = "integer",
        json_path = ".status.currentReplicas"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desiredReplicas"
    ),
    printcolumn(name = "LimitedBy", type_ = "string", json_path = ".status.limitedBy"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("minReplicas must not be above maxReplicas"))]
#[serde(rename_all = "camelCase")]
pub struct ConsumerScalerSpec {
    /// What is scaled: a `Deployment`, `ReplicaSet` or `StatefulSet` of this namespace, or what
    /// else has a `/scale` and is named in the chart's value `scaler.extraTargets`. Cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("scaleTargetRef cannot change: create another ConsumerScaler"))]
    pub scale_target_ref: ScaleTargetRef,
    /// The queues that it consumes, 1..16; their demands are added up.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["queue".into(), "group".into()]))]
    pub sources: Vec<Source>,
    /// What it aims at.
    pub objective: Objective,
    /// Replicas at least: 0..10,000; 0 lets it go to zero. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_replicas: i32,
    /// Replicas at most: 1..10,000.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_replicas: i32,
    /// How it goes down. Default: the defaults of its fields.
    #[serde(default)]
    pub scale_down: ScaleDown,
    /// What it does when it does not know the backlog. Default: the defaults of its fields.
    #[serde(default)]
    pub on_stale_data: OnStaleData,
    /// Whether it acts. Default: `Active`.
    #[serde(default)]
    pub mode: ScalerMode,
    /// What happens to the target when this object is deleted. Default: `Leave`.
    #[serde(default)]
    pub on_delete: OnDelete,
}

/// Names what is scaled.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// `group/version`. Default: `apps/v1`.
    #[serde(default = "default_api_version")]
    #[schemars(length(min = 1, max = 253))]
    pub api_version: String,
    /// Its kind. Default: `Deployment`.
    #[serde(default = "default_kind")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One consumer group of one queue.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Name of the Queue object, of this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub queue: String,
    /// The consumer group. Default: `default`.
    #[serde(default = "default_group")]
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub group: String,
}

/// What a scaler aims at.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    /// One replica for so many messages that are not settled and not delayed: 1..1,000,000,000.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub messages_per_replica: i64,
}

/// How a scaler goes down.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleDown {
    /// It goes down only to the highest size wanted within this time: 0 s..1 h. Default: `2m`.
    #[serde(default = "default_stabilization")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('1h')")
        .message("scaleDown.stabilization must be at most 1h"))]
    pub stabilization: Span,
    /// It goes to zero when nothing waited and nothing was in flight for this long: 0 s..24 h.
    /// Default: `1m`.
    #[serde(default = "default_to_zero_after")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')")
        .message("scaleDown.toZeroAfter must be at most 24h"))]
    pub to_zero_after: Span,
}

impl Default for ScaleDown {
    fn default() -> Self {
        Self {
            stabilization: default_stabilization(),
            to_zero_after: default_to_zero_after(),
        }
    }
}

/// What a scaler does when it does not know the backlog.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnStaleData {
    /// Data older than this counts as unknown: 2 s..10 min. Default: `10s`.
    #[serde(default = "default_stale_after")]
    #[x_kube(validation = Rule::new(
        "duration(self) >= duration('2s') && duration(self) <= duration('10m')"
    ).message("onStaleData.after must be between 2s and 10m"))]
    pub after: Span,
    /// What it then does. It never takes an outage for an empty queue. Default: `Hold`.
    #[serde(default)]
    pub action: StaleAction,
}

impl Default for OnStaleData {
    fn default() -> Self {
        Self {
            after: default_stale_after(),
            action: StaleAction::default(),
        }
    }
}

/// What a scaler does with data that is too old.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StaleAction {
    /// Leave the target as it is.
    #[default]
    Hold,
}

/// Whether a scaler acts.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScalerMode {
    /// It scales.
    #[default]
    Active,
    /// It decides and shows what it would do.
    DryRun,
    /// It does nothing.
    Paused,
}

/// What happens to the target when the scaler is deleted.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDelete {
    /// It stays as it is.
    #[default]
    Leave,
    /// It gets the replicas it had before the first decision.
    RestoreOriginal,
}

/// What a scaler last decided.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerScalerStatus {
    /// The generation that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Replicas it wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// Replicas the target asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<i32>,
    /// Replicas before the first decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_replicas: Option<i32>,
    /// What kept it from another size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<LimitedBy>,
    /// What it saw of each source at the last decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["queue".into(), "group".into()]))]
    pub sources: Vec<SourceStatus>,
    /// The last changes, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub decisions: Vec<DecisionStatus>,
    /// Ready, Active, Limited, Stale, Conflict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What kept a scaler from another size.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitedBy {
    /// Nothing.
    #[default]
    None,
    /// `minReplicas`.
    MinReplicas,
    /// `maxReplicas`.
    MaxReplicas,
    /// `scaleDown.stabilization`.
    Stabilization,
    /// `scaleDown.toZeroAfter`.
    ToZeroAfter,
    /// `onStaleData`.
    StaleData,
}

/// What a scaler saw of one source.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Name of the Queue object.
    #[schemars(length(max = 253))]
    pub queue: String,
    /// The consumer group.
    #[schemars(length(max = 80))]
    pub group: String,
    /// Messages not settled and not delayed.
    pub lag: i64,
}

/// One change of size.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// When.
    pub at: Timestamp,
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
    /// The terms it follows from.
    #[schemars(length(max = 256))]
    pub reason: String,
}

fn default_api_version() -> String {
    "apps/v1".to_owned()
}

fn default_kind() -> String {
    "Deployment".to_owned()
}

fn default_group() -> String {
    "default".to_owned()
}

fn default_stabilization() -> Span {
    "2m".into()
}

fn default_to_zero_after() -> Span {
    "1m".into()
}

fn default_stale_after() -> Span {
    "10s".into()
}
