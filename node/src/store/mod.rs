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

pub mod check;
mod codec;
pub mod data_dir;
pub mod disk;
pub mod drivers;
pub mod env;
pub mod failure;
mod jobs;
mod journal;
pub mod log_store;
mod lost;
pub mod metrics;
mod mover;
mod options;
pub mod payloads;
pub mod rows;
pub mod scrub;
pub mod snapshot;
mod space;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

pub use failure::{Damage, Failure, StoreFailure};
pub use log_store::LogStore;
pub use metrics::{StoreMetrics, StoreNumbers};
pub use options::StoreOptions;
pub use payloads::{LivePayloads, PayloadError, Payloads};
pub use roadstead_core::shard::PayloadRef;
pub use rows::{DurableApplied, GroupRows};
pub use snapshot::{
    SnapshotCapture, SnapshotError, SnapshotInfo, SnapshotInstaller, SnapshotReader, Staged,
};
pub use space::give_up_reserve;
use thiserror::Error;

use self::disk::Disk;
use self::drivers::{BackgroundLoop, Drivers, LoopControl};
use self::env::{Env, Table};
use self::jobs::{JobLoop, Jobs};
use self::journal::Journal;
use self::mover::{LiveSlot, Mover};
use self::rows::keys::GroupRow;
use self::rows::layers::{Overlay, Shared};
use self::rows::{Around, Committer, Groups, Request, Requests};
use self::scrub::Scrubber;
use self::snapshot::{Needs, SPOOL};
use self::space::Reserve;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;

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
pub struct Store(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    journal: Journal,
    payloads: Payloads,
    jobs: Jobs,
    overlay: Overlay,
    requests: Requests,
    mover: LoopControl,
    scrubber: LoopControl,
    live: LiveSlot,
    around: Around,
    spools: AtomicU64,
}

impl Store {
    /// Opens what is on disk: reads the journal and checks it.
    ///
    /// Nothing is durable before the drivers run.
    pub fn open(
        disk: Arc<dyn Disk>,
        env: Arc<dyn Env>,
        options: &StoreOptions,
    ) -> Result<(Self, Drivers), StoreError> {
        let (percent, bytes) = (options.reserve_percent, options.reserve_bytes);
        let around = Around {
            reserve: Reserve::open(disk.clone(), bytes, percent),
            failure: Failure::default(),
            metrics: StoreMetrics::default(),
            interval: options.commit_interval,
        };
        clear_spool(&*disk)?;
        let (journal, writer) = journal::open(disk.clone(), &around, options)?;
        let (jobs, requests) = (Jobs::default(), Requests::default());
        let overlay = Overlay::new(
            options.overlay_bytes,
            options.overlay_limit,
            requests.wakeup(),
        );
        let groups = Groups::default();
        let payloads = Payloads {
            journal: journal.clone(),
            env,
            groups,
            jobs: jobs.clone(),
            failure: around.failure.clone(),
        };
        requests.look_for_garbage();
        let (mover, live) = (LoopControl::default(), LiveSlot::default());
        let scrubber = LoopControl::default();
        let committer =
            Committer::new(&payloads, requests.clone(), overlay.clone(), around.clone());
        let moving = Mover {
            payloads: payloads.clone(),
            requests: requests.clone(),
            live: live.clone(),
            around: around.clone(),
            control: mover.clone(),
            window_bytes: options.window_bytes,
            bytes_per_second: options.move_bytes_per_second,
            work: None,
            lacks_spare: false,
        };
        let mut loops: Vec<Box<dyn BackgroundLoop>> = vec![
            Box::new(writer),
            Box::new(committer),
            Box::new(moving),
            Box::new(JobLoop(jobs.clone())),
        ];
        if options.scrub.bytes_per_second > 0 {
            let asked = (&scrubber, &options.scrub);
            loops.push(Box::new(Scrubber::new(&payloads, &around, asked)));
        }
        let drivers = Drivers {
            loops,
            disk: disk.clone(),
        };
        let spools = AtomicU64::new(0);
        let inner = Inner {
            disk,
            journal,
            payloads,
            jobs,
            overlay,
            requests,
            mover,
            scrubber,
            live,
            around,
            spools,
        };
        Ok((Self(Arc::new(inner)), drivers))
    }

    /// The log of a group, for openraft. One per group.
    pub fn log<R: Runtime>(&self, group: GroupId) -> LogStore<R> {
        LogStore::new(self.0.journal.group(group), self.0.jobs.clone())
    }

    /// The rows of a group, for its state machine. Blocks shortly the first time.
    pub fn rows(&self, group: GroupId) -> Result<GroupRows, StoreError> {
        let env = &self.0.payloads.env;
        let shared = self.shared(group)?;
        self.check_gap(&shared)?;
        Ok(GroupRows::new(shared, env.clone()))
    }

    fn shared(&self, group: GroupId) -> Result<Arc<Shared>, StoreError> {
        let mut groups = self
            .0
            .payloads
            .groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = groups.get(&group) {
            return Ok(shared.clone());
        }
        let value = self.0.payloads.env.get(Table::Groups, &group.to_be_bytes());
        let row = match value.map_err(|e| StoreError::Stopped(e.to_string()))? {
            Some(bytes) => GroupRow::decode(&bytes)
                .ok_or_else(|| lost::damaged(format!("the row of group {group} is unreadable")))?,
            None => GroupRow::default(),
        };
        let shared = Arc::new(Shared::new(group, self.0.overlay.clone(), row));
        groups.insert(group, shared.clone());
        Ok(shared)
    }

    /// Deletes a group's rows, payloads and log, durably; its vote stays. For a group that this
    /// node no longer belongs to; it may come back empty. Nobody may use its log or rows meanwhile.
    pub async fn forget_group(&self, group: GroupId) -> Result<(), StoreError> {
        let stopped = |what: String| StoreError::Stopped(what);
        let shared = self.shared(group)?;
        let (done, told) = log_store::notice();
        let forgot = self.0.journal.group(group).forget(done);
        forgot.map_err(|e| stopped(e.to_string()))?;
        let forgot = told.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        forgot.map_err(|e| stopped(e.to_string()))?;
        let generation = shared.layers().next_generation();
        let row = GroupRow {
            generation,
            last_generation: generation,
            ..GroupRow::default()
        };
        self.0
            .requests
            .wait(Request::Flip { group, row })
            .await
            .map_err(stopped)?;
        self.0.requests.look_for_garbage();
        Ok(())
    }

    /// Turns refs into bytes.
    pub fn payloads(&self) -> Payloads {
        self.0.payloads.clone()
    }

    /// Tells the mover who knows the live payloads. Until then, and after [`Store::close`], no
    /// segment is used again.
    pub fn set_live_payloads(&self, live: Arc<dyn LivePayloads>) {
        self.0.live.set(Some(live));
    }

    /// Commits every group's finished entries now and waits for it.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.0
            .requests
            .wait(Request::Flush)
            .await
            .map_err(StoreError::Stopped)
    }

    /// Spools a captured state of a group, to be sent to another node.
    pub async fn open_snapshot(
        &self,
        capture: SnapshotCapture,
    ) -> Result<SnapshotReader, SnapshotError> {
        let number = self.0.spools.fetch_add(1, Ordering::Relaxed);
        let needs = Needs {
            disk: self.0.disk.clone(),
            name: format!("{SPOOL}/{number}"),
            payloads: self.payloads(),
            jobs: self.0.jobs.clone(),
            requests: self.0.requests.clone(),
        };
        let spooled = self
            .0
            .jobs
            .run(move || SnapshotReader::spool(capture, needs))
            .await;
        spooled.unwrap_or_else(|| Err(SnapshotError::Stopped("the store is closed".into())))
    }

    /// Starts to receive a snapshot of a group beside its present state.
    pub fn begin_install(&self, group: GroupId) -> Result<SnapshotInstaller, SnapshotError> {
        let shared = self
            .shared(group)
            .map_err(|e| SnapshotError::Stopped(e.to_string()))?;
        Ok(SnapshotInstaller::new(shared, self.0.requests.clone()))
    }

    /// Makes a received snapshot the state of its group, durably, in one small step.
    ///
    /// The group's [`GroupRows`] shows the new rows, applied id and membership afterwards; its
    /// machine must be opened again. No entry may be applied and no row read meanwhile.
    pub async fn install(&self, staged: Staged) -> Result<(), SnapshotError> {
        staged.flip().await
    }

    /// What went wrong for good; the node waits for it and stops.
    pub fn failure(&self) -> Failure {
        self.0.around.failure.clone()
    }

    /// Counters.
    pub fn metrics(&self) -> StoreMetrics {
        self.0.around.metrics.clone()
    }

    /// Bytes of the journal's segments in use.
    pub fn journal_bytes(&self) -> u64 {
        self.0.journal.bytes()
    }

    /// Bytes held in memory: recent entries and uncommitted rows.
    pub fn memory_bytes(&self) -> usize {
        self.0.journal.tail_bytes() + self.0.overlay.bytes()
    }

    /// Bytes that may still be written before sends are to be refused; 0 when the mark is passed.
    /// A few hundred milliseconds old.
    pub fn room_for_sends(&self) -> u64 {
        self.0.around.reserve.room()
    }

    /// Ends the reading of what is on disk, now and for good.
    pub fn stop_scrubbing(&self) {
        self.0.scrubber.close();
    }

    /// Ends the drivers after what is queued has been written and what is finished committed.
    pub fn close(&self) {
        self.stop_scrubbing();
        self.0.mover.close();
        self.0.live.set(None);
        self.0.requests.close();
        self.0.journal.close();
        self.0.jobs.close();
    }
}

fn clear_spool(disk: &dyn Disk) -> Result<(), StoreError> {
    let clear = || {
        disk.create_dir(SPOOL)?;
        for name in disk.list(SPOOL)? {
            disk.remove(&format!("{SPOOL}/{name}"))?;
        }
        Ok(())
    };
    clear().map_err(|source| StoreError::Io {
        what: "clearing the spool".into(),
        source,
    })
}

#[cfg(test)]
mod tests;
