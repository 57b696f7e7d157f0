//! Who leads a group, as this node sees it, and the clock of a new leader.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use openraft::async_runtime::WatchReceiver;
use openraft::{RaftMetrics, ServerState};
use roadstead_core::clock::median;

use super::group::Group;
use super::types::{LogId, NodeId, TypeConfig};
use crate::runtime::Runtime;
use crate::shard::View;

/// While deadlines are pending, time is logged more often than this; a clock that is further
/// behind has stood still.
const CLOCK_LAG_MS: u64 = 15_000;

impl<R: Runtime> Group<R> {
    /// Who leads, as this node sees it now.
    pub fn leadership(&self) -> View {
        *self
            .leadership
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until leadership is another than that of `epoch`.
    pub async fn leadership_changed(&self, epoch: u64) -> View {
        loop {
            let changed = self.changed.notified();
            let now = self.leadership();
            if now.epoch != epoch {
                return now;
            }
            changed.await;
        }
    }

    /// Waits until its Raft has ended, and says why.
    pub async fn ended(&self) -> String {
        let mut cluster = self.raft.server_metrics();
        while cluster.changed().await.is_ok() {}
        match &self.raft.metrics().borrow_watched().running_state {
            Err(fatal) => fatal.to_string(),
            Ok(()) => "its task has panicked".to_owned(),
        }
    }

    /// Takes note of who leads and what is applied. Whether only who leads can change something.
    fn note(&self, seen: &RaftMetrics<TypeConfig<R>>) -> bool {
        let (term, leader) = (seen.current_term, seen.current_leader);
        let leads = seen.state == ServerState::Leader;
        let own_term_applied = seen
            .last_applied
            .is_some_and(|applied| applied.leader_id.term == term);
        let clock_runs = {
            let mut applied = self.state.lock();
            // A leader other than this node had a running clock, and its entries have set ours.
            // One that handed over before its first entry has told us nothing.
            applied.clock_runs |=
                leader.is_some_and(|leader| leader != self.node_id()) && applied.timed_term == term;
            applied.clock_runs
        };
        if leads && own_term_applied && !clock_runs {
            self.restart_clock();
        }
        self.note_leadership(term, leader, leads && own_term_applied);
        self.note_progress(seen);
        clock_runs && self.has_caught_up_once() && (own_term_applied || !leads)
    }

    fn note_progress(&self, seen: &RaftMetrics<TypeConfig<R>>) {
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        let committed = index(seen.cluster_committed).max(index(seen.local_committed));
        if seen.current_leader.is_some() && committed > 0 && index(seen.last_applied) >= committed {
            self.caught_up.store(true, Ordering::Relaxed);
        }
    }

    fn note_leadership(&self, term: u64, leader: Option<NodeId>, is_leader: bool) {
        let mut leadership = self
            .leadership
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let epoch = leadership.epoch;
        if *leadership
            != (View {
                term,
                leader,
                is_leader,
                epoch,
            })
        {
            *leadership = View {
                term,
                leader,
                is_leader,
                epoch: epoch + 1,
            };
            self.changed.notify_waiters();
        }
    }

    /// Sets the clock of a new leader that has none which ran: to that of a follower, which came
    /// with the answers that committed the leader's first entry. Where none ran (a new group, or
    /// all were down), to the median of the nodes' wall clocks, when it is far behind.
    fn restart_clock(&self) {
        let clock = &self.shared.clock;
        let (wall, now) = (clock.wall_ms(), clock.monotonic_ns());
        let mut walls = self.shared.peers.wall_clocks();
        walls.push(wall);
        let median = median(&walls).unwrap_or(wall);
        let mut applied = self.state.lock();
        if let Some(heard) = applied.heard_clock(now) {
            applied.clock.restarted(heard, now);
        } else if median > applied.clock.peek(now) + CLOCK_LAG_MS {
            applied.clock.restarted(median, now);
        }
        applied.clock_runs = true;
    }
}

/// openraft's metrics change with every entry; who leads changes seldom, and nothing is woken for
/// the rest once it makes no difference here.
pub(super) async fn watch_leadership<R: Runtime>(group: Arc<Group<R>>) {
    let mut all = group.raft.metrics();
    let mut cluster = group.raft.server_metrics();
    loop {
        let settled = {
            let (seen, cluster) = (all.borrow_watched(), cluster.borrow_watched());
            let settled = group.note(&seen);
            // These are told first, and the others right behind.
            let same = seen.state == cluster.state
                && seen.current_leader == cluster.current_leader
                && seen.vote == cluster.vote;
            settled && same
        };
        let changed = if settled {
            cluster.changed().await.is_ok()
        } else {
            all.changed().await.is_ok()
        };
        if !changed {
            // Its Raft has ended.
            let term = group.leadership().term;
            group.note_leadership(term, None, false);
            return;
        }
    }
}
