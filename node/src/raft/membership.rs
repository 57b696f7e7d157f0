//! Changes of a group's membership and leadership, carried out by its leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;
use openraft::{ChangeMembers, RaftMetrics};
use openraft_rt::{Instant as _, Select2};

use super::group::Group;
use super::types::{NodeId, TypeConfig};
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// Entries that a replica may lag and still count as caught up.
pub const CAUGHT_UP_ENTRIES: u64 = 64;

/// Entries that the target of a transfer may lag: beyond it, writes would wait for it.
const TRANSFER_ENTRIES: u64 = 1;

/// Heartbeats that the target of a transfer may have left unanswered: handed to one that is dead,
/// a group takes no write until its old leader's lease has ended.
const TRANSFER_BEATS: u32 = 3;

/// The longest that taking over may take; afterwards another one is tried.
const TAKE_OVER: Duration = Duration::from_secs(2);

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

    /// Hands leadership to `to`, or to the voter that lags least, and waits until another node
    /// leads; gives that one.
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, ApiError> {
        let start = self.leadership();
        if !start.is_leader {
            return Err(ApiError::not_leader(self.id(), start.leader));
        }
        let to = self.successor(to, TRANSFER_ENTRIES)?;
        self.raft()
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|error| self.refused(&error))?;
        let moved = async {
            let mut now = self.leadership();
            loop {
                match now.leader {
                    Some(leader) if leader != self.node_id() => return leader,
                    _ => now = self.leadership_changed(now.epoch).await,
                }
            }
        };
        R::timeout(TAKE_OVER, moved).await.map_err(|_| {
            ApiError::unavailable(format!(
                "node {to:016x} did not take over group {} within {TAKE_OVER:?}; look at its log",
                self.id()
            ))
        })
    }

    /// Who would take over: `wanted`, or the voter that lags least, by `max_lag` entries at most.
    ///
    /// # Errors
    /// Why nobody can: it does not answer, or lags behind.
    pub fn successor(&self, wanted: Option<NodeId>, max_lag: u64) -> Result<NodeId, ApiError> {
        let metrics = self.raft().metrics();
        let seen = metrics.borrow_watched();
        let lag = lag_of(&seen);
        let silence = self.timing().heartbeat * TRANSFER_BEATS;
        let answers = |voter: &NodeId| {
            let heard = seen.heartbeat.as_ref().and_then(|heard| heard.get(voter));
            heard.is_some_and(|at| at.is_some_and(|at| at.elapsed() <= silence))
        };
        let best = seen
            .membership_config
            .voter_ids()
            .filter(|voter| *voter != self.node_id() && wanted.is_none_or(|to| to == *voter))
            .filter(answers)
            .filter_map(|voter| Some((*lag.get(&voter)?, voter)))
            .min();
        match best {
            Some((behind, voter)) if behind <= max_lag => Ok(voter),
            Some((behind, voter)) => Err(ApiError::unavailable(format!(
                "node {voter:016x} is {behind} entries behind in group {}; try again when it has \
                 caught up",
                self.id()
            ))),
            None => Err(ApiError::unavailable(match wanted {
                Some(to) => format!(
                    "node {to:016x} does not answer as a voter of group {}",
                    self.id()
                ),
                None => format!(
                    "no other voter of group {} answers; there is nobody to take over",
                    self.id()
                ),
            })),
        }
    }

    async fn wait_caught_up(
        &self,
        mut nodes: BTreeSet<NodeId>,
        patience: Duration,
    ) -> Result<(), ApiError> {
        nodes.remove(&self.node_id());
        let mut seen = self.leadership();
        let all = async {
            // It may let itself go: only a leader hears how far the others are.
            while seen.is_leader {
                if self.are_caught_up(&nodes) {
                    return Ok(());
                }
                let changed = self.leadership_changed(seen.epoch);
                let pause = R::sleep(POLL);
                if let Select2::First(now) = R::select2(Box::pin(changed), Box::pin(pause)).await {
                    seen = now;
                }
            }
            Err(ApiError::not_leader(self.id(), seen.leader))
        };
        R::timeout(patience, all).await.unwrap_or_else(|_| {
            Err(ApiError::unavailable(format!(
                "a new replica of group {} has not caught up yet; this goes on",
                self.id()
            )))
        })
    }

    fn are_caught_up(&self, nodes: &BTreeSet<NodeId>) -> bool {
        let metrics = self.raft().metrics();
        let lag = lag_of(&metrics.borrow_watched());
        let close = |node| {
            lag.get(node)
                .is_some_and(|behind| *behind <= CAUGHT_UP_ENTRIES)
        };
        nodes.iter().all(close)
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
