//! What clients see of the cluster, from this node.

use roadstead_proto::v1::{GetTopologyResponse, NodeAddress, ShardLeader};

use super::{Directory, Groups};
use crate::catalog::CatalogView;
use crate::gateway::shards::Cluster;
use crate::runtime::Runtime;

/// The cluster as this node knows it.
pub(super) struct ClusterView<R: Runtime> {
    pub(super) catalog: CatalogView<R>,
    pub(super) directory: Directory<R>,
    pub(super) groups: Groups<R>,
}

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
}
