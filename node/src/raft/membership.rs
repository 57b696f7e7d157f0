//! Changes of a group's membership and leadership, carried out by its leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;
use openraft::{ChangeMembers, RaftMetrics};

use super::group::Group;
use super::types::{NodeId, TypeConfig};
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// Entries that a replica may lag and still count as caught up.
pub const CAUGHT_UP_ENTRIES: u64 = 64;

/// Entries that the target of a transfer may lag: beyond it, writes would wait for it.
const TRANSFER_ENTRIES: u64 = 1;

/// How often progress is looked at.
const POLL: Duration = Duration::from_millis(50);

impl<R: Runtime> Group<R> {
    /// Makes `voters` the voters of the group: new ones first catch up as learners, for
    /// `patience` at most. Who votes no longer leaves the group; with `keep_learners` it stays in
    /// it without a vote. Said again, it finishes what was left half done.
    pub async fn reconfigure(
        self: &Arc<Self>,
        voters: &BTreeMap<NodeId, String>,
        keep_learners: bool,
        patience: Duration,
    ) -> Result<(), ApiError> {
        let known: BTreeSet<NodeId> = {
            let metrics = self.raft().metrics();
            let seen = metrics.borrow_watched();
            seen.membership_config.nodes().map(|(id, _)| *id).collect()
        };
        for (node, address) in voters {
            if !known.contains(node) {
                self.add_learner(*node, address).await?;
            }
        }
        self.wait_caught_up(voters.keys().copied().collect(), patience)
            .await?;
        let ids: BTreeSet<NodeId> = voters.keys().copied().collect();
        self.raft()
            .change_membership(ChangeMembers::ReplaceAllVoters(ids), keep_learners)
            .await
            .map_err(|error| self.refused(&error))?;
        Ok(())
    }

    /// Lets `node` follow the group without a vote.
    pub async fn add_learner(&self, node: NodeId, address: &str) -> Result<(), ApiError> {
        self.raft()
            .add_learner(node, BasicNode::new(address), false)
            .await
            .map_err(|error| self.refused(&error))?;
        Ok(())
    }

    /// Lets nodes that do not vote leave the group.
    pub async fn remove_learners(&self, nodes: BTreeSet<NodeId>) -> Result<(), ApiError> {
        self.raft()
            .change_membership(ChangeMembers::RemoveNodes(nodes), true)
            .await
            .map_err(|error| self.refused(&error))?;
        Ok(())
    }

    /// Hands leadership to `to`, or to the voter that lags least, and waits for it.
    pub async fn transfer(
        &self,
        to: Option<NodeId>,
        patience: Duration,
    ) -> Result<NodeId, ApiError> {
        let start = self.leadership();
        if !start.is_leader {
            return Err(ApiError::not_leader(self.id(), start.leader));
        }
        let to = self.transfer_target(to)?;
        self.raft()
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|error| self.refused(&error))?;
        let moved = async {
            let mut now = self.leadership();
            while now.leader != Some(to) {
                now = self.leadership_changed(now.epoch).await;
            }
        };
        R::timeout(patience, moved).await.map_err(|_| {
            ApiError::unavailable(format!(
                "node {to:x} did not take over group {} in time; look at its log",
                self.id()
            ))
        })?;
        Ok(to)
    }

    fn transfer_target(&self, wanted: Option<NodeId>) -> Result<NodeId, ApiError> {
        let metrics = self.raft().metrics();
        let seen = metrics.borrow_watched();
        let lag = lag_of(&seen);
        let best = seen
            .membership_config
            .voter_ids()
            .filter(|voter| *voter != self.node_id() && wanted.is_none_or(|to| to == *voter))
            .filter_map(|voter| Some((*lag.get(&voter)?, voter)))
            .min();
        match best {
            Some((behind, voter)) if behind <= TRANSFER_ENTRIES => Ok(voter),
            Some((behind, voter)) => Err(ApiError::unavailable(format!(
                "node {voter:x} is {behind} entries behind in group {}; try again when it has \
                 caught up",
                self.id()
            ))),
            None => Err(ApiError::unavailable(format!(
                "no other voter of group {} has answered; there is nobody to take over",
                self.id()
            ))),
        }
    }

    async fn wait_caught_up(
        &self,
        mut nodes: BTreeSet<NodeId>,
        patience: Duration,
    ) -> Result<(), ApiError> {
        nodes.remove(&self.node_id());
        let all = async {
            loop {
                // It may have let itself go: only a leader hears how far the others are.
                let now = self.leadership();
                if !now.is_leader {
                    return Err(ApiError::not_leader(self.id(), now.leader));
                }
                let behind = {
                    let metrics = self.raft().metrics();
                    let lag = lag_of(&metrics.borrow_watched());
                    nodes.iter().find(|node| {
                        lag.get(node)
                            .is_none_or(|behind| *behind > CAUGHT_UP_ENTRIES)
                    })
                };
                if behind.is_none() {
                    return Ok(());
                }
                R::sleep(POLL).await;
            }
        };
        R::timeout(patience, all).await.unwrap_or_else(|_| {
            Err(ApiError::unavailable(format!(
                "a new replica of group {} has not caught up yet; this goes on",
                self.id()
            )))
        })
    }

    fn refused(&self, error: &dyn std::fmt::Display) -> ApiError {
        ApiError::unavailable(format!("group {} could not change: {error}", self.id()))
    }
}

/// Entries that each replica lags behind the leader's log; a leader's view only.
pub fn lag_of<R: Runtime>(metrics: &RaftMetrics<TypeConfig<R>>) -> BTreeMap<NodeId, u64> {
    let last = metrics.last_log_index.unwrap_or_default();
    let Some(replication) = &metrics.replication else {
        return BTreeMap::new();
    };
    replication
        .iter()
        .filter_map(|(node, matched)| Some((*node, last.saturating_sub(matched.as_ref()?.index))))
        .collect()
}
