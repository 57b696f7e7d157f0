//! Members and groups, as they are shown to people and to the operator.

use roadstead_core::catalog::CatalogMachine;
use roadstead_proto::v1::{
    GetClusterStatusResponse, GroupReport, Member, MemberState, Replica, ShardStatus,
};

use super::service::CatalogService;
use crate::raft::membership::CAUGHT_UP_ENTRIES;
use crate::raft::types::NodeId;
use crate::runtime::Runtime;

impl<R: Runtime> CatalogService<R> {
    /// The cluster as the catalog's leader has heard of it.
    pub(super) fn status(&self) -> GetClusterStatusResponse {
        let groups: Vec<GroupReport> = self.reports.leaders().into_values().collect();
        let now = self.directory.monotonic_ms();
        let state = |node| match self.reports.member(node) {
            Some(_) if self.reports.alive(node, now) => Heard::Lately,
            None if self.reports.alive(node, now) => Heard::NotYet,
            _ => Heard::NotLately,
        };
        self.view.read(|catalog| status_of(catalog, &groups, state))
    }
}

/// Whether a member was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It reports.
    Lately,
    /// The catalog's leader has only begun to listen.
    NotYet,
    /// It has been silent for too long.
    NotLately,
}

/// The status that the catalog and the leaders' reports give.
pub fn status_of(
    catalog: &CatalogMachine,
    groups: &[GroupReport],
    heard: impl Fn(NodeId) -> Heard,
) -> GetClusterStatusResponse {
    let members = catalog.members().values().map(|member| {
        let node = &member.node;
        let replicas: Vec<&Replica> = groups
            .iter()
            .flat_map(|group| &group.replicas)
            .filter(|replica| replica.node_id == node.node_id)
            .collect();
        let state = match heard(node.node_id) {
            Heard::NotLately => MemberState::Unreachable,
            _ if member.draining => MemberState::Draining,
            Heard::NotYet => MemberState::Joining,
            Heard::Lately if replicas.is_empty() => MemberState::Joining,
            Heard::Lately => MemberState::Serving,
        };
        let caught_up = !replicas.is_empty()
            && replicas
                .iter()
                .all(|r| r.lag.is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES));
        Member {
            node_id: node.node_id,
            name: node.name.clone(),
            client_address: node.client_address.clone(),
            peer_address: node.peer_address.clone(),
            zone: node.zone.clone(),
            state: state.into(),
            voters: count(replicas.iter().filter(|replica| replica.voter)),
            leaders: count(groups.iter().filter(|group| group.leader == node.node_id)),
            caught_up,
            binary_version: node.binary_version.clone(),
            command_version: node.command_version,
        }
    });
    let cluster = catalog.cluster();
    GetClusterStatusResponse {
        cluster_id: cluster
            .map(|cluster| cluster.id.clone())
            .unwrap_or_default(),
        members: members.collect(),
        shards: groups.iter().map(shard_status).collect(),
        cluster_version: cluster.map(|cluster| cluster.version).unwrap_or_default(),
        binary_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn shard_status(group: &GroupReport) -> ShardStatus {
    ShardStatus {
        shard: group.group,
        leader: group.leader,
        term: group.term,
        committed_index: group.committed_index,
        applied_index: group.applied_index,
        replicas: group.replicas.clone(),
    }
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
