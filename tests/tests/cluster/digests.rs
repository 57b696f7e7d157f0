//! Rows that rot on one replica, and nobody's checksum tells.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use roadstead_core::kv::Kv;
use roadstead_node::raft::types::GroupId;
use roadstead_tests::live::cluster::until;
use roadstead_tests::live::{LiveCluster, LiveHost, Load};

use super::{digests, ending, found, settle_damaged, small};

/// Changes a row of a shard that its machine has in memory too, behind its back.
fn rot(host: &LiveHost, shard: GroupId) {
    let node = host.node().expect("it runs");
    let group = node.groups().get(shard).expect("it holds the shard");
    let mut applied = group.state().lock();
    let (first, end) = ([2], [3]);
    let mut row = None;
    let seen = applied.rows.scan(&first, &end, &mut |key, value| {
        row = Some((key.to_vec(), value.to_vec()));
        ControlFlow::Break(())
    });
    seen.expect("rows can be read");
    let (key, mut value) = row.expect("the configuration of a partition");
    let last = value.last_mut().expect("it is not empty");
    *last ^= 1;
    applied.rows.put(&key, value.into());
}

/// All that run but this one serve.
fn others_serve(cluster: &LiveCluster, odd: usize) {
    for host in cluster.hosts.iter().filter(|host| host.index != odd) {
        let node = host.node().expect("it runs");
        assert_eq!(node.readiness(), Ok(()), "host {}", host.index);
    }
}

async fn stops(cluster: &LiveCluster, odd: usize) {
    let ending = ending(&cluster.hosts[odd]).await;
    println!("host {odd}: {}", ending.why);
    assert!(
        ending.why.contains("the rows of shard 1 differ"),
        "{ending:?}"
    );
    assert!(ending.why.contains("makes its rows anew"), "{ending:?}");
    assert!(!ending.in_order, "what it holds is not to be believed");
}

async fn is_found(cluster: &Arc<LiveCluster>, odd: usize) {
    let load = Load::start(cluster, 100);
    load.flows(200).await.expect("traffic flows");
    assert_eq!(digests(cluster).mismatched, 0, "before");
    rot(&cluster.hosts[odd], 1);
    stops(cluster, odd).await;
    cluster.hosts[odd].kill();
    load.flows(300).await.expect("the others go on");
    others_serve(cluster, odd);
    settle_damaged(cluster, load).await;
    others_serve(cluster, odd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_other_rows_stops_and_the_others_go_on() {
    let cluster = found(3, small()).await;
    let leader = cluster.until_led(1).await.expect("the shard is led");
    let catalog = cluster.until_led(0).await.expect("the catalog is led");
    let odd = (0..3).find(|host| ![leader, catalog].contains(host));
    is_found(&cluster, odd.expect("a third one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_other_rows_stops_and_the_others_go_on() {
    let cluster = found(3, small()).await;
    let leader = cluster.until_led(1).await.expect("the shard is led");
    is_found(&cluster, leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_the_catalog_finds_itself() {
    let cluster = found(3, small()).await;
    let leader = cluster.until_led(0).await.expect("the catalog is led");
    is_found(&cluster, leader).await;
}

/// Of two nobody can say which is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_differ_none_stops_before_the_third_is_heard() {
    let cluster = found(3, small()).await;
    let load = Load::start(&cluster, 100);
    load.flows(200).await.expect("traffic flows");
    let leader = cluster.until_led(1).await.expect("the shard is led");
    let (away, odd) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.hosts[away].kill();
    load.flows(100).await.expect("two go on");
    rot(&cluster.hosts[odd], 1);
    until("a difference to be seen", || {
        match digests(&cluster).mismatched {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    })
    .await
    .expect("it is seen");
    tokio::time::sleep(Duration::from_secs(3)).await;
    for host in [leader, odd] {
        let node = cluster.hosts[host].node().expect("it runs");
        assert_eq!(node.readiness(), Ok(()), "host {host}");
    }
    cluster.hosts[away].start().await.expect("it starts again");
    stops(&cluster, odd).await;
    cluster.hosts[odd].kill();
    load.flows(100).await.expect("the others go on");
    others_serve(&cluster, odd);
    settle_damaged(&cluster, load).await;
}
