//! The catalog as this node has applied it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use openraft::ReadPolicy;
use roadstead_core::catalog::{CatalogMachine, Queue, QueueState};
use roadstead_proto::v1::{QueueRef, ShardCall, shard_call, shard_reply};

use super::convert::{name_from_wire, queue_to_wire};
use crate::auth::Principal;
use crate::controls::{Controls, Protection};
use crate::gateway::ApiError;
use crate::gateway::shards::{QueueInfo, Queues};
use crate::peers::Peers;
use crate::raft::Group;
use crate::raft::types::{CATALOG, GroupId, NodeId};
use crate::runtime::Runtime;

/// Reads the catalog on this node; clones are the same.
pub struct CatalogView<R: Runtime> {
    group: Arc<Group<R>>,
    peers: Peers<R>,
    controls: Controls,
}

impl<R: Runtime> Clone for CatalogView<R> {
    fn clone(&self) -> Self {
        Self {
            group: self.group.clone(),
            peers: self.peers.clone(),
            controls: self.controls,
        }
    }
}

impl<R: Runtime> CatalogView<R> {
    /// Of the catalog's group on this node.
    pub fn new(group: Arc<Group<R>>, peers: Peers<R>, controls: Controls) -> Self {
        Self {
            group,
            peers,
            controls,
        }
    }

    fn info(&self, queue: &Queue) -> QueueInfo {
        let mut config = queue.partition_config();
        if self.controls.lacks(Protection::Homes) {
            config.earlier.clear();
        }
        QueueInfo {
            queue: queue_to_wire(queue),
            config,
            deleting: queue.state == QueueState::Deleting,
        }
    }

    /// The catalog's group.
    pub fn group(&self) -> &Arc<Group<R>> {
        &self.group
    }

    /// Reads the catalog; keep it short, nothing is applied meanwhile.
    ///
    /// # Panics
    /// Never: a view is made of the catalog's group only.
    pub fn read<T>(&self, f: impl FnOnce(&CatalogMachine) -> T) -> T {
        self.group
            .read_catalog(f)
            .expect("a view is made of the catalog's group")
    }

    /// Log index that is applied here; rises with every change.
    pub fn version(&self) -> u64 {
        self.group.applied_index()
    }

    /// Waits until the version is another than `version`.
    pub async fn changed(&self, version: u64) -> u64 {
        loop {
            let moved = self.group.moved();
            let now = self.version();
            if now != version {
                return now;
            }
            moved.await;
        }
    }

    /// Waits until this node has applied all that the catalog's leader had committed at the call.
    pub async fn barrier(&self, patience: Duration) -> Result<(), ApiError> {
        let caught_up = async {
            let index = self.read_index(patience).await?;
            let mut version = self.version();
            while version < index {
                version = self.changed(version).await;
            }
            Ok(())
        };
        R::timeout(patience, caught_up).await.unwrap_or_else(|_| {
            Err(ApiError::unavailable(
                "the catalog did not catch up with its leader in time; try again",
            ))
        })
    }

    /// The index that a reader must have applied; asks the leader where this node is not it.
    pub async fn read_index(&self, patience: Duration) -> Result<u64, ApiError> {
        let leadership = self.group.leadership();
        if leadership.is_leader {
            return self.own_read_index().await;
        }
        let leader = leadership.leader.ok_or_else(no_leader)?;
        let principal = Some(Principal::Node(self.group.node_id()).to_info());
        let call = ShardCall {
            principal,
            call: Some(shard_call::Call::ReadIndex(true)),
        };
        match self
            .peers
            .call(leader, CATALOG, call, patience)
            .await?
            .reply
        {
            Some(shard_reply::Reply::ReadIndex(index)) => Ok(index),
            _ => Err(ApiError::unavailable(
                "the catalog's leader gave an answer of another kind",
            )),
        }
    }

    pub(super) async fn own_read_index(&self) -> Result<u64, ApiError> {
        self.group
            .raft()
            .ensure_linearizable(ReadPolicy::ReadIndex)
            .await
            .map_err(|error| ApiError::unavailable(format!("the catalog's leader: {error}")))?;
        // It has waited until this node has applied the index.
        Ok(self.version())
    }
}

fn no_leader() -> ApiError {
    ApiError::unavailable("no leader of the catalog is known at the moment; try again")
}

#[async_trait]
impl<R: Runtime> Queues for CatalogView<R> {
    fn find(&self, queue: &QueueRef) -> Option<Arc<QueueInfo>> {
        let name = name_from_wire(Some(queue));
        let found = self.read(|catalog| catalog.queue(&name).map(|queue| self.info(queue)))?;
        (!found.deleting).then(|| Arc::new(found))
    }

    fn by_id(&self, id: u64) -> Option<Arc<QueueInfo>> {
        let found = self.read(|catalog| catalog.queue_by_id(id).map(|queue| self.info(queue)));
        found.map(Arc::new)
    }

    fn list(&self, namespace: &str, after: Option<&QueueRef>, max: usize) -> Vec<Arc<QueueInfo>> {
        let after = after.map(|queue| name_from_wire(Some(queue)));
        self.read(|catalog| {
            let page = catalog.page(namespace, after.as_ref(), max);
            page.into_iter()
                .map(|queue| Arc::new(self.info(queue)))
                .collect()
        })
    }

    fn replicas(&self, group: GroupId) -> Vec<NodeId> {
        self.read(|catalog| {
            catalog
                .placements()
                .get(&group)
                .map(|place| place.voters.clone())
                .unwrap_or_default()
        })
    }

    fn version(&self) -> u64 {
        CatalogView::version(self)
    }

    async fn changed(&self, version: u64) -> u64 {
        CatalogView::changed(self, version).await
    }

    async fn barrier(&self, timeout: Duration) -> Result<(), ApiError> {
        CatalogView::barrier(self, timeout).await
    }
}
