//! Tests of the store as a whole.

mod crash;
mod journal;
mod rows;
mod scrub;
mod snapshot;
mod suite;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;

use super::disk::{Disk, FsDisk};
use super::drivers::StoreThreads;
use super::env::{Env, LmdbEnv};
use super::{Store, StoreOptions};
use crate::raft::types::{Entry, EntryData, LeaderId, LogId};

/// Small, so that segments turn over and memory is left.
fn small() -> StoreOptions {
    StoreOptions {
        segment_bytes: 16 << 10,
        window_bytes: 48 << 10,
        tail_bytes: 4 << 10,
        reserve_bytes: 1 << 20,
        reserve_percent: 0,
        commit_interval: std::time::Duration::from_millis(5),
        nonce: 42,
        ..StoreOptions::default()
    }
}

fn start(disk: Arc<dyn Disk>, env: Arc<dyn Env>) -> (Store, StoreThreads) {
    let (store, drivers) = Store::open(disk, env, &small()).unwrap();
    (store, drivers.start_threads().unwrap())
}

fn on_files(dir: &Path) -> (Arc<dyn Disk>, Arc<dyn Env>) {
    let disk = FsDisk::open(dir).unwrap();
    let env = LmdbEnv::open(&dir.join("lmdb"), 1 << 30).unwrap();
    (Arc::new(disk), Arc::new(env))
}

fn stop(store: &Store, threads: StoreThreads) {
    store.close();
    threads.join();
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: LeaderId { term, node_id: 1 },
        index,
    }
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    // Every entry differs, so that one is never taken for another.
    let data: Vec<u8> = (0..bytes)
        .map(|n| (n as u64 * 7 + index * 31 + term) as u8)
        .collect();
    let payload = EntryPayload::Normal(EntryData(Bytes::from(data)));
    Entry {
        log_id: log_id(term, index),
        payload,
    }
}
