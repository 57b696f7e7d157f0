//! The two seams below the gateway: where calls go, and what the catalog says.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use roadstead_core::catalog::DEFAULT_GROUP_NAME;
use roadstead_core::shard::{DEFAULT_GROUP, PartitionConfig};
use roadstead_proto::v1::{
    GetTopologyResponse, Queue, QueueRef, QueueSpec, ShardCall, ShardReply, SubscriptionDown,
    SubscriptionOpen, SubscriptionUp,
};
use tokio::sync::mpsc;

use super::ApiError;
use crate::raft::types::{GroupId, NodeId};

/// Both ends of a subscription at a shard's leader. Dropping `up` closes it.
#[derive(Debug)]
pub struct Subscription {
    /// Credit, to the leader.
    pub up: mpsc::Sender<SubscriptionUp>,
    /// Deliveries, from the leader; ends when the subscription is over.
    pub down: mpsc::Receiver<SubscriptionDown>,
}

/// The Raft groups of the cluster, wherever they run.
#[async_trait]
pub trait Shards: Send + Sync + 'static {
    /// The node that leads the group, as far as this node knows.
    fn leader(&self, group: GroupId) -> Option<NodeId>;

    /// One try at asking `node`, which may be this one.
    ///
    /// With the codes `UNKNOWN`, `DEADLINE_EXCEEDED` and `CANCELLED` the call may have taken
    /// effect: the link broke, or there was no answer in time. With others it did not.
    async fn call(
        &self,
        node: NodeId,
        group: GroupId,
        call: ShardCall,
        timeout: Duration,
    ) -> Result<ShardReply, ApiError>;

    /// Opens a subscription at `node`, which may be this one. Credit may be sent at once.
    fn subscribe(&self, node: NodeId, group: GroupId, open: SubscriptionOpen) -> Subscription;
}

/// A queue as the catalog holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueInfo {
    /// As clients see it: name, specification, id, shards.
    pub queue: Queue,
    /// What each of its partitions promises.
    pub config: PartitionConfig,
    /// It is being deleted.
    pub deleting: bool,
}

impl QueueInfo {
    /// Its name.
    pub fn reference(&self) -> &QueueRef {
        static NONE: QueueRef = QueueRef {
            namespace: String::new(),
            name: String::new(),
        };
        self.queue.queue.as_ref().unwrap_or(&NONE)
    }

    /// Its specification.
    pub fn spec(&self) -> QueueSpec {
        self.queue.spec.clone().unwrap_or_default()
    }

    /// Its consumer groups: names and ids, in order of the ids.
    pub fn groups(&self) -> Vec<(String, u32)> {
        let default = (DEFAULT_GROUP_NAME.to_owned(), DEFAULT_GROUP);
        let others = self.queue.group_ids.iter();
        let others = others.map(|(name, id)| (name.clone(), *id));
        let mut groups: Vec<_> = others.filter(|(_, id)| *id != DEFAULT_GROUP).collect();
        groups.push(default);
        groups.sort_by_key(|(_, id)| *id);
        groups
    }

    /// The id of a consumer group; empty: of the default one.
    pub fn group(&self, name: &str) -> Option<u32> {
        if name.is_empty() || name == DEFAULT_GROUP_NAME {
            return Some(DEFAULT_GROUP);
        }
        self.queue.group_ids.get(name).copied()
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        self.queue.id
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u32 {
        self.queue.shards.len() as u32
    }

    /// The shard of a partition.
    pub fn shard(&self, partition: u32) -> Option<GroupId> {
        let shard = self.queue.shards.get(partition as usize)?;
        GroupId::try_from(*shard).ok()
    }

    /// The shards of these partitions (empty: all) with their partitions, in order of shard.
    pub fn by_shard(&self, partitions: &[u32]) -> Vec<(GroupId, Vec<u32>)> {
        let mut shards = std::collections::BTreeMap::<GroupId, Vec<u32>>::new();
        for partition in 0..self.partitions() {
            if (partitions.is_empty() || partitions.contains(&partition))
                && let Some(shard) = self.shard(partition)
            {
                shards.entry(shard).or_default().push(partition);
            }
        }
        shards.into_iter().collect()
    }
}

/// The catalog, as this node has applied it.
#[async_trait]
pub trait Queues: Send + Sync + 'static {
    /// The queue of this name, unless it is being deleted.
    fn find(&self, queue: &QueueRef) -> Option<Arc<QueueInfo>>;

    /// The queue of this id, also while it is being deleted.
    fn by_id(&self, id: u64) -> Option<Arc<QueueInfo>>;

    /// Queues with `(namespace, name)` above `after`, in order, at most `max`; of one namespace
    /// when it is not empty.
    fn list(&self, namespace: &str, after: Option<&QueueRef>, max: usize) -> Vec<Arc<QueueInfo>>;

    /// The nodes that are to hold a replica of the group.
    fn replicas(&self, group: GroupId) -> Vec<NodeId>;

    /// Rises when something changes.
    fn version(&self) -> u64;

    /// Waits until the version is another than `version`.
    async fn changed(&self, version: u64) -> u64;

    /// Waits until what was committed before the call can be read here.
    async fn barrier(&self, timeout: Duration) -> Result<(), ApiError>;
}

/// The members and groups of the cluster, as they are known here.
pub trait Cluster: Send + Sync + 'static {
    /// Shards with their leaders, and where the nodes are; known locally.
    fn topology(&self) -> GetTopologyResponse;
}
