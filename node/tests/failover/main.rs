//! Real node processes on loopback whose leaders are killed with SIGKILL, and a prober per
//! partition: how long is there no answer, and is everything that was acknowledged still there?
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
mod prober;
mod process;

use std::time::{Duration, Instant};

use prober::{Probers, gap_around};
use process::Cluster;

const PARTITIONS: u32 = 8;
/// How long the probers go on after a kill, before the node comes back.
const WATCHED: Duration = Duration::from_secs(5);
/// Longer than any election: what takes longer is a failure, not a slow machine.
const LONGEST: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leaders_are_replaced_and_nothing_acknowledged_is_lost() {
    let kills = std::env::var("ROADSTEAD_KILLS").map_or(3, |text| text.parse().unwrap());
    let mut cluster = Cluster::start().await;
    cluster.create_queue(PARTITIONS).await;
    let probers = Probers::start(&cluster, PARTITIONS);
    let mut gaps = Vec::new();
    for _ in 0..kills {
        cluster.wait_until_redundant().await;
        probers.wait_until_answered().await;
        let victim = cluster.busiest().await;
        let at = Instant::now();
        cluster.kill(victim);
        tokio::time::sleep(WATCHED).await;
        probers.wait_until_answered().await;
        let gap = gap_around(at, &probers.answers());
        println!("node-{} killed: no answer for {gap:.2?}", victim + 1);
        gaps.push(gap);
        cluster.start_node(victim);
    }
    cluster.wait_until_redundant().await;
    let acknowledged = probers.stop().await;
    let found = cluster.ready_messages().await;
    gaps.sort();
    let at = |share: usize| gaps[(gaps.len() * share).div_ceil(100).max(1) - 1];
    println!(
        "kills={} gap p50={:.2?} p95={:.2?} max={:.2?} acknowledged={acknowledged} found={found}",
        gaps.len(),
        at(50),
        at(95),
        at(100),
    );
    assert_eq!(found, acknowledged, "every acknowledged message once");
    assert!(at(100) < LONGEST);
}
