//! Members and groups, as they are shown to people and to the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roadstead_core::catalog::{CatalogMachine, Placement};
use roadstead_proto::v1::{
    GetClusterStatusResponse, GroupReport, Member, MemberState, Replica, ShardStatus,
};

use super::service::CatalogService;
use crate::raft::membership::CAUGHT_UP_ENTRIES;
use crate::raft::types::{GroupId, NodeId};
use crate::runtime::Runtime;

/// A new leader of the catalog waits so long for reports before it says what it knows: less than
/// whoever asks it waits before asking another node.
const HEARING: Duration = Duration::from_millis(1_500);

impl<R: Runtime> CatalogService<R> {
    /// The cluster as the catalog's leader has heard of it.
    pub(super) async fn status(&self, epoch: u64) -> GetClusterStatusResponse {
        let led_for =
            Duration::from_millis(self.reports.led_for(epoch, self.directory.monotonic_ms()));
        let patience = HEARING.saturating_sub(led_for);
        if R::timeout(patience, self.until_complete(epoch))
            .await
            .is_err()
        {
            tracing::debug!("not every group's leader is heard of");
        }
        let now = self.directory.monotonic_ms();
        let groups = self.reports.leaders(now);
        let state = |node| match self.reports.member(node) {
            Some(_) if self.reports.alive(node, now) => Heard::Lately,
            None if self.reports.alive(node, now) => Heard::NotYet,
            _ => Heard::NotLately,
        };
        self.view.read(|catalog| status_of(catalog, groups, state))
    }

    /// Whether what was reported to this leader of the catalog is all there is to know.
    pub(super) fn is_complete(&self, epoch: u64) -> bool {
        let (groups, members) = self.view.read(|catalog| {
            let groups: BTreeSet<GroupId> = catalog.placements().keys().copied().collect();
            let members: BTreeSet<NodeId> = catalog.members().keys().copied().collect();
            (groups, members)
        });
        self.reports.are_complete(epoch, &groups, &members)
    }

    async fn until_complete(&self, epoch: u64) {
        loop {
            let news = self.reports.news();
            if self.is_complete(epoch) {
                return;
            }
            news.await;
        }
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

/// The status that the catalog and the leaders' reports give. A group that nobody reports to lead
/// is there, without a leader.
fn status_of(
    catalog: &CatalogMachine,
    mut groups: BTreeMap<GroupId, GroupReport>,
    heard: impl Fn(NodeId) -> Heard,
) -> GetClusterStatusResponse {
    for (id, placement) in catalog.placements() {
        groups
            .entry(*id)
            .or_insert_with(|| leaderless(*id, placement));
    }
    let groups: Vec<GroupReport> = groups.into_values().collect();
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
            draining: member.draining,
            lost: member.lost,
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

/// A group as it is placed, of whose replicas nothing is heard.
fn leaderless(id: GroupId, placement: &Placement) -> GroupReport {
    let replica = |node_id, voter| Replica {
        node_id,
        voter,
        lag: None,
    };
    let voters = placement.voters.iter().map(|node| replica(*node, true));
    let learners = placement.learners.iter().map(|node| replica(*node, false));
    GroupReport {
        group: id.into(),
        replicas: voters.chain(learners).collect(),
        ..GroupReport::default()
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
