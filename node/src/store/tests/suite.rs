//! openraft's own suite, on real files and on the simulated disk.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::impls::BasicNode;
use openraft::storage::{
    EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta,
};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};
use openraft_rt_tokio::TokioRuntime;

use super::{on_files, start};
use crate::raft::types::{LeaderId, LogId, NodeId, Response, StoredMembership, TypeConfig};
use crate::store::disk::SimDisk;
use crate::store::drivers::StoreThreads;
use crate::store::env::MemoryEnv;
use crate::store::{LogStore, Store};

type Config = TypeConfig<TokioRuntime>;
type Meta = SnapshotMeta<LeaderId, NodeId, BasicNode>;
type Snap = Snapshot<LeaderId, NodeId, BasicNode, ()>;

/// Knows what was applied and nothing else.
#[derive(Clone, Default)]
struct Machine {
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Shared with the builder.
    snapshot: Arc<Mutex<Option<Meta>>>,
}

impl RaftSnapshotBuilder<Config> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snap> {
        let meta = Meta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<Config> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Config>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.applied = Some(entry.log_id);
            if let Some(membership) = entry.get_membership() {
                self.membership = StoredMembership::new(self.applied, membership);
            }
            if let Some(responder) = responder {
                responder.send(Response::None);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, (): ()) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snap>> {
        Ok(self
            .snapshot
            .lock()
            .unwrap()
            .clone()
            .map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Guard {
    store: Store,
    threads: Option<StoreThreads>,
    _dir: Option<tempfile::TempDir>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.store.close();
        if let Some(threads) = self.threads.take() {
            threads.join();
        }
    }
}

struct OnFiles;

impl StoreBuilder<Config, LogStore<TokioRuntime>, Machine, Guard> for OnFiles {
    async fn build(
        &self,
    ) -> Result<(Guard, LogStore<TokioRuntime>, Machine), StorageError<Config>> {
        let dir = tempfile::tempdir().unwrap();
        let (disk, env) = on_files(dir.path());
        let (store, threads) = start(disk, env);
        let log = store.log(3);
        let guard = Guard {
            store,
            threads: Some(threads),
            _dir: Some(dir),
        };
        Ok((guard, log, Machine::default()))
    }
}

struct Simulated;

impl StoreBuilder<Config, LogStore<TokioRuntime>, Machine, Guard> for Simulated {
    async fn build(
        &self,
    ) -> Result<(Guard, LogStore<TokioRuntime>, Machine), StorageError<Config>> {
        let disk = Arc::new(SimDisk::new(7));
        let (store, threads) = start(disk, Arc::new(MemoryEnv::default()));
        let log = store.log(3);
        Ok((
            Guard {
                store,
                threads: Some(threads),
                _dir: None,
            },
            log,
            Machine::default(),
        ))
    }
}

#[tokio::test]
async fn openrafts_suite_passes_on_files() {
    Suite::test_all(OnFiles).await.unwrap();
}

#[tokio::test]
async fn openrafts_suite_passes_on_the_simulated_disk() {
    Suite::test_all(Simulated).await.unwrap();
}
