//! A cluster as an object.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::listener::default_listeners;
use crate::{ByteSize, Listener, NamespaceQuota, QueueClusterStatus};

/// A reference to an image: `[host[:port]/]path[:tag][@sha256:digest]`.
const IMAGE: &str = concat!(
    r"^(([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?/)?",
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*",
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64})?$",
);
/// How objects of Kubernetes can be called.
const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// What a cluster shall be. Absent fields take the default that is named.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "roadstead.dev",
    version = "v1alpha1",
    kind = "QueueCluster",
    plural = "queueclusters",
    shortname = "rdc",
    category = "roadstead",
    namespaced,
    cel,
    derive = "PartialEq",
    status = "QueueClusterStatus",
    doc = "A Raft-replicated message queue cluster.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Leaders", type_ = "integer", json_path = ".status.shards.withLeader"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version.binary"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Step",
        type_ = "string",
        json_path = ".status.plan[0].step",
        priority = 1
    ),
    printcolumn(
        name = "ClusterID",
        type_ = "string",
        json_path = ".status.clusterID",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("the name of a QueueCluster must have at most 40 characters"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message(
        "the name of a QueueCluster must begin with a letter and have only lower-case letters, \
         digits and hyphens: its Services are named after it"
    ),
    validation = Rule::new(
        "self.spec.replicas == 1 || self.spec.replicas >= self.spec.replicationFactor"
    ).message(
        "replicas must be 1 or at least replicationFactor: fewer nodes cannot hold that many \
         copies"
    ),
    validation = Rule::new(
        "oldSelf.spec.replicas < self.spec.replicationFactor || self.spec.replicas >= \
         self.spec.replicationFactor"
    ).message(
        "replicas cannot go below replicationFactor again: the copies would be lost; to have one \
         node, create another QueueCluster"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct QueueClusterSpec {
    /// Nodes: 1, or at least `replicationFactor`, and at most 99. Default: 3.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 99))]
    pub replicas: i32,
    /// Copies of each shard: 1, 3 or 5. Default: 3. Cannot change yet.
    #[serde(default = "three")]
    #[x_kube(
        validation = Rule::new("self in [1, 3, 5]")
            .message("replicationFactor must be 1, 3 or 5: even numbers tolerate no more faults"),
        validation = Rule::new("self == oldSelf")
            .message("replicationFactor cannot change: create another QueueCluster")
    )]
    pub replication_factor: i32,
    /// Raft groups that the queues' partitions are spread over: 1..256. Default: 8. Cannot change.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "shards cannot change: create another QueueCluster and move the queues there"
    ))]
    pub shards: i32,
    /// Image of the nodes. Default: the operator's own image when the cluster was made, or when
    /// this field was taken away; a newer operator does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), pattern(IMAGE))]
    pub image: Option<String>,
    /// The volume of each node. Default: the defaults of its fields.
    #[serde(default)]
    pub storage: Storage,
    /// CPU and memory of each node. The memory limit bounds what a node buffers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// More about the pods. Default: nothing.
    #[serde(default)]
    pub pod: PodSettings,
    /// Where clients connect. Default: one listener `grpc` with the defaults of its fields.
    #[serde(default = "default_listeners")]
    #[schemars(length(min = 1, max = 1))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub listeners: Vec<Listener>,
    /// Whose Queue objects may name this cluster. Default: the defaults of its fields.
    #[serde(default)]
    pub queue_namespaces: QueueNamespaces,
    /// What the queues of namespaces may ask for together, at most 256. One that is taken out is no
    /// more; below what is taken already it changes no queue, and lets none grow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["namespace".into()]))]
    pub namespace_quotas: Vec<NamespaceQuota>,
    /// How a changed pod template is rolled out. Default: the defaults of its fields.
    #[serde(default)]
    pub upgrade: Upgrade,
    /// Whether the operator acts on this cluster. Default: `Active`.
    #[serde(default)]
    pub reconciliation: Reconciliation,
}

/// The volume of each node.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "has(self.className) == has(oldSelf.className) \
     && (!has(self.className) || self.className == oldSelf.className)"
).message("storage.className cannot change: create another QueueCluster"))]
pub struct Storage {
    /// At least 1Gi. Default: `20Gi`. Cannot change yet.
    #[serde(default = "default_size")]
    #[x_kube(
        validation = Rule::new("quantity(self).compareTo(quantity('1Gi')) >= 0")
            .message("storage.size must be at least 1Gi"),
        validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) == 0")
            .message("storage.size cannot change in this version of Roadstead")
    )]
    pub size: ByteSize,
    /// StorageClass. Default: the cluster's default class. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), pattern(OBJECT_NAME))]
    pub class_name: Option<String>,
    /// What happens to volumes that are no longer used. Default: the defaults of its fields.
    #[serde(default)]
    pub reclaim: Reclaim,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: default_size(),
            class_name: None,
            reclaim: Reclaim::default(),
        }
    }
}

/// What happens to volumes that are no longer used.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reclaim {
    /// When the QueueCluster is deleted. A cluster made anew under the same name finds what was
    /// retained. Default: `Retain`.
    #[serde(default)]
    pub on_delete: ReclaimPolicy,
    /// When a node is removed for good. Default: `Retain`.
    #[serde(default)]
    pub on_scale_in: ReclaimPolicy,
}

/// Keep or delete a volume claim.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReclaimPolicy {
    /// Keep it.
    #[default]
    Retain,
    /// Delete it, and the data with it.
    Delete,
}

/// More about the pods.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSettings {
    /// Labels beside the operator's own; at most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = Rule::new(
        "self.all(label, !label.startsWith('roadstead.dev/') \
         && !label.startsWith('app.kubernetes.io/') \
         && !label.startsWith('controller-revision-hash'))"
    ).message(
        "labels of roadstead.dev/, app.kubernetes.io/ and controller-revision-hash are set by the \
         operator: use others"
    ))]
    pub labels: BTreeMap<String, String>,
    /// Nodes that the pods may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that they tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Affinity. Default: none beside the spread below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How they spread. Default: evenly over zones and over nodes, where there are enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Their PriorityClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), pattern(OBJECT_NAME))]
    pub priority_class_name: Option<String>,
    /// Secrets for the image's registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// Whose Queue objects may name this cluster. Narrowing deletes no queue.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
    .message("queueNamespaces.selector goes with from: Selector, and only with it"))]
pub struct QueueNamespaces {
    /// Which namespaces. Default: `Same`.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Labels of the namespaces, with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespacesFrom {
    /// The cluster's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// Those whose labels match.
    Selector,
}

/// How a changed pod template is rolled out.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// Who lets it begin. Default: `Automatic`.
    #[serde(default)]
    pub approval: Approval,
}

/// Who lets a rollout begin.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Approval {
    /// It begins at once.
    #[default]
    Automatic,
    /// It waits until the annotation `roadstead.dev/approved-revision` names its revision, which
    /// the condition UpgradePaused shows.
    Manual,
}

/// Whether the operator acts.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reconciliation {
    /// It acts.
    #[default]
    Active,
    /// It looks and reports, and changes nothing.
    Paused,
}

fn three() -> i32 {
    3
}

fn eight() -> i32 {
    8
}

fn default_size() -> ByteSize {
    "20Gi".into()
}
