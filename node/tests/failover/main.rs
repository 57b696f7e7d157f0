//! Real node processes on loopback, and a prober per partition: leaders are killed with SIGKILL, or
//! told to stop. How long is there no answer, and is everything that was acknowledged still there?
//!
//! `ROADSTEAD_KILLS=30 cargo test -p roadstead-node --test failover -- --nocapture` prints the
//! figures of `bench/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a test says what it measured, and fails by a panic"
)]

mod certificates;
mod damage;
mod prober;
mod process;

use std::time::{Duration, Instant};

use prober::{Probers, gap_around};
use process::Cluster;

const PARTITIONS: u32 = 8;
/// How long the probers go on after a node is gone, before it comes back.
const WATCHED: Duration = Duration::from_secs(5);
/// Longer than any election: what takes longer is a failure, not a slow machine.
const LONGEST: Duration = Duration::from_secs(20);

/// More than a hand-over takes on a busy machine, and less than an election.
const HANDED_OVER: Duration = Duration::from_secs(1);
/// The machine is measured by one test at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How a node goes.
#[derive(Debug, Clone, Copy)]
enum Exit {
    Killed,
    Terminated,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_go_and_nothing_acknowledged_is_lost() {
    let kills = std::env::var("ROADSTEAD_KILLS").map_or(3, |text| text.parse().unwrap());
    let _alone = ALONE.lock().await;
    let mut cluster = Cluster::start(&[]).await;
    cluster.create_queue(PARTITIONS).await;
    let probers = Probers::start(&cluster, PARTITIONS);
    for exit in [Exit::Killed, Exit::Terminated] {
        let mut gaps = Vec::new();
        for _ in 0..kills {
            gaps.push(gap_after(exit, &mut cluster, &probers).await);
        }
        gaps.sort();
        let at = |share: usize| gaps[(gaps.len() * share).div_ceil(100).max(1) - 1];
        println!(
            "{exit:?} times={} gap p50={:.2?} p95={:.2?} max={:.2?}",
            gaps.len(),
            at(50),
            at(95),
            at(100),
        );
        assert!(at(100) < LONGEST);
        if matches!(exit, Exit::Terminated) {
            assert!(at(50) < HANDED_OVER, "the leaders were not handed over");
        }
    }
    cluster.wait_until_redundant().await;
    let acknowledged = probers.stop().await;
    let found = cluster.ready_messages().await;
    println!("acknowledged={acknowledged} found={found}");
    assert_eq!(found, acknowledged, "every acknowledged message once");
}

/// The control run: a node that hands nothing over before it stops leaves as long a gap as one that
/// is killed.
#[cfg(feature = "controls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_hand_over_there_is_a_gap() {
    let _alone = ALONE.lock().await;
    let mut cluster = Cluster::start(&["--without", "hand-over"]).await;
    cluster.create_queue(PARTITIONS).await;
    let probers = Probers::start(&cluster, PARTITIONS);
    let gap = gap_after(Exit::Terminated, &mut cluster, &probers).await;
    println!("control, no hand-over: gap {gap:.2?}");
    assert!(gap > HANDED_OVER, "{gap:?}: the test would notice nothing");
    probers.stop().await;
}

/// The longest time without an answer when the busiest node goes, and again when it comes back.
async fn gap_after(exit: Exit, cluster: &mut Cluster, probers: &Probers) -> Duration {
    cluster.wait_until_redundant().await;
    probers.wait_until_answered().await;
    let node = cluster.busiest().await;
    let at = Instant::now();
    match exit {
        Exit::Killed => cluster.kill(node),
        Exit::Terminated => cluster.terminate(node).await,
    }
    tokio::time::sleep(WATCHED).await;
    probers.wait_until_answered().await;
    let gap = gap_around(at, &probers.answers());
    println!("node-{} {exit:?}: no answer for {gap:.2?}", node + 1);
    cluster.start_node(node);
    gap
}
