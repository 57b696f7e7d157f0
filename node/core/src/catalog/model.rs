//! What the catalog holds.

use std::fmt;

use super::boot::Boot;
use super::fairness::TenantShare;
use super::groups::GroupIds;
use super::spec::QueueSpec;
use crate::shard::{DeadLetterTarget, Deduplication, PartitionConfig};

/// Namespace and name of a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName {
    /// Kubernetes namespace, or `default`.
    pub namespace: String,
    /// Name within it.
    pub name: String,
}

impl QueueName {
    /// A name; it is checked when a queue is created.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether a queue serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueState {
    /// It serves.
    Active,
    /// Its partitions are being dropped; its name is taken until that is done.
    Deleting,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Given at creation, never used again, from 1.
    pub id: u64,
    /// Namespace and name.
    pub name: QueueName,
    /// What it promises.
    pub spec: QueueSpec,
    /// Rises with every change of the specification, from 1.
    pub generation: u64,
    /// Rises with every change that its partitions must hear of; unique in the catalog.
    pub revision: u64,
    /// Cluster time in ms since 1970.
    pub created_at: u64,
    /// Whether it serves.
    pub state: QueueState,
    /// The queue that `spec.dead_letter` names, as last resolved: failed messages of a queue whose
    /// dead-letter queue was deleted wait for it, they are not dropped.
    pub dead_letter: Option<DeadLetterTarget>,
    /// The shard of each partition, by partition number.
    pub shards: Vec<u16>,
    /// Of its consumer groups.
    pub group_ids: GroupIds,
    /// How many partitions it had before, rising; where order is kept by key only.
    pub earlier: Vec<u32>,
}

impl Queue {
    /// What each of its partitions promises: its share of the limits, rounded down.
    pub fn partition_config(&self) -> PartitionConfig {
        let spec = &self.spec;
        let partitions = u64::from(spec.partitions.max(1));
        let share = |limit: u64| {
            if limit == 0 {
                0
            } else {
                (limit / partitions).max(1)
            }
        };
        PartitionConfig {
            revision: self.revision,
            ordering: spec.ordering,
            delivery: spec.delivery,
            lease_ms: spec.lease_ms,
            ttl_ms: spec.ttl_ms,
            on_expiry: spec.on_expiry,
            max_deliveries: spec.max_deliveries,
            backoff: spec.backoff,
            dead_letter: self.dead_letter,
            max_messages: share(spec.max_messages),
            max_bytes: share(spec.max_bytes),
            max_message_bytes: spec.max_message_bytes,
            max_in_flight: share(u64::from(spec.max_in_flight)) as u32,
            overflow: spec.overflow,
            deduplication: spec.deduplication.map(|setting| Deduplication {
                max_ids: share(setting.max_ids),
                ..setting
            }),
            groups: self.group_ids.configs(spec, share),
            retain_ms: spec.retain_ms,
            aging_ms: spec.aging_ms,
            weights: TenantShare::weights(&spec.weights),
            rate: share(u64::from(spec.rate_per_second) * 1_000),
            sticky_keys: spec.sticky_keys,
            partitions: spec.partitions,
            earlier: self.earlier.clone(),
        }
    }
}

/// A node, as it introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Random, minted with its data directory, not 0.
    pub node_id: u64,
    /// Shown to people; the pod's name on Kubernetes.
    pub name: String,
    /// host:port of the peer and admin listener.
    pub peer_address: String,
    /// host:port of the client listener.
    pub client_address: String,
    /// Failure domain; empty: unknown.
    pub zone: String,
    /// Version of its binary.
    pub binary_version: String,
    /// Highest command version that it can apply.
    pub command_version: u32,
    /// The start that it runs in.
    pub boot: Boot,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As it introduced itself last.
    pub node: NodeInfo,
    /// It shall hold no replica and lead nothing.
    pub draining: bool,
    /// Its data is given up: nobody comes back under its id. It is draining, for good.
    pub lost: bool,
    /// Cluster time in ms since 1970.
    pub joined_at: u64,
}

/// Where the replicas of a group shall be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// Nodes that vote, in no particular order.
    pub voters: Vec<u64>,
    /// Nodes that only follow.
    pub learners: Vec<u64>,
    /// As Bootstrap left it: each of `voters` may found the group when its log there is empty.
    /// False from the first `SetPlacement` on, whatever that says: a group is never founded twice.
    pub founding: bool,
}

impl Placement {
    /// Whether a node holds a replica, with a vote or without.
    pub fn is_on(&self, node: u64) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }
}

/// What was decided when the cluster was founded, and what is one for the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Id of the cluster.
    pub id: String,
    /// Number of shards, 1..=256; the groups 1..=shards. Group 0 is the catalog.
    pub shards: u16,
    /// Replicas per group: 1, 3 or 5.
    pub replication_factor: u8,
    /// Command version that every member can apply.
    pub version: u32,
    /// Newest fence heard of.
    pub fence: u64,
    /// Cluster time in ms since 1970.
    pub founded_at: u64,
}
