//! What openraft's suite leaves out: when callbacks fire, in which order, and what a reopened
//! journal holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::storage::{RaftLogReader, RaftLogStorage};
use openraft_rt_tokio::TokioRuntime;

use super::{entry, log_id, on_files, small, start, stop};
use crate::raft::types::Vote;
use crate::store::disk::{SimDisk, SimFaults};
use crate::store::env::MemoryEnv;
use crate::store::journal::Done;
use crate::store::log_store::notice;
use crate::store::{LogStore, Store, StoreError};

fn memory() -> Arc<MemoryEnv> {
    Arc::new(MemoryEnv::default())
}

fn nothing() -> Done {
    Box::new(|_| {})
}

#[tokio::test]
async fn entries_are_readable_at_once_and_on_disk_when_the_callback_fires() {
    let disk = SimDisk::new(1);
    let (store, drivers) = Store::open(Arc::new(disk.clone()), memory(), &small()).unwrap();
    let journal = store.0.journal.group(5);
    let (done, mut told) = notice();
    journal
        .append(vec![entry(1, 0, 100), entry(1, 1, 100)], done)
        .unwrap();
    let mut log: LogStore<TokioRuntime> = store.log(5);
    assert_eq!(log.try_get_log_entries(0..).await.unwrap().len(), 2);
    assert!(
        told.try_recv().is_err(),
        "nothing runs yet, so nothing can be on disk"
    );
    let threads = drivers.start_threads().unwrap();
    told.await.unwrap().unwrap();
    // The power goes right after the callback.
    disk.crash();
    store.close();
    threads.join();
    let (store, threads) = start(Arc::new(disk), memory());
    let mut log: LogStore<TokioRuntime> = store.log(5);
    let entries = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(entries, [entry(1, 0, 100), entry(1, 1, 100)]);
    stop(&store, threads);
}

#[tokio::test]
async fn callbacks_fire_in_the_order_of_asking() {
    let (store, threads) = start(Arc::new(SimDisk::new(2)), memory());
    let order = Arc::new(Mutex::new(Vec::new()));
    let (last_done, last_told) = notice();
    let mut last = Some(last_done);
    for n in 0..500_u64 {
        let journal = store.0.journal.group((n % 3) as u16);
        let order = order.clone();
        let last = if n == 499 { last.take() } else { None };
        let done: Done = Box::new(move |done| {
            done.unwrap();
            order.lock().unwrap().push(n);
            if let Some(last) = last {
                last(Ok(()));
            }
        });
        if n % 7 == 0 {
            journal.save_vote(Vote::new(n, 1), done).unwrap();
        } else {
            let next = journal.ends().last.map_or(0, |id| id.index + 1);
            journal.append(vec![entry(1, next, 50)], done).unwrap();
        }
    }
    last_told.await.unwrap().unwrap();
    assert_eq!(*order.lock().unwrap(), (0..500).collect::<Vec<_>>());
    stop(&store, threads);
}

#[tokio::test]
async fn a_reopened_journal_holds_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (disk, env) = on_files(dir.path());
        let (store, threads) = start(disk, env);
        let journal = store.0.journal.group(1);
        journal
            .save_vote(Vote::new_committed(4, 9), nothing())
            .unwrap();
        for index in 0..200 {
            journal
                .append(vec![entry(1, index, 300)], nothing())
                .unwrap();
        }
        journal.truncate_after(Some(log_id(1, 149))).unwrap();
        journal.append(vec![entry(2, 150, 300)], nothing()).unwrap();
        journal.purge(log_id(1, 20)).unwrap();
        journal.save_committed(log_id(1, 100));
        journal.append(vec![entry(2, 151, 300)], nothing()).unwrap();
        let cut = store.0.journal.group(3);
        cut.append((0..5).map(|n| entry(1, n, 10)).collect(), nothing())
            .unwrap();
        cut.truncate_after(Some(log_id(1, 2))).unwrap();
        let other = store.0.journal.group(2);
        other.purge(log_id(3, 77)).unwrap();
        stop(&store, threads);
    }
    let (disk, env) = on_files(dir.path());
    let (store, threads) = start(disk, env);
    let journal = store.0.journal.group(1);
    assert_eq!(journal.vote(), Some(Vote::new_committed(4, 9)));
    assert_eq!(journal.committed(), Some(log_id(1, 100)));
    assert_eq!(store.0.journal.group(2).ends().last, Some(log_id(3, 77)));
    assert_eq!(store.0.journal.group(3).ends().last, Some(log_id(1, 2)));
    let mut log: LogStore<TokioRuntime> = store.log(1);
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 20)));
    assert_eq!(state.last_log_id, Some(log_id(2, 151)));
    let entries = log.try_get_log_entries(..).await.unwrap();
    let wanted: Vec<_> = (21..150)
        .map(|n| entry(1, n, 300))
        .chain([150, 151].map(|n| entry(2, n, 300)))
        .collect();
    assert_eq!(entries, wanted);
    assert!(store.metrics().read().tail_bytes < 16 << 10);
    stop(&store, threads);
}

#[tokio::test]
async fn limited_reads_stop_and_never_return_nothing() {
    let (store, threads) = start(Arc::new(SimDisk::new(3)), memory());
    let mut log: LogStore<TokioRuntime> = store.log(1);
    let journal = store.0.journal.group(1);
    for index in 0..1000 {
        journal
            .append(vec![entry(1, index, 4_000)], nothing())
            .unwrap();
    }
    let entries = log.limited_get_log_entries(0, 1000).await.unwrap();
    assert!((200..=270).contains(&entries.len()), "{}", entries.len());
    assert_eq!(
        log.limited_get_log_entries(999, 1000).await.unwrap().len(),
        1
    );
    assert_eq!(log.try_get_log_entries(0..1000).await.unwrap().len(), 1000);
    stop(&store, threads);
}

/// Waits until nobody has used the disk for longer than any loop pauses.
async fn quiet(disk: &SimDisk) {
    let mut before = None;
    while before != Some(disk.calls()) {
        before = Some(disk.calls());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn a_failed_sync_stops_the_store_for_good() {
    let disk = SimDisk::new(4);
    let (store, threads) = start(Arc::new(disk.clone()), memory());
    let journal = store.0.journal.group(1);
    let (done, told) = notice();
    journal.save_vote(Vote::new(1, 1), done).unwrap();
    told.await.unwrap().unwrap();
    // The mover makes a spare file, and syncs that.
    quiet(&disk).await;
    disk.set_faults(SimFaults {
        fail_sync: true,
        ..SimFaults::default()
    });
    let (done, told) = notice();
    journal.append(vec![entry(1, 0, 10)], done).unwrap();
    assert!(told.await.unwrap().is_err());
    let failure = store.failure().wait().await;
    assert!(
        failure.to_string().contains("sync of journal/"),
        "{failure}"
    );
    quiet(&disk).await;
    let syncs = disk.calls().1;
    disk.set_faults(SimFaults::default());
    journal
        .append(vec![entry(1, 1, 10)], nothing())
        .unwrap_err();
    stop(&store, threads);
    assert_eq!(disk.calls().1, syncs, "a failed sync is never tried again");
}

#[tokio::test]
async fn a_full_disk_delays_an_append_and_fails_none() {
    let disk = SimDisk::new(5);
    let (store, threads) = start(Arc::new(disk.clone()), memory());
    let journal = store.0.journal.group(1);
    disk.set_faults(SimFaults {
        full: true,
        ..SimFaults::default()
    });
    let acknowledged = Arc::new(AtomicU64::new(0));
    for index in 0..40 {
        let acknowledged = acknowledged.clone();
        let done: Done = Box::new(move |done| {
            done.unwrap();
            acknowledged.fetch_add(1, Ordering::Relaxed);
        });
        journal.append(vec![entry(1, index, 4_000)], done).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(acknowledged.load(Ordering::Relaxed) < 40);
    assert!(store.metrics().read().space_waits > 0);
    assert!(store.failure().get().is_none());
    disk.set_faults(SimFaults::default());
    let (done, told) = notice();
    journal.append(vec![entry(1, 40, 10)], done).unwrap();
    told.await.unwrap().unwrap();
    assert_eq!(acknowledged.load(Ordering::Relaxed), 40);
    stop(&store, threads);
}

#[tokio::test]
async fn a_flipped_bit_before_the_end_is_damage_with_its_place() {
    let disk = SimDisk::new(6);
    let (store, threads) = start(Arc::new(disk.clone()), memory());
    for index in 0..60 {
        let (done, told) = notice();
        store
            .0
            .journal
            .group(1)
            .append(vec![entry(1, index, 500)], done)
            .unwrap();
        told.await.unwrap().unwrap();
    }
    stop(&store, threads);
    let length = disk.contents("journal/00000000").unwrap().len();
    let mut found = 0;
    // Every kind of byte: headers of segment, frame and record, data, padding.
    for offset in (0..length).step_by(97) {
        disk.flip("journal/00000000", offset, 3);
        match Store::open(Arc::new(disk.clone()), memory(), &small()) {
            Err(StoreError::Damage(damage)) => {
                assert!(damage.file.starts_with("journal/"), "{damage}");
                found += 1;
            }
            Ok((store, _)) => {
                // Only bytes that mean nothing may be changed unseen.
                assert_eq!(store.0.journal.group(1).ends().last, Some(log_id(1, 59)));
            }
            Err(error) => panic!("{error}"),
        }
        disk.flip("journal/00000000", offset, 3);
    }
    assert!(found > 80, "{found} of {}", length / 97);
}

#[tokio::test]
async fn a_missing_segment_is_damage() {
    let disk = SimDisk::new(8);
    let (store, threads) = start(Arc::new(disk.clone()), memory());
    for index in 0..200 {
        let (done, told) = notice();
        store
            .0
            .journal
            .group(1)
            .append(vec![entry(1, index, 500)], done)
            .unwrap();
        told.await.unwrap().unwrap();
    }
    stop(&store, threads);
    crate::store::disk::Disk::remove(&disk, "journal/00000002").unwrap();
    let error = Store::open(Arc::new(disk), memory(), &small())
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::Damage(_)), "{error}");
}
