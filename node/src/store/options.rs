//! Sizes and times of a store.

use std::time::Duration;

use super::scrub::ScrubOptions;

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
    /// Bytes of uncommitted rows from which appliers wait, in
    /// [`DurableApplied::room`](super::rows::DurableApplied::room).
    pub overlay_limit: usize,
    /// Time between two commits of rows.
    pub commit_interval: Duration,
    /// Bytes a second that moving payloads may take.
    pub move_bytes_per_second: u64,
    /// Bytes set aside on disk for settles, ticks, purges and votes when it is full.
    pub reserve_bytes: u64,
    /// Per cent of the file system below which sends are refused, by
    /// [`Store::room_for_sends`](super::Store::room_for_sends).
    pub reserve_percent: u64,
    /// A random number that marks the frames of a new journal, so that no payload can look like
    /// one. Not used when there is a journal.
    pub nonce: u64,
    /// How what is on disk is read again while it is in use; not at all by default.
    pub scrub: ScrubOptions,
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
            reserve_bytes: 256 << 20,
            reserve_percent: 5,
            nonce: 0,
            scrub: ScrubOptions::default(),
        }
    }
}
