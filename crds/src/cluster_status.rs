//! What the operator last saw of a cluster.
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What the operator last saw of a cluster.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueClusterStatus {
    /// The generation that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that can serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the pods, for `/scale`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub selector: String,
    /// Chosen once, before anything else is made.
    #[serde(default, rename = "clusterID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cluster_id: Option<String>,
    /// How the cluster was founded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapStatus>,
    /// Versions in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ClusterVersion>,
    /// Where clients connect, by name of the listener.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, Endpoint>,
    /// The nodes, by name of their pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, MemberStatus>,
    /// The Raft groups, the catalog not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardsStatus>,
    /// What the operator does next, and what it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub plan: Vec<PlanEntry>,
    /// Ready, Progressing, Degraded, QuorumAtRisk, Redundant, UpgradePaused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// How the cluster was founded. Written once, before the order is given, and never changed.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapStatus {
    /// The nodes that founded it.
    #[schemars(length(max = 99))]
    #[serde(default)]
    pub founders: Vec<FounderStatus>,
    /// The cluster has answered with its id.
    #[serde(default)]
    pub done: bool,
}

/// One founder.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FounderStatus {
    /// Its pod.
    #[schemars(length(max = 63))]
    pub pod: String,
    /// Its node id, a decimal number of 64 bits.
    #[schemars(length(max = 20))]
    pub id: String,
    /// The zone it ran in, where known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub zone: String,
}

/// Versions in use.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterVersion {
    /// The oldest binary that runs.
    #[schemars(length(max = 64))]
    #[serde(default)]
    pub binary: String,
    /// The version of commands that all nodes may write.
    #[serde(default)]
    pub cluster: i32,
}

/// Where clients connect.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// host:port within the Kubernetes cluster.
    #[schemars(length(max = 300))]
    #[serde(default)]
    pub address: String,
}

/// One node.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Its node id, a decimal number of 64 bits; empty before it has answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 20))]
    pub id: String,
    /// The zone it runs in, where known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub zone: String,
    /// What it does.
    pub state: MemberStatusState,
    /// Groups in which it votes.
    #[serde(default)]
    pub voters: i32,
    /// Groups that it leads.
    #[serde(default)]
    pub leaders: i32,
    /// Everything has been replicated to it within the bound.
    #[serde(default)]
    pub caught_up: bool,
}

/// What a node does.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberStatusState {
    /// It starts, or is on its way in.
    Joining,
    /// It serves.
    Serving,
    /// It hands over what it has.
    Draining,
    /// It is not heard of.
    Lost,
}

/// The Raft groups, the catalog not counted.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardsStatus {
    /// How many there are.
    #[serde(default)]
    pub total: i32,
    /// How many have a leader.
    #[serde(default)]
    pub with_leader: i32,
    /// How many have fewer caught-up voters than they shall have.
    #[serde(default)]
    pub under_replicated: i32,
}

/// One step of the operator's plan.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanEntry {
    /// Wait, ChooseFounders, Bootstrap, FinishBootstrap, Join, Drain, CancelDrain, Remove, Restart.
    #[schemars(length(max = 32))]
    pub step: String,
    /// What it does it to, mostly a pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub target: String,
    /// Why.
    #[schemars(length(max = 512))]
    pub reason: String,
    /// What it waits for; empty when it goes ahead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub blocked_by: String,
    /// Since when it is the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}
