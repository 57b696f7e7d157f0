//! Storage: the journal, LMDB and the data directory.
//!
//! ```text
//!  openraft ── append, vote ──▶ LogStore ─▶ Journal ─ one write, one fdatasync ─▶ segments
//!                                             │ tail (entries in memory)              │
//!  applier ─── put, delete ───▶ GroupRows ─▶ overlay ─ every 50 ms ─▶ LMDB ◀─ mover ──┘
//!  delivery ── PayloadRef ────▶ Payloads: tail, else segment, else LMDB
//! ```
//!
//! What passes goes through the journal; what stays ends in LMDB. A segment is used again once all
//! its entries are applied durably, Raft has purged them, and the payloads that still live were
//! moved to LMDB.

pub mod data_dir;
pub mod disk;
pub mod drivers;
pub mod env;
pub mod failure;
pub mod log_store;
pub mod metrics;
pub mod payloads;
pub mod rows;
pub mod snapshot;

use std::sync::Arc;
use std::time::Duration;

pub use failure::{Damage, Failure, StoreFailure};
pub use log_store::LogStore;
pub use metrics::{StoreMetrics, StoreNumbers};
pub use payloads::{LivePayloads, PayloadError, PayloadRef, Payloads};
pub use rows::GroupRows;
pub use snapshot::{SnapshotCapture, SnapshotError, SnapshotInstaller, SnapshotReader, Staged};
use thiserror::Error;

use self::disk::Disk;
use self::drivers::Drivers;
use self::env::Env;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;

/// Sizes and times of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Bytes of a journal segment; a multiple of 512, at least 1 MiB in production.
    pub segment_bytes: u32,
    /// Bytes of journal kept before segments are moved and used again.
    pub window_bytes: u64,
    /// Bytes of recent entries kept in memory, beside those not yet durable.
    pub tail_bytes: usize,
    /// Bytes of uncommitted rows that start a commit before its time.
    pub overlay_bytes: usize,
    /// Bytes of uncommitted rows from which appliers wait ([`GroupRows::room`]).
    pub overlay_limit: usize,
    /// Time between two commits of rows.
    pub commit_interval: Duration,
    /// Bytes a second that moving payloads may take.
    pub move_bytes_per_second: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            window_bytes: 1 << 30,
            tail_bytes: 64 << 20,
            overlay_bytes: 16 << 20,
            overlay_limit: 64 << 20,
            commit_interval: Duration::from_millis(50),
            move_bytes_per_second: 64 << 20,
        }
    }
}

/// Why a store cannot be opened or has stopped.
#[derive(Debug, Error)]
pub enum StoreError {
    /// What is on disk is not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The operating system refused a call.
    #[error("{what}: {source}; check the disk and its permissions")]
    Io {
        /// File and operation.
        what: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The store has failed or was closed.
    #[error("the store has stopped: {0}")]
    Stopped(String),
}

/// Journal, rows and payloads of one node. Clones are the same store.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens what is on disk: reads the journal and checks it.
    ///
    /// Nothing is durable before the drivers run.
    pub fn open(
        _disk: Arc<dyn Disk>,
        _env: Arc<dyn Env>,
        _options: StoreOptions,
    ) -> Result<(Self, Drivers), StoreError> {
        Err(StoreError::Stopped("not written yet".into()))
    }

    /// The log of a group, for openraft. One per group.
    pub fn log<R: Runtime>(&self, group: GroupId) -> LogStore<R> {
        LogStore::new(group)
    }

    /// The rows of a group, for its state machine. One per group.
    pub fn rows(&self, _group: GroupId) -> Result<GroupRows, StoreError> {
        Err(StoreError::Stopped("not written yet".into()))
    }

    /// Turns refs into bytes.
    pub fn payloads(&self) -> Payloads {
        Payloads {}
    }

    /// Tells the mover who knows the live payloads. Until then no segment is used again.
    pub fn set_live_payloads(&self, _live: Arc<dyn LivePayloads>) {}

    /// Commits every group's rows now and waits for it.
    pub async fn flush(&self) -> Result<(), StoreError> {
        Err(StoreError::Stopped("not written yet".into()))
    }

    /// Spools a captured state of a group, to be sent to another node.
    pub async fn open_snapshot(&self, _: SnapshotCapture) -> Result<SnapshotReader, SnapshotError> {
        Err(SnapshotError::Stopped("not written yet".into()))
    }

    /// Starts to receive a snapshot of a group beside its present state.
    pub fn begin_install(&self, _group: GroupId) -> Result<SnapshotInstaller, SnapshotError> {
        Err(SnapshotError::Stopped("not written yet".into()))
    }

    /// Makes a received snapshot the state of its group, durably, in one small step.
    ///
    /// The group's [`GroupRows`] shows the new rows, applied id and membership afterwards; its
    /// machine must be opened again. No entry may be applied meanwhile.
    pub async fn install(&self, _staged: Staged) -> Result<(), SnapshotError> {
        Err(SnapshotError::Stopped("not written yet".into()))
    }

    /// What went wrong for good; the node waits for it and stops.
    pub fn failure(&self) -> Failure {
        Failure::default()
    }

    /// Counters.
    pub fn metrics(&self) -> StoreMetrics {
        StoreMetrics::default()
    }

    /// Bytes that may still be written before sends are refused; 0 when the mark is passed.
    pub fn room_for_sends(&self) -> u64 {
        0
    }

    /// Ends the drivers after what is queued has been written and committed.
    pub fn close(&self) {}
}
