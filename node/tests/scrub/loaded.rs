//! A store that is written to as a busy node does: entries come, most payloads are settled soon,
//! segments are recycled, and rows change.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::Oneshot;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{AsyncRuntime, EntryPayload};
use openraft_rt_tokio::TokioRuntime;
use roadstead_core::kv::Kv;
use roadstead_node::raft::types::{Entry, EntryData, GroupId, LeaderId, LogId};
use roadstead_node::store::disk::FsDisk;
use roadstead_node::store::drivers::StoreThreads;
use roadstead_node::store::env::LmdbEnv;
use roadstead_node::store::scrub::{ScrubOptions, Walker};
use roadstead_node::store::{GroupRows, LivePayloads, LogStore, PayloadRef, Store, StoreOptions};
use tempfile::TempDir;

use super::PATIENCE;

const GROUP: GroupId = 1;
/// Bytes of a payload: several chunks of the state file.
const PAYLOAD: u32 = 20_000;
/// Bytes of a payload in one row of the state file.
const CHUNK: usize = 4_076;
/// Payloads that live at a time.
const BACKLOG: usize = 1_500;
/// Of these, payloads that are never settled: however fast the others go, they are moved.
const KEPT: usize = 200;

/// The store, its files and its load.
pub struct Loaded {
    dir: TempDir,
    pub store: Store,
    threads: StoreThreads,
    log: LogStore<TokioRuntime>,
    rows: GroupRows,
    next: u64,
    live: Arc<Live>,
}

#[derive(Default)]
struct Live {
    refs: Mutex<VecDeque<PayloadRef>>,
    purge: AtomicU64,
}

impl LivePayloads for Live {
    fn live(&self, _: GroupId, first: u64, last: u64) -> Result<Vec<PayloadRef>, String> {
        let refs = self.refs.lock().unwrap();
        let wanted = refs.iter().filter(|at| (first..=last).contains(&at.index));
        Ok(wanted.copied().collect())
    }

    fn purge_wanted(&self, _: GroupId, index: u64) {
        self.purge.fetch_max(index, Ordering::Relaxed);
    }
}

fn log_id(index: u64) -> LogId {
    let leader_id = LeaderId {
        term: 1,
        node_id: 1,
    };
    LogId { leader_id, index }
}

fn data(index: u64) -> Bytes {
    let words =
        (0..u64::from(PAYLOAD) / 8).map(|n| (index << 32 | n).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    words.flat_map(u64::to_le_bytes).collect()
}

impl Loaded {
    /// A store that is scrubbed at `rate` bytes a second, again after each `interval`.
    pub fn open(rate: u64, interval: Duration) -> Self {
        let dir = match std::env::var("ROADSTEAD_SCRUB_DIR") {
            Ok(on) => tempfile::tempdir_in(on).unwrap(),
            Err(_) => tempfile::tempdir().unwrap(),
        };
        let walker = Walker {
            binary: env!("CARGO_BIN_EXE_roadstead-node").into(),
            dir: dir.path().to_owned(),
        };
        let options = StoreOptions {
            segment_bytes: 1 << 20,
            window_bytes: 4 << 20,
            tail_bytes: 1 << 20,
            reserve_bytes: 1 << 20,
            reserve_percent: 0,
            nonce: 42,
            scrub: ScrubOptions {
                bytes_per_second: rate,
                interval,
                spread: 0,
                walker: Some(walker),
            },
            ..StoreOptions::default()
        };
        let disk = Arc::new(FsDisk::open(dir.path()).unwrap());
        let env = Arc::new(LmdbEnv::open(&dir.path().join("lmdb"), 4 << 30).unwrap());
        let (store, drivers) = Store::open(disk, env, &options).unwrap();
        let live = Arc::new(Live::default());
        store.set_live_payloads(live.clone());
        Self {
            dir,
            threads: drivers.start_threads().unwrap(),
            log: store.log(GROUP),
            rows: store.rows(GROUP).unwrap(),
            store,
            next: 0,
            live,
        }
    }

    /// Appends so many entries, and settles payloads beyond the backlog.
    pub async fn write(&mut self, count: u64) {
        let entries: Vec<Entry> = (self.next..self.next + count)
            .map(|index| Entry {
                log_id: log_id(index),
                payload: EntryPayload::Normal(EntryData(data(index))),
            })
            .collect();
        let (tell, told) = <TokioRuntime as AsyncRuntime>::Oneshot::channel();
        let flushed = IOFlushed::signal(tell);
        self.log.append(entries, flushed).await.unwrap();
        told.await.unwrap().unwrap();
        for index in self.next..self.next + count {
            self.apply(index);
        }
        self.next += count;
        let purge = self.live.purge.load(Ordering::Relaxed);
        if purge > 0 {
            self.log.purge(log_id(purge)).await.unwrap();
        }
        self.rows.durable().room().await;
    }

    fn apply(&mut self, index: u64) {
        let at = PayloadRef {
            index,
            offset: 0,
            len: PAYLOAD,
        };
        let mut refs = self.live.refs.lock().unwrap();
        refs.push_back(at);
        let key = |index: u64| index.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        self.rows.put(&key(index), data(index).slice(..200));
        if refs.len() > BACKLOG {
            // Not in order: holes of all sizes are used again.
            let settled = refs.remove(if index.is_multiple_of(3) {
                BACKLOG / 2
            } else {
                KEPT
            });
            let settled = settled.unwrap();
            self.rows.free(&[settled]);
            self.rows.delete(&key(settled.index));
        }
        self.rows.finish_entry(log_id(index), None);
    }

    /// Writes until payloads are in the state file. Returns how one that lives begins there, which
    /// is not how it began in the journal: with the CRC32C of its first chunk.
    pub async fn until_moved(&mut self) -> Vec<u8> {
        let begun = std::time::Instant::now();
        while self.store.metrics().read().segments_recycled < 4 {
            assert!(begun.elapsed() < PATIENCE, "{}", self.figures());
            self.write(10).await;
        }
        self.store.flush().await.unwrap();
        let first = self.live.refs.lock().unwrap()[0];
        let payload = data(first.index);
        let crc = crc32c::crc32c(&payload[..CHUNK]);
        [&crc.to_le_bytes()[..], &payload[..60]].concat()
    }

    /// Processes that read the state file, by their command lines.
    pub fn readers(&self) -> Vec<PathBuf> {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let of = self.dir.path().display().to_string();
        let reads = |process: &Path| {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("--while-running") && line.contains(&of)
        };
        let paths = processes.map(|entry| entry.path());
        paths.filter(|path| reads(path)).collect()
    }

    /// The file of LMDB.
    pub fn state_file(&self) -> PathBuf {
        self.dir.path().join("lmdb/data.mdb")
    }

    /// What was done so far.
    pub fn figures(&self) -> String {
        let numbers = self.store.metrics().read();
        format!(
            "entries={} journal_written={}MiB recycled={} moved={}MiB state_file={}MiB commits={} \
             scrubs={} scrubbed={}MiB",
            numbers.entries,
            numbers.journal_bytes_written >> 20,
            numbers.segments_recycled,
            numbers.payload_bytes_moved >> 20,
            std::fs::metadata(self.state_file()).unwrap().len() >> 20,
            numbers.commits,
            numbers.scrubs,
            numbers.scrubbed_bytes >> 20,
        )
    }

    /// Closes the store and waits for its threads.
    pub async fn close(self) {
        self.store.close();
        let threads = self.threads;
        tokio::task::spawn_blocking(move || threads.join())
            .await
            .unwrap();
    }
}
