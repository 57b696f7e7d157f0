//! Who leads what, as far as this client has heard.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_proto::v1::GetTopologyResponse;

/// The nodes and the leaders of the shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// The cluster's id; empty while nothing has been heard.
    pub cluster_id: String,
    nodes: BTreeMap<u64, String>,
    leaders: BTreeMap<u32, Leader>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leader {
    node: u64,
    term: u64,
}

impl Topology {
    /// Takes in what one node says. Nodes hear of changes at different times: of a shard's leader
    /// the higher term wins, and an unknown leader does not replace a known one of its term.
    pub(crate) fn learn(&mut self, answer: GetTopologyResponse) {
        if self.cluster_id != answer.cluster_id {
            *self = Self {
                cluster_id: answer.cluster_id,
                ..Self::default()
            };
        }
        if !answer.nodes.is_empty() {
            let nodes = answer.nodes.into_iter();
            self.nodes = nodes
                .map(|node| (node.node_id, node.client_address))
                .collect();
        }
        for heard in answer.shards {
            let known = self
                .leaders
                .entry(heard.shard)
                .or_insert(Leader { node: 0, term: 0 });
            let newer = heard.term > known.term;
            if newer || (heard.term == known.term && heard.leader != 0) {
                *known = Leader {
                    node: heard.leader,
                    term: heard.term,
                };
            }
        }
    }

    /// Client address of the node that leads `shard`; `None` when no leader is known.
    pub fn leader_of(&self, shard: u32) -> Option<&str> {
        let leader = self.leaders.get(&shard)?;
        self.nodes.get(&leader.node).map(String::as_str)
    }

    /// Client addresses of all nodes.
    pub fn addresses(&self) -> BTreeSet<&str> {
        self.nodes.values().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use roadstead_proto::v1::{NodeAddress, ShardLeader};

    use super::*;

    fn answer(leaders: &[(u32, u64, u64)]) -> GetTopologyResponse {
        let nodes = [1, 2].map(|node_id| NodeAddress {
            node_id,
            name: format!("node-{node_id}"),
            client_address: format!("n{node_id}:7701"),
        });
        let shards = leaders.iter().map(|&(shard, leader, term)| ShardLeader {
            shard,
            leader,
            term,
        });
        GetTopologyResponse {
            cluster_id: "c".into(),
            version: 1,
            nodes: nodes.into(),
            shards: shards.collect(),
        }
    }

    #[test]
    fn the_higher_term_wins_whoever_says_it() {
        let mut topology = Topology::default();
        topology.learn(answer(&[(1, 1, 5), (2, 0, 7)]));
        assert_eq!(topology.leader_of(1), Some("n1:7701"));
        assert_eq!(topology.leader_of(2), None);
        assert_eq!(topology.leader_of(3), None);

        topology.learn(answer(&[(1, 2, 4), (2, 2, 7)]));
        assert_eq!(
            topology.leader_of(1),
            Some("n1:7701"),
            "an old term changes nothing"
        );
        assert_eq!(topology.leader_of(2), Some("n2:7701"));

        topology.learn(answer(&[(1, 0, 5), (2, 0, 8)]));
        assert_eq!(
            topology.leader_of(1),
            Some("n1:7701"),
            "same term, leader known"
        );
        assert_eq!(topology.leader_of(2), None, "an election goes on");
    }

    #[test]
    fn another_cluster_starts_anew() {
        let mut topology = Topology::default();
        topology.learn(answer(&[(1, 1, 5)]));
        let other = GetTopologyResponse {
            cluster_id: "d".into(),
            ..answer(&[(1, 2, 1)])
        };
        topology.learn(other);
        assert_eq!(topology.leader_of(1), Some("n2:7701"));
    }
}
