//! Nodes that are killed, fall behind and come back.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "controls")]
use roadstead_node::controls::{Controls, Protection};
use roadstead_node::raft::Group;
use roadstead_tests::live::cluster::until;
use roadstead_tests::live::load::QUEUE;
use roadstead_tests::live::{LiveCluster, Load};

#[cfg(feature = "controls")]
use super::with_queue;
use super::{ending, found, settle, small};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_loses_nothing() {
    let cluster = found(3, small()).await;
    let load = Load::start(&cluster, 100);
    for shard in 1..=2 {
        load.flows(200).await.expect("traffic flows");
        let victim = cluster.until_led(shard).await.expect("the shard is led");
        println!("host {victim}, leader of shard {shard}, is killed");
        cluster.hosts[victim].kill();
        load.flows(200).await.expect("traffic flows without it");
        cluster.hosts[victim]
            .start()
            .await
            .expect("it starts again");
        cluster.until_ready().await.expect("it catches up");
    }
    settle(&cluster, load).await;
}

/// The control run: followers that acknowledge entries and do not keep them.
#[cfg(feature = "controls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_entries_on_followers_a_killed_leader_loses_messages() {
    let controls = Controls::without(Protection::Append);
    let cluster = LiveCluster::found_with(3, small(), controls);
    let cluster = Arc::new(with_queue(cluster.await).await);
    let load = Load::start(&cluster, 100);
    load.flows(1_000).await.expect("traffic flows");
    let victim = cluster.until_led(1).await.expect("the shard is led");
    cluster.hosts[victim].kill();
    load.flows(200).await.expect("traffic flows without it");
    let found = load.stop(&cluster).await.expect("the load comes to an end");
    println!("control, followers forget: {} violations", found.len());
    // A message or an ack: which of them the leader alone had is chance.
    assert!(!found.is_empty(), "nothing was missed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_fell_behind_gets_a_snapshot_while_segments_are_recycled() {
    let cluster = found(3, small()).await;
    let load = Load::start(&cluster, 2_000);
    load.flows(200).await.expect("traffic flows");
    let leader = cluster.until_led(1).await.expect("shard 1 is led");
    let follower = (leader + 1) % 3;
    let node = cluster.hosts[follower].node().expect("it runs");
    let had = node
        .groups()
        .get(1)
        .expect("it holds shard 1")
        .applied_index();
    drop(node);
    cluster.hosts[follower].kill();
    until("the leader's log to be purged", || {
        let leader = cluster
            .leader_of(1)
            .and_then(|host| cluster.hosts[host].node());
        let leader = leader.ok_or("no leader")?;
        let recycled = leader.store().metrics().read().segments_recycled;
        let purged = purged_index(&leader);
        let is_past = purged > had && recycled > 0;
        if is_past {
            Ok(())
        } else {
            Err(format!("{purged} purged, {recycled} recycled"))
        }
    })
    .await
    .expect("what it lacks is gone from the log");
    cluster.hosts[follower]
        .start()
        .await
        .expect("it starts again");
    cluster
        .until_ready()
        .await
        .expect("it catches up by a snapshot");
    settle(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_comes_back_from_its_disks() {
    let cluster = found(3, small()).await;
    let load = Load::start(&cluster, 100);
    load.flows(300).await.expect("traffic flows");
    for host in &cluster.hosts {
        host.kill();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    for host in &cluster.hosts {
        host.start().await.expect("it starts again");
    }
    cluster
        .until_ready()
        .await
        .expect("all are back after a crash of all");
    load.flows(100).await.expect("traffic flows");
    settle(&cluster, load).await;
    for host in &cluster.hosts {
        host.shutdown().await;
    }
    for host in &cluster.hosts {
        host.start().await.expect("it starts again");
    }
    cluster
        .until_ready()
        .await
        .expect("all are back after an orderly stop");
    let stats = cluster.stats(QUEUE).await.expect("the queue is there");
    assert_eq!(stats.ready + stats.in_flight, 0, "{stats:?}");
    assert!(stats.acked_total > 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_group_that_has_ended_stops_serving() {
    let cluster = LiveCluster::found(3, small())
        .await
        .expect("a cluster is founded");
    let host = &cluster.hosts[0];
    host.run(async |node| {
        let group = node.groups().get(1).expect("it holds shard 1");
        group.raft().shutdown().await.expect("its task ends");
    })
    .await
    .expect("it runs");
    let ending = ending(host).await;
    assert!(ending.why.contains("group 1 has ended"), "{ending:?}");
    assert!(ending.in_order, "its other groups can be handed over");
    host.run(async |node| {
        let moved = node.hand_over(Duration::from_secs(5)).await;
        assert!(!moved.contains(&1), "{moved:?}");
        let leads = |group: &Arc<Group<_>>| group.leadership().is_leader;
        assert!(!node.groups().all().iter().any(leads), "it leads nothing");
    })
    .await
    .expect("it runs");
}

fn purged_index(node: &roadstead_tests::live::host::LiveNode) -> u64 {
    use openraft::async_runtime::WatchReceiver as _;
    let Some(group) = node.groups().get(1) else {
        return 0;
    };
    let metrics = group.raft().metrics();
    let seen = metrics.borrow_watched();
    seen.purged.map_or(0, |id| id.index)
}
