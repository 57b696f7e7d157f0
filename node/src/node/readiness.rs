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

/// Why a node stops by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// In words.
    pub why: String,
    /// Whether it stops as when it is told to, handing its leaderships over first. If not, what it
    /// holds is not to be believed: it must ask and answer nothing more.
    pub in_order: bool,
}

/// What a node has made up its mind to.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Why it serves no more.
    stopping: OnceLock<Ending>,
    stopped: Notify,
    /// By its monotonic clock.
    rests_until_ms: AtomicU64,
    resting: Notify,
}

impl<R: Runtime> Node<R> {
    /// Whether this node can serve: it belongs to a cluster, knows the catalog, and runs what is
    /// placed on it with what was committed before it started. The error says what is missing.
    pub fn readiness(&self) -> Result<(), String> {
        if let Some(ending) = self.standing.stopping.get() {
            return Err(ending.why.clone());
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

    /// Stops serving at once, for a reason that a restart does not mend by itself.
    pub fn fence(&self, why: &str) {
        self.end(why, false);
    }

    /// Stops serving in order: a part of it does not work any more, the rest can be handed over.
    pub(super) fn resign(&self, why: &str) {
        self.end(why, true);
    }

    fn end(&self, why: &str, in_order: bool) {
        let why = why.to_owned();
        tracing::error!(why, in_order, "this node stops serving");
        if self.standing.stopping.set(Ending { why, in_order }).is_ok() {
            self.standing.stopped.notify_waiters();
        }
    }

    /// Waits until the node stops by itself, and says why.
    pub async fn ending(&self) -> Ending {
        loop {
            let stopped = self.standing.stopped.notified();
            if let Some(ending) = self.standing.stopping.get() {
                return ending.clone();
            }
            stopped.await;
        }
    }

    /// Takes no new work from now on, and is not ready any more.
    pub(super) fn begin_stop(&self) {
        // A node that stops by itself has said why.
        let _ = self.standing.stopping.set(Ending {
            why: "it is stopping".to_owned(),
            in_order: true,
        });
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
