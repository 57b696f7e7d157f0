//! One Raft group on this node.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::impls::BasicNode;
use openraft::{Config, Raft, SnapshotPolicy};
use roadstead_core::catalog::CatalogMachine;
use roadstead_core::kv::Kv;
use roadstead_core::shard::{PayloadRef, ShardMachine};
use tokio::sync::Notify;

use super::disk_watch::DiskWatch;
use super::leadership::watch_leadership;
use super::network::NetworkFactory;
use super::state_machine::{GroupState, Machine, StateMachine};
use super::timing::Timing;
use super::types::{EntryData, GroupId, NodeId, Response, TypeConfig};
use crate::peers::Peers;
use crate::runtime::Runtime;
use crate::scope::{Clock, NodeScope};
use crate::shard::View;
use crate::store::{Payloads, Store};

/// openraft's handle of a group.
pub type RaftOf<R> = Raft<TypeConfig<R>, StateMachine>;

/// Why a proposal was not applied, as far as this node knows.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// It was not accepted: this node does not lead. It will not be applied.
    #[error("this node does not lead the group")]
    NotLeader(Option<NodeId>),
    /// It was accepted, but what became of it is not known: it may still be applied.
    #[error("the outcome of the proposal is not known: {0}")]
    Unknown(String),
}

/// What every group of a node shares.
pub struct Shared<R: Runtime> {
    /// This node.
    pub node_id: NodeId,
    /// Journal and rows.
    pub store: Store,
    /// Links to the other nodes.
    pub peers: Peers<R>,
    /// This node's clocks.
    pub clock: Arc<dyn Clock>,
    /// Where tasks are spawned.
    pub scope: NodeScope<R>,
    /// Election and heartbeat times.
    pub timing: Timing,
}

impl<R: Runtime> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self {
            node_id: self.node_id,
            store: self.store.clone(),
            peers: self.peers.clone(),
            clock: self.clock.clone(),
            scope: self.scope.clone(),
            timing: self.timing,
        }
    }
}

/// One Raft group on this node: its log, its state and its leadership.
pub struct Group<R: Runtime> {
    id: GroupId,
    pub(super) shared: Shared<R>,
    pub(super) raft: RaftOf<R>,
    pub(super) state: Arc<GroupState>,
    payloads: Payloads,
    disks: Arc<DiskWatch>,
    pub(super) leadership: Mutex<View>,
    pub(super) changed: Notify,
    pub(super) caught_up: AtomicBool,
    scope: NodeScope<R>,
}

impl<R: Runtime> Group<R> {
    /// Opens the group's log and rows and starts its Raft.
    pub async fn start(id: GroupId, shared: Shared<R>) -> io::Result<Arc<Self>> {
        let clock = shared.clock.clone();
        let state = GroupState::open(shared.node_id, id, &shared.store, clock)?;
        let disks = Arc::new(DiskWatch::default());
        let network = NetworkFactory::new(shared.peers.clone(), state.clone(), disks.clone());
        let config = Arc::new(config(id, shared.timing)?);
        let log = shared.store.log::<R>(id);
        let machine = StateMachine(state.clone());
        let raft = RaftOf::<R>::new(shared.node_id, config, network, log, machine)
            .await
            .map_err(|error| io::Error::other(format!("group {id}: {error}")))?;
        let group = Arc::new(Self {
            id,
            payloads: shared.store.payloads(),
            scope: shared.scope.child(),
            shared,
            raft,
            state,
            disks,
            leadership: Mutex::default(),
            changed: Notify::new(),
            caught_up: AtomicBool::new(false),
        });
        group.scope.spawn(watch_leadership(group.clone()));
        Ok(group)
    }

    /// Its number.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.shared.node_id
    }

    /// Its election and heartbeat times.
    pub(super) fn timing(&self) -> Timing {
        self.shared.timing
    }

    /// openraft's handle.
    pub fn raft(&self) -> &RaftOf<R> {
        &self.raft
    }

    /// Ends with the group; for tasks that belong to it.
    pub fn scope(&self) -> &NodeScope<R> {
        &self.scope
    }

    /// Proposes one encoded entry; answers once it is applied here.
    pub async fn propose(&self, entry: Bytes) -> Result<Response, ProposeError> {
        match self.raft.client_write(EntryData(entry)).await {
            Ok(written) => Ok(written.data),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader(forward.leader_id))
            }
            Err(error) => Err(ProposeError::Unknown(error.to_string())),
        }
    }

    /// Reads the shard's machine and rows; nothing when this is not a shard. Keep it short: no
    /// entry is applied meanwhile.
    pub fn read_shard<T>(&self, f: impl FnOnce(&ShardMachine, &dyn Kv) -> T) -> Option<T> {
        let applied = self.state.lock();
        match &applied.machine {
            Machine::Shard(machine) => Some(f(machine, &applied.rows)),
            Machine::Catalog(_) => None,
        }
    }

    /// Reads the catalog's machine; nothing when this is not the catalog.
    pub fn read_catalog<T>(&self, f: impl FnOnce(&CatalogMachine) -> T) -> Option<T> {
        let applied = self.state.lock();
        match &applied.machine {
            Machine::Catalog(machine) => Some(f(machine)),
            Machine::Shard(_) => None,
        }
    }

    /// Log index of the last entry applied here, 0 for none.
    pub fn applied_index(&self) -> u64 {
        self.state.lock().rows.applied().map_or(0, |id| id.index)
    }

    /// Whether others vote beside this node.
    pub fn has_other_voters(&self) -> bool {
        self.raft.voter_ids().any(|voter| voter != self.node_id())
    }

    /// Whether this replica has, since it was started, applied what was committed before.
    pub fn has_caught_up_once(&self) -> bool {
        self.caught_up.load(Ordering::Relaxed)
    }

    /// Waits until an entry is applied after the call to `notified` (which this returns).
    pub fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.state.moved.notified()
    }

    /// The applied state.
    pub fn state(&self) -> &Arc<GroupState> {
        &self.state
    }

    /// Turns refs of this group into bytes.
    pub fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    /// The payloads of `refs`, in their order.
    pub async fn payloads_of(&self, refs: Vec<PayloadRef>) -> io::Result<Vec<Bytes>> {
        self.payloads
            .get(self.id, refs)
            .await
            .map_err(io::Error::other)
    }

    /// Cluster time in ms since 1970, for the next entry that this node proposes.
    pub fn cluster_time(&self) -> u64 {
        let clock = &self.shared.clock;
        let mut applied = self.state.lock();
        applied.clock.now(clock.monotonic_ns(), clock.wall_ms())
    }

    /// Whether the leader may take sends; the error says whose disk is low.
    pub fn sends_allowed(&self) -> Result<(), String> {
        if self.shared.store.room_for_sends() == 0 {
            return Err("the disk of this node is below its reserve; free or grow it".to_owned());
        }
        match self.disks.low(self.raft.voter_ids()) {
            None => Ok(()),
            Some(node) => Err(format!(
                "the disk of node {node:016x} is below its reserve; free or grow it"
            )),
        }
    }

    /// Whether this node's disk is below its reserve.
    pub fn disk_low(&self) -> bool {
        self.shared.store.room_for_sends() == 0
    }

    /// Founds the group with `voters`, unless it has a log already.
    pub async fn found(&self, voters: BTreeMap<NodeId, BasicNode>) -> Result<(), String> {
        let known = self
            .raft
            .is_initialized()
            .await
            .map_err(|error| error.to_string())?;
        if known {
            return Ok(());
        }
        match self.raft.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(_)) => Ok(()),
            Err(RaftError::Fatal(error)) => Err(error.to_string()),
        }
    }

    /// Stops its Raft and its tasks.
    pub async fn stop(&self) {
        self.scope.stop();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = self.id, %error, "group did not stop cleanly");
        }
    }
}

fn config(id: GroupId, timing: Timing) -> io::Result<Config> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: format!("group-{id}"),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(timing.election_min),
        election_timeout_max: ms(timing.election_max),
        // Purging is asked for by the store, by bytes; openraft counts entries.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        max_payload_entries: 4_096,
        install_snapshot_timeout: 600_000,
        enable_pre_vote: Some(true),
        // State is flushed behind the log, so a restarted leader must ask for its commit index.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map_err(io::Error::other)
}
