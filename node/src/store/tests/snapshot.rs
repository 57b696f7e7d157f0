//! Snapshots from one store to another.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_core::kv::Kv;
use roadstead_core::shard::PayloadRef;

use super::{entry, log_id, start, stop};
use crate::store::Store;
use crate::store::disk::SimDisk;
use crate::store::env::{MemoryEnv, Table};
use crate::store::log_store::notice;

fn count(kv: &dyn Kv) -> usize {
    let mut count = 0;
    kv.scan(b"", b"\xFF", &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    count
}

async fn filled(seed: u64) -> (Store, crate::store::drivers::StoreThreads, Vec<PayloadRef>) {
    let (store, threads) = start(Arc::new(SimDisk::new(seed)), Arc::new(MemoryEnv::default()));
    let mut rows = store.rows(4).unwrap();
    let mut live = Vec::new();
    for index in 0..100 {
        let (done, told) = notice();
        store
            .0
            .journal
            .group(4)
            .append(vec![entry(1, index, 5_000)], done)
            .unwrap();
        told.await.unwrap().unwrap();
        rows.put(
            format!("key{index:03}").as_bytes(),
            Bytes::from(vec![1; 500]),
        );
        rows.finish_entry(log_id(1, index), None);
        live.push(PayloadRef {
            index,
            offset: 0,
            len: 5_000,
        });
    }
    (store, threads, live)
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_the_old_state_at_once() {
    let (from, from_threads, live) = filled(1).await;
    let env = MemoryEnv::default();
    let (to, to_threads) = start(Arc::new(SimDisk::new(2)), Arc::new(env.clone()));
    let mut old = to.rows(4).unwrap();
    old.put(b"old", Bytes::from_static(b"row"));
    old.finish_entry(log_id(1, 3), None);
    let mut rows = from.rows(4).unwrap();
    let mut reader = from
        .open_snapshot(rows.capture(live.clone()).unwrap())
        .await
        .unwrap();
    // What happens after the capture is not in it, and what it names stays readable.
    rows.put(b"later", Bytes::new());
    rows.free(&live[..50]);
    rows.finish_entry(log_id(1, 100), None);
    from.flush().await.unwrap();
    let mut installer = to.begin_install(4).unwrap();
    while let Some(chunk) = reader.next().await.unwrap() {
        assert!(chunk.len() <= 256 << 10);
        installer.write(chunk).await.unwrap();
    }
    let staged = installer.finish().unwrap();
    assert_eq!(staged.info().applied, Some(log_id(1, 99)));
    assert_eq!(count(&old), 1);
    to.install(staged).await.unwrap();
    assert_eq!((count(&old), old.applied()), (100, Some(log_id(1, 99))));
    let payloads = to.payloads().get(4, live.clone()).await.unwrap();
    assert_eq!(payloads, from.payloads().get(4, live).await.unwrap());
    for _ in 0..100 {
        if env.count(Table::Rows) == 100 && env.count(Table::Garbage) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (env.count(Table::Rows), env.count(Table::Garbage)),
        (100, 0)
    );
    drop(reader);
    stop(&from, from_threads);
    stop(&to, to_threads);
}

#[tokio::test]
async fn a_snapshot_cut_or_changed_on_the_way_is_refused_and_cleared_away() {
    let (from, from_threads, live) = filled(3).await;
    let env = MemoryEnv::default();
    let (to, to_threads) = start(Arc::new(SimDisk::new(4)), Arc::new(env.clone()));
    let rows = from.rows(4).unwrap();
    let mut reader = from
        .open_snapshot(rows.capture(live).unwrap())
        .await
        .unwrap();
    let mut installer = to.begin_install(4).unwrap();
    let first = reader.next().await.unwrap().unwrap();
    let mut changed = first.to_vec();
    changed[40] ^= 1;
    assert!(installer.write(changed.into()).await.is_err());
    installer.write(first).await.unwrap();
    let mut last = None;
    while let Some(chunk) = reader.next().await.unwrap() {
        last = Some(chunk);
    }
    assert!(
        installer.write(last.unwrap()).await.is_err(),
        "payloads are missing"
    );
    assert!(installer.finish().is_err());
    for _ in 0..100 {
        if env.count(Table::Rows) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(env.count(Table::Rows), 0);
    drop(reader);
    stop(&from, from_threads);
    stop(&to, to_threads);
}

#[tokio::test]
async fn payloads_freed_while_a_snapshot_is_sent_stay_until_it_is_over() {
    let (from, from_threads, live) = filled(5).await;
    let env = MemoryEnv::default();
    let (to, to_threads) = start(Arc::new(SimDisk::new(6)), Arc::new(env.clone()));
    let rows = from.rows(4).unwrap();
    let mut reader = from
        .open_snapshot(rows.capture(live.clone()).unwrap())
        .await
        .unwrap();
    let mut installer = to.begin_install(4).unwrap();
    while let Some(chunk) = reader.next().await.unwrap() {
        installer.write(chunk).await.unwrap();
    }
    to.install(installer.finish().unwrap()).await.unwrap();
    // All payloads are in the environment of the second store now.
    let mut rows = to.rows(4).unwrap();
    let mut reader = to
        .open_snapshot(rows.capture(live.clone()).unwrap())
        .await
        .unwrap();
    rows.free(&live);
    rows.finish_entry(log_id(1, 100), None);
    to.flush().await.unwrap();
    let mut chunks = 0;
    while reader.next().await.unwrap().is_some() {
        chunks += 1;
    }
    assert!(chunks > 3);
    drop(reader);
    for _ in 0..100 {
        if env.count(Table::Payloads) == 0 && env.count(Table::Garbage) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (env.count(Table::Payloads), env.count(Table::Garbage)),
        (0, 0)
    );
    stop(&from, from_threads);
    stop(&to, to_threads);
}

/// Copies the state of group 4.
async fn copy(from: &Store, live: Vec<PayloadRef>, to: &Store) {
    let capture = from.rows(4).unwrap().capture(live).unwrap();
    let mut reader = from.open_snapshot(capture).await.unwrap();
    let mut installer = to.begin_install(4).unwrap();
    while let Some(chunk) = reader.next().await.unwrap() {
        installer.write(chunk).await.unwrap();
    }
    to.install(installer.finish().unwrap()).await.unwrap();
}

#[tokio::test]
async fn rows_that_were_lost_come_back_and_what_was_never_committed_goes() {
    let (from, from_threads, live) = filled(3).await;
    // Terms of its own entries, and whether these stand against the state up to 99 of term 1.
    for (term, is_cut) in [(0, true), (1, false)] {
        let (to, to_threads) = start(Arc::new(SimDisk::new(4)), Arc::new(MemoryEnv::default()));
        let journal = to.0.journal.group(4);
        let (done, told) = notice();
        let entries = (0..120).map(|index| entry(term, index, 100)).collect();
        journal.append(entries, done).unwrap();
        told.await.unwrap().unwrap();
        journal.purge(log_id(term, 10)).unwrap();
        assert_eq!(to.lost_groups().unwrap(), [(4, log_id(term, 10))]);
        let refused = to.rows(4).map(drop).unwrap_err().to_string();
        assert!(refused.contains("its log begins after"), "{refused}");
        copy(&from, live.clone(), &to).await;
        assert_eq!(to.lost_groups().unwrap(), []);
        to.cut_tails().unwrap();
        let last = if is_cut { 10 } else { 119 };
        assert_eq!(journal.ends().last, Some(log_id(term, last)));
        assert_eq!(count(&to.rows(4).unwrap()), 100);
        stop(&to, to_threads);
    }
    stop(&from, from_threads);
}
