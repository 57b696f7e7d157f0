//! Leadership leaves this node before the node leaves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt::Instant as _;

use super::{Node, lock};
use crate::controls::Protection;
use crate::gateway::ApiError;
use crate::raft::Group;
use crate::raft::types::{GroupId, NodeId};
use crate::runtime::Runtime;

/// When nobody has taken any leadership for so long, it is of no use to wait for somebody: longer
/// than a pod takes to come back.
const NOBODY: Duration = Duration::from_secs(8);

/// What a shard has begun may take so long to finish; it may have lost its majority.
const DRAINING: Duration = Duration::from_secs(2);

/// Pause before hand-overs that found nobody are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl<R: Runtime> Node<R> {
    /// Moves leadership of one group; its shard first finishes what it has begun.
    pub(crate) async fn hand_over_group(
        &self,
        group: &Arc<Group<R>>,
        to: Option<NodeId>,
        patience: Duration,
    ) -> Result<NodeId, ApiError> {
        self.rest();
        // Nothing is held up for somebody who will not come; a lag ends with the draining.
        group.successor(to, u64::MAX)?;
        let shard = self.shard(group.id());
        if let Some(shard) = &shard {
            let _ = R::timeout(patience.min(DRAINING), shard.drain()).await;
        }
        let moved = R::timeout(patience, group.transfer(to)).await;
        if let Some(shard) = &shard {
            shard.resume();
        }
        moved.unwrap_or_else(|_| Err(ApiError::unavailable("there was no time to hand over")))
    }

    /// Takes no new work and moves every leadership to other nodes, for `patience` at most; what
    /// clients ask is forwarded from then on.
    pub async fn retire(&self, patience: Duration) {
        self.begin_stop();
        if !self.controls.lacks(Protection::HandOver) {
            self.hand_over(patience).await;
        }
    }

    /// Moves every leadership to other nodes, for `patience` at most; gives the groups that moved.
    /// Ends earlier when for 8 s there was nobody to take any.
    pub async fn hand_over(&self, patience: Duration) -> Vec<GroupId> {
        let began = R::Instant::now();
        let mut last_moved = began;
        let mut moved = Vec::new();
        // By turns: one that nobody takes does not keep the others.
        let led = self
            .groups
            .all()
            .into_iter()
            .filter(|group| group.leadership().is_leader);
        let mut waiting: VecDeque<_> = led.filter(|group| group.has_other_voters()).collect();
        let mut turns = waiting.len();
        while let Some(group) = waiting.pop_front() {
            turns -= 1;
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() || last_moved.elapsed() >= NOBODY {
                let left = waiting.len() + 1;
                tracing::warn!(left, "not every leadership could be handed over");
                break;
            }
            match self.hand_over_group(&group, None, left).await {
                Ok(to) => {
                    let to = format!("{to:016x}");
                    tracing::info!(group = group.id(), to, "handed over");
                    moved.push(group.id());
                    last_moved = R::Instant::now();
                }
                Err(error) if group.leadership().is_leader => {
                    tracing::debug!(group = group.id(), %error, "not handed over yet");
                    waiting.push_back(group);
                }
                Err(_) => {}
            }
            if turns == 0 && !waiting.is_empty() {
                turns = waiting.len();
                R::sleep(RETRY_PAUSE).await;
            }
        }
        moved
    }

    /// Ends the groups of a node that has [retired](Self::retire) and flushes what it has.
    pub async fn stop(&self) {
        for group in self.groups.all() {
            group.stop().await;
        }
        self.shared.scope.stop();
        if let Err(error) = self.shared.store.flush().await {
            tracing::warn!(%error, "rows were not flushed; they will be replayed");
        }
        self.shared.store.close();
    }

    /// Notes an orderly stop; call it after the store's drivers have ended.
    pub fn mark_clean(&self) {
        if let Err(error) = lock(&self.data_dir).mark_clean() {
            tracing::warn!(%error, "could not note the orderly stop; the next start checks more");
        }
    }
}
