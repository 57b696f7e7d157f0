//! One group's machine and rows, as openraft applies entries to them.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, SnapshotMeta};
use roadstead_core::catalog::CatalogMachine;
use roadstead_core::clock::ClusterClock;
use roadstead_core::kv::Kv;
use roadstead_core::shard::{PayloadRef, ShardMachine};
use tokio::sync::Notify;

use super::digests::Digests;
use super::snapshot::{Snapshot, SnapshotData};
use super::types::{
    CATALOG, Entry, GroupId, LogId, NodeId, Response, StoredMembership, TypeConfig,
};
use crate::runtime::Runtime;
use crate::scope::Clock;
use crate::store::rows::DurableApplied;
use crate::store::{GroupRows, SnapshotCapture, Store};

/// The machine of a group.
#[derive(Debug)]
pub enum Machine {
    /// Of the catalog.
    Catalog(CatalogMachine),
    /// Of a shard.
    Shard(ShardMachine),
}

impl Machine {
    fn open(group: GroupId, rows: &dyn Kv) -> io::Result<Self> {
        let machine = if group == CATALOG {
            CatalogMachine::open(rows).map(Self::Catalog)
        } else {
            ShardMachine::open(rows).map(Self::Shard)
        };
        machine.map_err(|error| io::Error::other(format!("group {group}: {error}")))
    }

    fn time(&self) -> u64 {
        match self {
            // Nothing in the catalog falls due.
            Self::Catalog(_) => 0,
            Self::Shard(machine) => machine.time(),
        }
    }
}

/// What a group has applied.
pub struct Applied {
    /// Its machine.
    pub machine: Machine,
    /// Its rows.
    pub rows: GroupRows,
    /// Time as its log has it.
    pub clock: ClusterClock,
    /// Term of the last entry that told a time; 0: none since the start.
    pub timed_term: u64,
    /// The clock has been set since this replica started: by the log, or as leader.
    pub clock_runs: bool,
    /// Latest cluster time that a follower's running clock showed, in ms, and when, in monotonic
    /// ns.
    pub heard: Option<(u64, u64)>,
    /// What its rows hashed to lately.
    pub digests: Digests,
}

impl Applied {
    /// What the followers' clocks show by now, as far as one that ran was heard.
    pub fn heard_clock(&self, now_ns: u64) -> Option<u64> {
        let (told, at) = self.heard?;
        Some(told + now_ns.saturating_sub(at) / 1_000_000)
    }
}

/// The applied state of a group, shared by the applier and by who reads it. The lock is held for
/// one entry or one short read, never across an await.
pub struct GroupState {
    node: NodeId,
    group: GroupId,
    store: Store,
    clock: Arc<dyn Clock>,
    durable: DurableApplied,
    applied: Mutex<Applied>,
    /// Told after entries were applied.
    pub(super) moved: Notify,
}

impl GroupState {
    /// Opens the group's rows, as they are on `node`, and the machine over them.
    pub fn open(
        node: NodeId,
        group: GroupId,
        store: &Store,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Arc<Self>> {
        let rows = store.rows(group).map_err(io::Error::other)?;
        let machine = Machine::open(group, &rows)?;
        let time = machine.time();
        let applied = Applied {
            machine,
            clock: ClusterClock::new(time, clock.monotonic_ns()),
            rows,
            timed_term: 0,
            clock_runs: false,
            heard: None,
            digests: Digests::default(),
        };
        Ok(Arc::new(Self {
            node,
            group,
            store: store.clone(),
            clock,
            durable: applied.rows.durable(),
            applied: Mutex::new(applied),
            moved: Notify::new(),
        }))
    }

    /// The applied state, held still.
    pub fn lock(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cluster time in ms since 1970 by this replica's clock, where that has run since the start.
    pub fn running_clock(&self) -> Option<u64> {
        let now = self.clock.monotonic_ns();
        let applied = self.lock();
        applied.clock_runs.then(|| applied.clock.peek(now))
    }

    /// A follower's running clock shows `told_ms`; 0: it does not run.
    pub fn hear_clock(&self, told_ms: u64) {
        if told_ms == 0 {
            return;
        }
        let now = self.clock.monotonic_ns();
        let mut applied = self.lock();
        if applied.heard_clock(now).is_none_or(|heard| heard < told_ms) {
            applied.heard = Some((told_ms, now));
        }
    }

    fn apply(&self, entry: &Entry) -> io::Result<Response> {
        let mut applied = self.lock();
        let Applied {
            machine,
            rows,
            clock,
            timed_term,
            digests,
            ..
        } = &mut *applied;
        let index = entry.log_id.index;
        let failed = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("group {}, entry {index}: {error}", self.group))
        };
        let mut membership = None;
        let response = match &entry.payload {
            EntryPayload::Blank => Response::None,
            EntryPayload::Membership(changed) => {
                membership = Some(StoredMembership::new(Some(entry.log_id), changed.clone()));
                Response::None
            }
            EntryPayload::Normal(data) => match machine {
                Machine::Catalog(machine) => {
                    let done = machine
                        .apply(rows, index, &data.0)
                        .map_err(|e| failed(&e))?;
                    Response::Catalog(done)
                }
                Machine::Shard(machine) => {
                    let done = machine
                        .apply(rows, index, &data.0)
                        .map_err(|e| failed(&e))?;
                    rows.free(&done.freed);
                    digests.note(entry.log_id, &done.replies);
                    let now = self.clock.monotonic_ns();
                    if entry.log_id.leader_id.node_id == self.node {
                        clock.applied(machine.time(), now);
                    } else {
                        clock.followed(machine.time(), now);
                    }
                    *timed_term = entry.log_id.leader_id.term;
                    Response::Shard(done)
                }
            },
        };
        rows.finish_entry(entry.log_id, membership);
        Ok(response)
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Where its rows are.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The state as of the last entry applied, held still to be sent.
    pub fn capture(&self) -> io::Result<SnapshotCapture> {
        let applied = self.lock();
        let live = live_payloads(&applied, 0, u64::MAX)?;
        applied.rows.capture(live).map_err(io::Error::other)
    }

    /// The live payloads of entries `first..=last`, in order.
    pub fn live_payloads(&self, first: u64, last: u64) -> io::Result<Vec<PayloadRef>> {
        live_payloads(&self.lock(), first, last)
    }

    fn last(&self) -> (Option<LogId>, StoredMembership) {
        let applied = self.lock();
        (applied.rows.applied(), applied.rows.membership())
    }
}

fn live_payloads(applied: &Applied, first: u64, last: u64) -> io::Result<Vec<PayloadRef>> {
    let mut live = Vec::new();
    if let Machine::Shard(machine) = &applied.machine {
        let mut visit = |at| {
            live.push(at);
            ControlFlow::Continue(())
        };
        machine
            .live_payloads(&applied.rows, first, last, &mut visit)
            .map_err(io::Error::other)?;
    }
    live.sort_unstable();
    Ok(live)
}

/// What openraft owns of a group's state.
pub struct StateMachine(pub Arc<GroupState>);

impl<R: Runtime> RaftStateMachine<TypeConfig<R>> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok(self.0.last())
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig<R>>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.0.durable.room().await;
            let response = self.0.apply(&entry)?;
            if let Some(responder) = responder {
                responder.send(response);
            }
        }
        self.0.moved.notify_waiters();
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(self.0.clone())
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<R>,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let SnapshotData::Staged(staged) = snapshot else {
            return Err(io::Error::other(
                "only a received snapshot can be installed",
            ));
        };
        self.0
            .store
            .install(*staged)
            .await
            .map_err(io::Error::other)?;
        let mut applied = self.0.lock();
        applied.machine = Machine::open(self.0.group, &applied.rows)?;
        applied.digests.clear();
        let time = applied.machine.time();
        applied.clock.followed(time, self.0.clock.monotonic_ns());
        drop(applied);
        self.0.moved.notify_waiters();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<R>>, io::Error> {
        let (last_log_id, last_membership) = self.0.last();
        let meta = SnapshotMeta {
            last_log_id,
            last_membership,
        };
        Ok(last_log_id.map(|_| openraft::Snapshot {
            meta,
            snapshot: SnapshotData::Noted,
        }))
    }
}

type SnapshotMetaOf<R> = openraft::type_config::alias::SnapshotMetaOf<TypeConfig<R>>;

/// Notes a state that is durable, after which the log up to it may be purged.
pub struct Builder(Arc<GroupState>);

impl<R: Runtime> RaftSnapshotBuilder<TypeConfig<R>> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot<R>, io::Error> {
        let (last_log_id, last_membership) = self.0.last();
        self.0.store.flush().await.map_err(io::Error::other)?;
        let meta = SnapshotMeta {
            last_log_id,
            last_membership,
        };
        Ok(openraft::Snapshot {
            meta,
            snapshot: SnapshotData::Noted,
        })
    }
}
