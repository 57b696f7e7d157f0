//! What clients see of the cluster, from this node.

use async_trait::async_trait;
use roadstead_proto::v1::{
    GetClusterStatusResponse, GetTopologyResponse, NodeAddress, ShardCall, ShardLeader,
    shard_call::Call, shard_reply::Reply,
};

use super::{Directory, Groups};
use crate::auth::Principal;
use crate::catalog::CatalogView;
use crate::gateway::ApiError;
use crate::gateway::shards::{Cluster, Shards};
use crate::raft::types::CATALOG;
use crate::runtime::Runtime;

/// Time for asking the catalog's leader.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// The cluster as this node knows it.
pub(super) struct ClusterView<R: Runtime> {
    pub(super) catalog: CatalogView<R>,
    pub(super) directory: Directory<R>,
    pub(super) groups: Groups<R>,
}

#[async_trait]
impl<R: Runtime> Cluster for ClusterView<R> {
    fn topology(&self) -> GetTopologyResponse {
        let epochs: u64 = self
            .groups
            .all()
            .iter()
            .map(|group| group.leadership().epoch)
            .sum();
        let (cluster_id, shards, nodes) = self.catalog.read(|catalog| {
            let cluster = catalog.cluster();
            let nodes = catalog.members().values().map(|member| NodeAddress {
                node_id: member.node.node_id,
                name: member.node.name.clone(),
                client_address: member.node.client_address.clone(),
            });
            (
                cluster
                    .map(|cluster| cluster.id.clone())
                    .unwrap_or_default(),
                cluster.map_or(0, |cluster| cluster.shards),
                nodes.collect(),
            )
        });
        let leader = |shard| {
            let (term, leader) = self.directory.leader_of(shard).unwrap_or_default();
            ShardLeader {
                shard: u32::from(shard),
                leader,
                term,
            }
        };
        GetTopologyResponse {
            cluster_id,
            version: self.catalog.version() + epochs,
            nodes,
            shards: (1..=shards).map(leader).collect(),
        }
    }

    async fn status(&self) -> Result<GetClusterStatusResponse, ApiError> {
        let leader = self.directory.leader(CATALOG).ok_or_else(|| {
            ApiError::unavailable("no leader of the catalog is known at the moment; try again")
        })?;
        let principal = Some(Principal::Node(self.directory.node_id()).to_info());
        let call = ShardCall {
            principal,
            call: Some(Call::Status(true)),
        };
        match self
            .directory
            .call(leader, CATALOG, call, PATIENCE)
            .await?
            .reply
        {
            Some(Reply::Status(status)) => Ok(status),
            _ => Err(ApiError::unavailable(
                "the catalog's leader answered another way",
            )),
        }
    }
}
