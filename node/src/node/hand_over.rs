//! Leadership leaves this node before the node leaves.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt::Select2;

use super::{Node, lock};
use crate::controls::Protection;
use crate::gateway::ApiError;
use crate::raft::Group;
use crate::raft::types::{GroupId, NodeId};
use crate::runtime::Runtime;

/// Pause before a hand-over that found nobody is tried again.
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
        let shard = self.shard(group.id());
        if let Some(shard) = &shard {
            let _ = R::timeout(patience, shard.drain()).await;
        }
        let moved = group.transfer(to, patience).await;
        if let Some(shard) = &shard {
            shard.resume();
        }
        moved
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
    pub async fn hand_over(&self, patience: Duration) -> Vec<GroupId> {
        let mut moved = Vec::new();
        let all = async {
            for group in self.groups.all() {
                while group.leadership().is_leader {
                    if !group.has_other_voters() {
                        break;
                    }
                    match self.hand_over_group(&group, None, patience).await {
                        Ok(to) => {
                            tracing::info!(group = group.id(), to, "handed over");
                            moved.push(group.id());
                            break;
                        }
                        Err(error) => {
                            tracing::debug!(group = group.id(), %error, "not handed over yet");
                            R::sleep(RETRY_PAUSE).await;
                        }
                    }
                }
            }
        };
        if let Select2::Second(()) = R::select2(Box::pin(all), Box::pin(R::sleep(patience))).await {
            tracing::warn!("not every leadership could be handed over in time");
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
