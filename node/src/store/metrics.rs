//! Counters of the store, as plain numbers that anybody may read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bounds in microseconds of the sync latency histogram; the last bucket has none.
pub const SYNC_BUCKETS_MICROS: [u64; 12] = [
    100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 1_000_000,
];

/// Counters and gauges of one node's store. Clones share them.
#[derive(Clone, Default)]
pub struct StoreMetrics(Arc<Counters>);

#[derive(Default)]
struct Counters {
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BUCKETS_MICROS.len() + 1],
    journal_bytes_written: AtomicU64,
    entries: AtomicU64,
    segments: AtomicU64,
    journal_bytes: AtomicU64,
    segments_recycled: AtomicU64,
    tail_bytes: AtomicU64,
    commits: AtomicU64,
    commit_micros: AtomicU64,
    overlay_bytes: AtomicU64,
    lmdb_bytes: AtomicU64,
    payload_bytes_moved: AtomicU64,
    space_waits: AtomicU64,
    scrubbed_bytes: AtomicU64,
    scrubs: AtomicU64,
    last_scrub_seconds: AtomicU64,
}

/// The values at one moment. Counters only grow; gauges say so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreNumbers {
    /// Journal syncs.
    pub syncs: u64,
    /// Time spent in journal syncs, in microseconds.
    pub sync_micros: u64,
    /// Journal syncs by latency: one count per bound of [`SYNC_BUCKETS_MICROS`], then the rest.
    pub sync_buckets: [u64; SYNC_BUCKETS_MICROS.len() + 1],
    /// Bytes written to the journal, with frames and padding.
    pub journal_bytes_written: u64,
    /// Entries written to the journal.
    pub entries: u64,
    /// Gauge: segments that hold something.
    pub segments: u64,
    /// Gauge: bytes of those segments.
    pub journal_bytes: u64,
    /// Segments given back for reuse.
    pub segments_recycled: u64,
    /// Gauge: bytes of entries held in memory.
    pub tail_bytes: u64,
    /// Commits of state rows.
    pub commits: u64,
    /// Time spent in those, in microseconds.
    pub commit_micros: u64,
    /// Gauge: bytes of state rows not yet committed.
    pub overlay_bytes: u64,
    /// Gauge: size of the state file in bytes.
    pub lmdb_bytes: u64,
    /// Payload bytes moved from the journal to the state file.
    pub payload_bytes_moved: u64,
    /// Times a write waited for disk space.
    pub space_waits: u64,
    /// Bytes read again from the disk to see whether they are what was written.
    pub scrubbed_bytes: u64,
    /// Whole passes over the data.
    pub scrubs: u64,
    /// Gauge: when the last whole pass ended, in seconds since 1970; 0 before the first.
    pub last_scrub_seconds: u64,
}

impl StoreMetrics {
    /// Reads all values.
    pub fn read(&self) -> StoreNumbers {
        let c = &*self.0;
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        StoreNumbers {
            syncs: load(&c.syncs),
            sync_micros: load(&c.sync_micros),
            sync_buckets: std::array::from_fn(|n| load(&c.sync_buckets[n])),
            journal_bytes_written: load(&c.journal_bytes_written),
            entries: load(&c.entries),
            segments: load(&c.segments),
            journal_bytes: load(&c.journal_bytes),
            segments_recycled: load(&c.segments_recycled),
            tail_bytes: load(&c.tail_bytes),
            commits: load(&c.commits),
            commit_micros: load(&c.commit_micros),
            overlay_bytes: load(&c.overlay_bytes),
            lmdb_bytes: load(&c.lmdb_bytes),
            payload_bytes_moved: load(&c.payload_bytes_moved),
            space_waits: load(&c.space_waits),
            scrubbed_bytes: load(&c.scrubbed_bytes),
            scrubs: load(&c.scrubs),
            last_scrub_seconds: load(&c.last_scrub_seconds),
        }
    }

    pub(super) fn synced(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let c = &*self.0;
        let bucket = SYNC_BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        c.sync_buckets[bucket].fetch_add(1, Ordering::Relaxed);
        c.syncs.fetch_add(1, Ordering::Relaxed);
        c.sync_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, bytes: usize, entries: usize) {
        self.0
            .journal_bytes_written
            .fetch_add(bytes as u64, Ordering::Relaxed);
        self.0.entries.fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// `in_use` segments of `bytes` each.
    pub(super) fn segments(&self, in_use: usize, bytes: u32) {
        let in_use = in_use as u64;
        self.0.segments.store(in_use, Ordering::Relaxed);
        let bytes = in_use * u64::from(bytes);
        self.0.journal_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn recycled(&self, segments: usize) {
        self.0
            .segments_recycled
            .fetch_add(segments as u64, Ordering::Relaxed);
    }

    pub(super) fn tail(&self, bytes: usize) {
        self.0.tail_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn committed(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.commits.fetch_add(1, Ordering::Relaxed);
        self.0.commit_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn overlay(&self, bytes: usize) {
        self.0.overlay_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn lmdb(&self, bytes: u64) {
        self.0.lmdb_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn moved(&self, bytes: usize) {
        self.0
            .payload_bytes_moved
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn waited_for_space(&self) {
        self.0.space_waits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn scrubbed(&self, bytes: u64) {
        self.0.scrubbed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A pass over the data has ended; only one that left nothing out counts.
    pub(super) fn scrub_ended(&self, whole: bool) {
        if whole {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let seconds = now.unwrap_or_default().as_secs();
            self.0.last_scrub_seconds.store(seconds, Ordering::Relaxed);
            self.0.scrubs.fetch_add(1, Ordering::Relaxed);
        }
    }
}
