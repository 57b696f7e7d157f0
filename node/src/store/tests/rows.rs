//! Rows, payloads and the turnover of segments.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use roadstead_core::kv::{Kv, MemoryKv};
use roadstead_core::shard::PayloadRef;

use super::{entry, log_id, on_files, start, stop};
use crate::raft::types::GroupId;
use crate::store::check::{self, Outcome};
use crate::store::disk::SimDisk;
use crate::store::env::{Env, LmdbEnv, MemoryEnv, Table};
use crate::store::log_store::notice;
use crate::store::{LivePayloads, Store};

fn all(kv: &dyn Kv, from: &[u8], end: &[u8], most: usize) -> Vec<(Vec<u8>, Bytes)> {
    let mut rows = Vec::new();
    kv.scan(from, end, &mut |key, value| {
        rows.push((key.to_vec(), value.clone()));
        if rows.len() < most {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })
    .unwrap();
    rows
}

#[tokio::test]
async fn rows_are_those_of_a_map_whatever_is_committed_when() {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    let dir = tempfile::tempdir().unwrap();
    let lmdb: Arc<dyn Env> = Arc::new(LmdbEnv::open(dir.path(), 1 << 30).unwrap());
    for env in [lmdb, Arc::new(MemoryEnv::default())] {
        let mut rng = StdRng::seed_from_u64(11);
        let (store, threads) = start(Arc::new(SimDisk::new(1)), env);
        let (mut rows, mut twin) = (store.rows(7).unwrap(), MemoryKv::new());
        for index in 0..400 {
            for _ in 0..rng.random_range(0..8) {
                let key = format!("k{:03}", rng.random_range(0..300));
                if rng.random_bool(0.3) {
                    rows.delete(key.as_bytes());
                    twin.delete(key.as_bytes());
                } else {
                    let value = Bytes::from(vec![index as u8; rng.random_range(0..40)]);
                    rows.put(key.as_bytes(), value.clone());
                    twin.put(key.as_bytes(), value);
                }
            }
            rows.finish_entry(log_id(1, index), None);
            if rng.random_bool(0.1) {
                store.flush().await.unwrap();
            }
            let a = format!("k{:03}", rng.random_range(0..300));
            let b = format!("k{:03}", rng.random_range(0..300));
            let most = rng.random_range(1..300);
            let (a, b) = (a.as_bytes(), b.as_bytes());
            assert_eq!(all(&rows, a, b, most), all(&twin, a, b, most));
            assert_eq!(rows.get(a).unwrap(), twin.get(a).unwrap());
        }
        assert_eq!(all(&rows, b"", b"z", 999), all(&twin, b"", b"z", 999));
        stop(&store, threads);
        assert_eq!(rows.durable().get(), Some(log_id(1, 399)));
    }
}

#[tokio::test]
async fn a_part_of_an_entry_is_never_durable() {
    let env = MemoryEnv::default();
    let (store, threads) = start(Arc::new(SimDisk::new(2)), Arc::new(env.clone()));
    let mut rows = store.rows(1).unwrap();
    rows.put(b"a", Bytes::from_static(b"1"));
    rows.finish_entry(log_id(1, 0), None);
    store.flush().await.unwrap();
    rows.put(b"b", Bytes::from_static(b"2"));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(env.count(Table::Rows), 1);
    rows.put(b"c", Bytes::from_static(b"3"));
    rows.finish_entry(log_id(1, 1), None);
    store.flush().await.unwrap();
    assert_eq!(env.count(Table::Rows), 3);
    stop(&store, threads);
}

/// Half of the payloads live on; purges what it is asked to.
struct Halves {
    store: Store,
    asked: Mutex<u64>,
}

fn payload(index: u64) -> PayloadRef {
    PayloadRef {
        index,
        offset: 10,
        len: 900,
    }
}

impl LivePayloads for Halves {
    fn live(&self, _: GroupId, first: u64, last: u64) -> Result<Vec<PayloadRef>, String> {
        Ok((first..=last)
            .filter(|index| index % 2 == 0)
            .map(payload)
            .collect())
    }

    fn purge_wanted(&self, group: GroupId, index: u64) {
        *self.asked.lock().unwrap() += 1;
        self.store
            .0
            .journal
            .group(group)
            .purge(log_id(1, index))
            .unwrap();
    }
}

#[tokio::test]
async fn segments_are_used_again_and_live_payloads_outlive_them() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (disk, env) = on_files(dir.path());
        let (store, threads) = start(disk, env);
        let mut rows = store.rows(1).unwrap();
        store.set_live_payloads(Arc::new(Halves {
            store: store.clone(),
            asked: Mutex::new(0),
        }));
        for index in 0..400 {
            let (done, told) = notice();
            store
                .0
                .journal
                .group(1)
                .append(vec![entry(1, index, 1_000)], done)
                .unwrap();
            told.await.unwrap().unwrap();
            rows.finish_entry(log_id(1, index), None);
        }
        store.flush().await.unwrap();
        for _ in 0..200 {
            if store.journal_bytes() <= 64 << 10 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let numbers = store.metrics().read();
        assert!(store.journal_bytes() <= 64 << 10, "{numbers:?}");
        assert!(numbers.segments_recycled > 10, "{numbers:?}");
        check_halves(&store).await;
        // A payload freed after it was moved goes with the next commit.
        rows.free(&[payload(0)]);
        rows.finish_entry(log_id(1, 400), None);
        store.flush().await.unwrap();
        store.payloads().get(1, vec![payload(0)]).await.unwrap_err();
        stop(&store, threads);
    }
    let (disk, env) = on_files(dir.path());
    let (store, threads) = start(disk, env);
    assert_eq!(store.rows(1).unwrap().applied(), Some(log_id(1, 400)));
    let refs: Vec<_> = (2..400).step_by(2).map(payload).collect();
    assert_eq!(store.payloads().get(1, refs).await.unwrap().len(), 199);
    stop(&store, threads);
}

async fn check_halves(store: &Store) {
    let refs: Vec<_> = (0..400).step_by(2).map(payload).collect();
    let found = store.payloads().get(1, refs.clone()).await.unwrap();
    for (at, bytes) in refs.iter().zip(found) {
        let openraft::EntryPayload::Normal(data) = entry(1, at.index, 1_000).payload else {
            panic!("an entry with data");
        };
        assert_eq!(bytes, data.0.slice(10..910), "{at:?}");
    }
    let gone = store.payloads().get(1, vec![payload(1)]).await.unwrap_err();
    assert!(
        gone.to_string().contains("freed or never written"),
        "{gone}"
    );
}

#[tokio::test]
async fn a_full_map_delays_rows_and_loses_none() {
    let env = MemoryEnv::default();
    let (store, threads) = start(Arc::new(SimDisk::new(3)), Arc::new(env.clone()));
    let mut rows = store.rows(1).unwrap();
    env.set_full(true);
    rows.put(b"a", Bytes::from_static(b"1"));
    rows.finish_entry(log_id(1, 0), None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(env.count(Table::Rows), 0);
    assert!(store.failure().get().is_none());
    env.set_full(false);
    store.flush().await.unwrap();
    assert_eq!(env.count(Table::Rows), 1);
    stop(&store, threads);
}

#[tokio::test]
async fn damage_of_the_state_file_is_found_before_it_is_mapped() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(check::walk(dir.path(), 1 << 30).unwrap(), Outcome::Clean);
    {
        let (disk, env) = on_files(dir.path());
        let (store, threads) = start(disk, env);
        let mut rows = store.rows(1).unwrap();
        for index in 0..2_000 {
            rows.put(format!("key{index}").as_bytes(), Bytes::from(vec![7; 100]));
            rows.finish_entry(log_id(1, index), None);
        }
        store.flush().await.unwrap();
        stop(&store, threads);
    }
    assert_eq!(check::walk(dir.path(), 1 << 30).unwrap(), Outcome::Clean);
    let path = dir.path().join("lmdb/data.mdb");
    let good = std::fs::read(&path).unwrap();
    let damages: BTreeMap<&str, Vec<u8>> = BTreeMap::from([
        ("cut", good[..good.len() / 2].to_vec()),
        ("short", good[..5000].to_vec()),
        ("meta", [&[0; 4096][..], &good[4096..]].concat()),
    ]);
    for (name, bytes) in damages {
        std::fs::write(&path, bytes).unwrap();
        let found = check::shape(dir.path()).unwrap();
        assert!(
            matches!(found, Outcome::RebuildLmdb(_) | Outcome::Short(_)),
            "{name}: {found:?}"
        );
    }
    let old = dir.path().join("lmdb-damaged/data.mdb");
    for _ in 0..2 {
        // Once more: what an earlier start took away makes room.
        check::drop_lmdb(dir.path()).unwrap();
        assert!(old.exists() && !path.exists());
        std::fs::create_dir(dir.path().join("lmdb")).unwrap();
        std::fs::write(&path, &good).unwrap();
    }
    check::forget_lmdb(dir.path()).unwrap();
    check::forget_lmdb(dir.path()).unwrap();
    assert!(!old.exists() && path.exists());
    let aside = check::set_aside(dir.path()).unwrap();
    assert!(aside.join("lmdb/data.mdb").exists() && !path.exists());
}

#[test]
fn a_directory_that_was_half_set_aside_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let write = |name: &str| std::fs::write(root.join(name), name).unwrap();
    std::fs::create_dir(root.join("journal")).unwrap();
    for name in ["identity", "identity.successor", "journal/00000000", "lock"] {
        write(name);
    }
    check::finish_set_aside(root).unwrap();
    assert!(root.join("identity").exists(), "it has not begun");
    // What is left when it is cut short after its first step.
    std::fs::create_dir(root.join("damaged-0")).unwrap();
    std::fs::rename(root.join("identity"), root.join("damaged-0/identity")).unwrap();
    check::finish_set_aside(root).unwrap();
    check::finish_set_aside(root).unwrap();
    let mut left: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        ["damaged-0", "damaged-1", "identity.successor", "lock"]
    );
    assert!(root.join("damaged-1/journal/00000000").exists());
}
