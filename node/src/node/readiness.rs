//! Whether this node can serve, and whether it wants to lead.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Node;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;

/// A node that hands over gets no leadership back for this long: it may be about to stop.
const REST: Duration = Duration::from_secs(30);

/// What a node has made up its mind to.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Why it serves no more.
    stopping: OnceLock<String>,
    stopped: Notify,
    /// By its monotonic clock.
    rests_until_ms: AtomicU64,
    resting: Notify,
}

impl<R: Runtime> Node<R> {
    /// Whether this node can serve: it belongs to a cluster, knows the catalog, and runs what is
    /// placed on it with what was committed before it started. The error says what is missing.
    pub fn readiness(&self) -> Result<(), String> {
        if let Some(why) = self.standing.stopping.get() {
            return Err(why.clone());
        }
        if self.cluster_id().is_empty() {
            return Err("it belongs to no cluster yet; bootstrap one or add it".to_owned());
        }
        let me = self.node_id();
        let placed: Vec<GroupId> = self.catalog.read(|catalog| {
            let here = |place: &roadstead_core::catalog::Placement| place.voters.contains(&me);
            catalog
                .placements()
                .iter()
                .filter(|(_, place)| here(place))
                .map(|(id, _)| *id)
                .collect()
        });
        if !self
            .catalog
            .read(|catalog| catalog.members().contains_key(&me))
        {
            return Err("it has not heard from the cluster that it is a member".to_owned());
        }
        for id in placed {
            let Some(group) = self.groups.get(id) else {
                return Err(format!("group {id} does not run yet"));
            };
            if !group.has_caught_up_once() {
                return Err(format!("group {id} has not caught up since the start"));
            }
        }
        Ok(())
    }

    /// Whether it has been told to stop, or stopped by itself.
    pub(crate) fn is_stopping(&self) -> bool {
        self.standing.stopping.get().is_some()
    }

    /// Stops serving for a reason that a restart does not mend by itself.
    pub fn fence(&self, why: &str) {
        if self.standing.stopping.set(why.to_owned()).is_ok() {
            tracing::error!(why, "this node stops serving");
            self.standing.stopped.notify_waiters();
        }
    }

    /// Waits until the node has stopped serving by itself, and says why.
    pub async fn fenced(&self) -> String {
        loop {
            let stopped = self.standing.stopped.notified();
            if let Some(why) = self.standing.stopping.get() {
                return why.clone();
            }
            stopped.await;
        }
    }

    /// Takes no new work from now on, and is not ready any more.
    pub(super) fn begin_stop(&self) {
        // A node that has stopped serving by itself has said why.
        let _ = self.standing.stopping.set("it is stopping".to_owned());
    }

    /// Wants no leadership for a while, and says so at once.
    pub(super) fn rest(&self) {
        let until = self.now() + Duration::as_millis(&REST) as u64;
        self.standing.rests_until_ms.store(until, Ordering::Relaxed);
        self.standing.resting.notify_one();
    }

    /// Waits until this node begins to rest.
    pub(super) async fn rests(&self) {
        self.standing.resting.notified().await;
    }

    /// Whether leaderships may be moved to this node.
    pub(super) fn may_lead(&self) -> bool {
        self.readiness().is_ok()
            && self.now() >= self.standing.rests_until_ms.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.shared.clock.monotonic_ns() / 1_000_000
    }
}
