//! What the operator sees of a cluster, as plain values.
use std::collections::{BTreeMap, BTreeSet};

use roadstead_proto::v1;

/// A replica this many entries behind its leader still counts as caught up.
pub const LAG_MAX: u64 = 1_000;

/// What the operator sees of a cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Replicas the StatefulSet asks for; absent before it exists.
    pub statefulset_replicas: Option<i32>,
    /// Pods by name.
    pub pods: BTreeMap<String, PodView>,
    /// What the nodes in the pods say of themselves; who does not answer is missing.
    pub nodes: BTreeMap<String, NodeView>,
    /// What the cluster says of itself; absent when nobody could say.
    pub cluster: Option<ClusterView>,
}

impl Observed {
    /// The cluster as a node sees it that belongs to it; absent when there is none.
    pub fn served(&self) -> Option<&ClusterView> {
        self.cluster.as_ref().filter(|view| !view.shards.is_empty())
    }

    /// `text`, and why this pod does not run, where that is known.
    pub fn explain(&self, pod: &str, text: String) -> String {
        let trouble = self.pods.get(pod).map(|view| view.trouble.as_str());
        match trouble.unwrap_or_default() {
            "" => text,
            trouble => format!("{text}: {trouble}"),
        }
    }

    /// `text`, and why the first pod does not run that says so.
    pub fn explain_all(&self, text: String) -> String {
        let first = self.pods.iter().find(|(_, view)| !view.trouble.is_empty());
        match first {
            Some((pod, view)) => format!("{text}; {pod}: {}", view.trouble),
            None => text,
        }
    }
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodView {
    /// Its uid.
    pub uid: String,
    /// Its IP address; empty before it has one.
    pub address: String,
    /// The revision of the settings that it was made from.
    pub revision: String,
    /// It is ready.
    pub ready: bool,
    /// It is being deleted.
    pub terminating: bool,
    /// Zone of the node that it runs on, where known.
    pub zone: String,
    /// Its token is of a ServiceAccount that is gone; see [`crate::account`].
    pub former_account: bool,
    /// Why it does not run; see [`crate::trouble`].
    pub trouble: String,
}

/// What a node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: u64,
    /// The cluster that it belongs to; empty before it belongs to one.
    pub cluster_id: String,
    /// It can serve.
    pub ready: bool,
    /// Why it cannot.
    pub reason: String,
    /// Version of its binary.
    pub binary_version: String,
    /// host:port of its peer listener.
    pub peer_address: String,
    /// host:port of its client listener.
    pub client_address: String,
}

impl From<v1::GetNodeResponse> for NodeView {
    fn from(node: v1::GetNodeResponse) -> Self {
        Self {
            id: node.node_id,
            cluster_id: node.cluster_id,
            ready: node.ready,
            reason: node.reason,
            binary_version: node.binary_version,
            peer_address: node.peer_address,
            client_address: node.client_address,
        }
    }
}

/// What the cluster says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterView {
    /// Members in order of their ids.
    pub members: Vec<v1::Member>,
    /// Groups; 0 is the catalog.
    pub shards: Vec<v1::ShardStatus>,
    /// Quotas, and the namespaces that they hold for; absent where the nodes know of none yet.
    pub quotas: Option<Vec<v1::NamespaceQuota>>,
}

impl ClusterView {
    /// The member with this id.
    pub fn member(&self, id: u64) -> Option<&v1::Member> {
        self.members.iter().find(|member| member.node_id == id)
    }

    /// Voters of a group that have everything but the last few entries.
    pub fn caught_up_voters(&self, shard: &v1::ShardStatus) -> BTreeSet<u64> {
        let caught_up = |replica: &&v1::Replica| {
            let member = self.member(replica.node_id);
            let heard_of =
                member.is_some_and(|member| member.state != v1::MemberState::Unreachable as i32);
            let known = match replica.lag {
                Some(lag) => lag <= LAG_MAX,
                None => member.is_some_and(|member| member.caught_up),
            };
            replica.voter && (replica.node_id == shard.leader || heard_of && known)
        };
        shard
            .replicas
            .iter()
            .filter(caught_up)
            .map(|replica| replica.node_id)
            .collect()
    }

    /// Voters of a group.
    pub fn voters(shard: &v1::ShardStatus) -> usize {
        shard
            .replicas
            .iter()
            .filter(|replica| replica.voter)
            .count()
    }

    /// A group that would lose its caught-up majority without this member, if there is one.
    /// A group of a single voter has nothing to lose: it waits until its voter is back.
    pub fn needs(&self, id: u64) -> Option<u32> {
        let needs = |shard: &&v1::ShardStatus| {
            let mut caught_up = self.caught_up_voters(shard);
            let voters = Self::voters(shard);
            caught_up.remove(&id) && voters > 1 && caught_up.len() < voters / 2 + 1
        };
        self.shards.iter().find(needs).map(|shard| shard.shard)
    }

    /// A group without a leader, if there is one.
    pub fn leaderless(&self) -> Option<u32> {
        self.shards
            .iter()
            .find(|shard| shard.leader == 0)
            .map(|shard| shard.shard)
    }
}

/// How people call a group.
pub fn group_name(shard: u32) -> String {
    if shard == 0 {
        "the catalog".to_owned()
    } else {
        format!("shard {shard}")
    }
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! A healthy cluster to bend in tests.
    use super::*;

    /// The id of the cluster in tests.
    pub const ID: &str = "0f3a1c1e-0000-4000-8000-000000000001";

    /// `size` members in pods `main-0`.., every group with `size` voters, led in turn.
    pub fn healthy(size: u64) -> Observed {
        let mut observed = Observed {
            statefulset_replicas: Some(i32::try_from(size).unwrap()),
            cluster: Some(ClusterView::default()),
            ..Observed::default()
        };
        for ordinal in 0..size {
            add_pod(&mut observed, ordinal);
            add_member(&mut observed, ordinal);
        }
        let cluster = observed.cluster.as_mut().unwrap();
        for shard in 0..=8_u32 {
            let leader = 100 + u64::from(shard) % size;
            let replicas = (0..size)
                .map(|n| v1::Replica {
                    node_id: 100 + n,
                    voter: true,
                    lag: Some(0),
                })
                .collect();
            cluster.shards.push(v1::ShardStatus {
                shard,
                leader,
                replicas,
                ..Default::default()
            });
        }
        observed
    }

    /// A running pod with a node that belongs to the cluster.
    pub fn add_pod(observed: &mut Observed, ordinal: u64) {
        let name = format!("main-{ordinal}");
        observed.pods.insert(
            name.clone(),
            PodView {
                uid: format!("uid-{ordinal}"),
                address: format!("10.0.0.{ordinal}"),
                revision: "new".into(),
                ready: true,
                ..PodView::default()
            },
        );
        observed.nodes.insert(
            name,
            NodeView {
                id: 100 + ordinal,
                cluster_id: ID.into(),
                ready: true,
                ..NodeView::default()
            },
        );
    }

    /// A serving member that leads nothing.
    pub fn add_member(observed: &mut Observed, ordinal: u64) {
        observed.cluster.as_mut().unwrap().members.push(v1::Member {
            node_id: 100 + ordinal,
            name: format!("main-{ordinal}"),
            state: v1::MemberState::Serving as i32,
            voters: 9,
            caught_up: true,
            ..Default::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::healthy;

    #[test]
    fn a_majority_of_three_can_lose_one_but_not_two() {
        let observed = healthy(3);
        let mut cluster = observed.cluster.unwrap();
        assert_eq!(cluster.needs(100), None);
        cluster.shards[4].replicas[1].lag = Some(5_000);
        cluster.shards[4].leader = 102;
        assert_eq!(cluster.needs(100), Some(4));
        assert_eq!(cluster.needs(101), None, "who lags is not needed");
    }

    #[test]
    fn a_single_voter_is_not_waited_for() {
        assert_eq!(healthy(1).cluster.unwrap().needs(100), None);
    }
}
