//! Bits that are wrong on one disk: the node finds them, and mends or gives up what it holds, while
//! the others go on; where they cannot do without it, it says so and stays as it is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::prober::Probers;
use super::process::Cluster;
use super::{ALONE, PARTITIONS};

/// The journal is so short that it soon begins later than the rows.
const SHORT: &[&str] = &["--segment-size", "1Mi", "--journal-window", "2Mi"];
/// Messages of 1 KiB that fill its segments several times.
const SENT: usize = 12_288;

/// As `SHORT`, and what is on disk is read again all the time.
const SCRUBBED: &[&str] = &[
    "--segment-size",
    "1Mi",
    "--journal-window",
    "2Mi",
    "--scrub-rate",
    "64Mi",
    "--scrub-interval",
    "1s",
];

async fn start(flags: &'static [&'static str]) -> (Cluster, Probers) {
    let cluster = Cluster::start(flags).await;
    cluster.create_queue(PARTITIONS).await;
    let probers = Probers::start(&cluster, PARTITIONS);
    (cluster, probers)
}

/// Kills the node that leads most shards, once its journal begins later than its rows; which one,
/// and its id.
async fn kill_busiest(cluster: &mut Cluster, probers: &Probers) -> (usize, u64) {
    let node = cluster.busiest().await;
    let id = cluster.node_id(node).await;
    until_recycled(cluster, probers).await;
    cluster.kill(node);
    (node, id)
}

/// Every message that was acknowledged is there, once; how many.
async fn settle(cluster: &Cluster, probers: Probers) -> u64 {
    cluster.wait_until_redundant().await;
    let acknowledged = probers.stop().await;
    let found = cluster.ready_messages().await;
    println!("acknowledged={acknowledged} found={found}");
    assert_eq!(found, acknowledged, "every acknowledged message once");
    found
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("journal")).unwrap();
    let mut segments: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    segments
}

/// Flips bits from `first` on, so that some are not padding.
fn rot(path: &Path, first: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    for offset in (first..first + 1_200).step_by(150) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    }
}

/// Flips bits in the middle of what each segment holds; a file that waits to be used again does not
/// say so.
fn damage_journal(data: &Path) {
    for segment in segments(data) {
        let bytes = fs::read(&segment).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if used > 4_096 {
            rot(&segment, used as u64 / 2);
        }
    }
}

/// Nothing but the rows is gone: what the journal does not have any more comes from other nodes,
/// and the node stays who it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_rows_are_made_anew() {
    let _alone = ALONE.lock().await;
    let (mut cluster, probers) = start(SHORT).await;
    let (node, id) = kill_busiest(&mut cluster, &probers).await;
    let rows = cluster.data(node).join("lmdb/data.mdb");
    File::options()
        .write(true)
        .open(&rows)
        .unwrap()
        .set_len(5_000)
        .unwrap();
    cluster.start_node(node);
    let log = cluster.logged(node, "rows fetched").await;
    assert!(log.contains("LMDB is damaged"), "{log}");
    cluster.wait_until_redundant().await;
    assert_eq!(cluster.node_id(node).await, id, "it is the same node");
    settle(&cluster, probers).await;
}

/// It could have acknowledged what it does not have any more: it must not vote again. One node's
/// journal is damaged while it does not run; then another's rots while it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_given_up_and_a_new_node_comes() {
    let _alone = ALONE.lock().await;
    let (mut cluster, probers) = start(SCRUBBED).await;
    let (killed, id) = kill_busiest(&mut cluster, &probers).await;
    damage_journal(&cluster.data(killed));
    cluster.start_node(killed);
    another_comes(&cluster, killed, id).await;
    // With nothing more to write, what has rotted is not written over before it is found.
    let found = settle(&cluster, probers).await;
    let rotten = (killed + 1) % 3;
    let id = cluster.node_id(rotten).await;
    damage_journal(&cluster.data(rotten));
    another_comes(&cluster, rotten, id).await;
    let log = cluster.logged(rotten, "the former node is out").await;
    assert!(log.contains("the scrubber has found damage"), "{log}");
    assert_eq!(cluster.ready_messages().await, found);
}

/// A node with the id `former` has been replaced.
async fn another_comes(cluster: &Cluster, node: usize, former: u64) {
    cluster.logged(node, "the data is set aside").await;
    cluster.logged(node, "the former node is out").await;
    cluster.wait_until_redundant().await;
    assert_ne!(cluster.node_id(node).await, former, "it is another node");
    assert!(!cluster.members().await.contains(&former));
    let kept = cluster.data(node).join("damaged-0/journal");
    assert!(kept.exists(), "what it had is kept");
}

/// Its disk reads well again before its data was renamed. As long as the others cannot do without
/// it, it serves on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_given_up_comes_back_as_another() {
    let _alone = ALONE.lock().await;
    let (mut cluster, probers) = start(SHORT).await;
    let (given_up, id) = kill_busiest(&mut cluster, &probers).await;
    cluster.give_up(id).await;
    let other = (given_up + 1) % 3;
    cluster.kill(other);
    // The catalog's leader counts on whoever has reported within 2.5 s.
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.start_node(given_up);
    probers.wait_until_answered().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(cluster.node_id(given_up).await, id, "it is needed");
    probers.wait_until_answered().await;
    cluster.start_node(other);
    another_comes(&cluster, given_up, id).await;
    settle(&cluster, probers).await;
}

/// Of two damaged nodes of three none may go: the majority of some group would be gone for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_damaged_nodes_of_three_stay_as_they_are() {
    let _alone = ALONE.lock().await;
    let (mut cluster, probers) = start(SHORT).await;
    until_recycled(&cluster, &probers).await;
    probers.stop().await;
    for node in [0, 1] {
        cluster.kill(node);
        damage_journal(&cluster.data(node));
    }
    let kept = [0, 1].map(|node| segments(&cluster.data(node)));
    for node in [0, 1] {
        cluster.start_node(node);
    }
    for node in [0, 1] {
        assert!(!cluster.ended(node).await, "it must not go on");
        let log = cluster.logged(node, "set-aside").await;
        assert!(log.contains("is damaged at byte"), "{log}");
        assert_eq!(segments(&cluster.data(node)), kept[node]);
        assert!(!cluster.data(node).join("damaged-0").exists());
    }
}

/// Waits until more was sent than a journal keeps, so that its segments were used again.
async fn until_recycled(cluster: &Cluster, probers: &Probers) {
    while probers.answers().iter().map(Vec::len).sum::<usize>() < SENT {
        probers.wait_until_answered().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for node in 0..3 {
        let kept = segments(&cluster.data(node)).len();
        assert!(
            kept <= SENT / 2_048,
            "node-{} keeps {kept} segments",
            node + 1
        );
    }
}
