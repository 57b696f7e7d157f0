//! Three nodes and more in one process, on real disks, through what happens to a cluster.

#![expect(clippy::print_stdout, reason = "says what ran")]

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "controls")]
use roadstead_node::controls::{Controls, Protection};
use roadstead_node::node::Ending;
use roadstead_node::raft::Group;
use roadstead_node::store::StoreOptions;
use roadstead_proto::v1::QueueSpec;
use roadstead_tests::live::cluster::until;
use roadstead_tests::live::load::{PARTITIONS, QUEUE};
use roadstead_tests::live::{LiveCluster, LiveHost, Load};

fn spec() -> QueueSpec {
    let lease = Some(prost_types::Duration {
        seconds: 3,
        nanos: 0,
    });
    let retries = Some(roadstead_proto::v1::RetryPolicy {
        max_deliveries: 1_000,
    });
    QueueSpec {
        partitions: PARTITIONS,
        lease,
        retries,
        ..QueueSpec::default()
    }
}

/// Segments so small that they are recycled within a story.
fn small() -> StoreOptions {
    StoreOptions {
        segment_bytes: 1 << 20,
        window_bytes: 2 << 20,
        tail_bytes: 1 << 20,
        reserve_bytes: 16 << 20,
        reserve_percent: 0,
        ..StoreOptions::default()
    }
}

async fn found(hosts: usize, options: StoreOptions) -> Arc<LiveCluster> {
    let cluster = LiveCluster::found(hosts, options)
        .await
        .expect("a cluster is founded");
    cluster
        .create(QUEUE, spec())
        .await
        .expect("a queue is created");
    Arc::new(cluster)
}

async fn settle(cluster: &Arc<LiveCluster>, load: Load) {
    let count = load.acknowledged();
    let violations = load.stop(cluster).await.expect("the load comes to an end");
    println!("{count} messages acknowledged");
    assert!(count > 0, "nothing was sent");
    assert_eq!(violations, [], "of {count} messages");
}

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
    let cluster = Arc::new(cluster.await.expect("a cluster is founded"));
    cluster
        .create(QUEUE, spec())
        .await
        .expect("a queue is created");
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

/// A time to live would end at once under a leader whose clock is right, after one whose was not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_handed_a_shard_before_its_first_entry_knows_the_time() {
    let cluster = LiveCluster::found(3, small())
        .await
        .expect("a cluster is founded");
    let before = cluster.until_led(1).await.expect("the shard is led");
    cluster.transfer(1).await.expect("it is handed over");
    until("another leader", || match cluster.leader_of(1) {
        Some(leader) if leader != before => Ok(()),
        leader => Err(format!("{leader:?} leads")),
    })
    .await
    .expect("somebody else leads");
    let leader = cluster.until_led(1).await.expect("the shard is led");
    let node = cluster.hosts[leader].node().expect("it runs");
    let group = node.groups().get(1).expect("it holds shard 1");
    let wall = std::time::UNIX_EPOCH.elapsed().expect("it is after 1970");
    let behind = wall.saturating_sub(Duration::from_millis(group.cluster_time()));
    assert!(behind < Duration::from_mins(1), "{behind:?} behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_under_traffic() {
    let cluster = found(3, small()).await;
    let load = Load::start(&cluster, 100);
    for group in [1, 2, 3, 0, 1] {
        load.flows(100).await.expect("traffic flows");
        let before = cluster.until_led(group).await.expect("the group is led");
        cluster.transfer(group).await.expect("it is handed over");
        until("another leader", || match cluster.leader_of(group) {
            Some(leader) if leader != before => Ok(()),
            leader => Err(format!("{leader:?} leads")),
        })
        .await
        .expect("somebody else leads");
    }
    settle(&cluster, load).await;
}

/// A node hands over because it is about to stop, mostly. The catalog's leader looks every second,
/// and would even out what this leaves uneven; an election, on a busy machine, may do the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_handed_over_gets_nothing_back_at_once() {
    let cluster = found(3, small()).await;
    let mut led = true;
    for attempt in 1..=3 {
        let host = cluster.until_led(1).await.expect("the shard is led");
        let handing = cluster.hosts[host]
            .run(|node| async move { node.hand_over(Duration::from_secs(10)).await });
        assert!(!handing.await.expect("it hands over").is_empty());
        let leads = || (0..=3).any(|group| cluster.leader_of(group) == Some(host));
        led = leads();
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            led |= leads();
        }
        println!("attempt {attempt}: host {host} leads again: {led}");
        if !led {
            break;
        }
    }
    assert!(!led, "it leads again, each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_and_another_is_drained_and_leaves() {
    let mut cluster = LiveCluster::found(3, small())
        .await
        .expect("a cluster is founded");
    cluster
        .create(QUEUE, spec())
        .await
        .expect("a queue is created");
    let new = cluster.add_host().await.expect("a fourth node starts");
    let cluster = Arc::new(cluster);
    let load = Load::start(&cluster, 100);
    load.flows(100).await.expect("traffic flows");
    cluster.join(new).await.expect("it joins");
    cluster.until_ready().await.expect("it is ready");
    let leaver = cluster.node_id(1);
    cluster.drain(leaver).await.expect("another one is drained");
    load.flows(100).await.expect("traffic flows");
    let drained = cluster.hosts[1].node().expect("it runs");
    until("it holds no shard", || match drained.groups().all().len() {
        0 | 1 => Ok(()),
        groups => Err(format!("{groups} groups")),
    })
    .await
    .expect("its replicas are let go");
    tokio::time::timeout(Duration::from_secs(1), drained.ending())
        .await
        .expect_err("a replica that is let go ends nothing else");
    cluster.remove(leaver).await.expect("it is removed");
    let members = cluster.members().await.expect("members are listed");
    assert_eq!(members.len(), 3, "{members:?}");
    assert!(members.iter().all(|member| member.node_id != leaver));
    settle(&cluster, load).await;
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

fn purged_index(node: &roadstead_tests::live::host::LiveNode) -> u64 {
    use openraft::async_runtime::WatchReceiver as _;
    let Some(group) = node.groups().get(1) else {
        return 0;
    };
    let metrics = group.raft().metrics();
    let seen = metrics.borrow_watched();
    seen.purged.map_or(0, |id| id.index)
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

/// Waits until the node stops serving by itself.
async fn ending(host: &LiveHost) -> Ending {
    let node = host.node().expect("it runs");
    tokio::time::timeout(Duration::from_secs(20), node.ending())
        .await
        .expect("the node stops serving")
}

async fn put_back_after(starts: u32) {
    let cluster = found(3, small()).await;
    let load = Load::start(&cluster, 100);
    load.flows(200).await.expect("traffic flows");
    let host = &cluster.hosts[2];
    host.kill();
    host.save().expect("its directory is copied");
    for _ in 0..starts {
        host.start().await.expect("it starts again");
        cluster.until_ready().await.expect("it catches up");
        load.flows(100).await.expect("traffic flows");
        host.kill();
    }
    host.put_back().expect("its directory is put back");
    host.start().await.expect("it starts over the old data");
    let why = ending(host).await.why;
    println!("after {starts} starts: {why}");
    assert!(
        why.contains("a peer has seen"),
        "before it took part: {why}"
    );
    load.flows(500).await.expect("the others go on");
    // Whoever restarts it changes nothing.
    for _ in 0..3 {
        host.kill();
        host.start().await.expect("it starts over the old data");
        ending(host).await;
    }
    load.flows(200).await.expect("the others go on");
    host.kill();
    settle(&cluster, load).await;
}

/// It has forgotten votes and messages: with it, a majority could lose what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_was_put_back_takes_no_part() {
    put_back_after(1).await;
    put_back_after(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_on_copies_of_a_volume_one_takes_part() {
    let mut cluster = LiveCluster::found(3, small())
        .await
        .expect("a cluster is founded");
    let original = &cluster.hosts[2];
    original.kill();
    let copy = original.save().expect("its directory is copied");
    original.start().await.expect("it starts again");
    cluster.until_ready().await.expect("it catches up");
    let host = cluster.add_host_over(copy);
    cluster.hosts[host].start().await.expect("it starts");
    let ending = ending(&cluster.hosts[host]).await;
    assert!(ending.why.contains("restored or copied"), "{ending:?}");
    assert!(!ending.in_order, "what it holds is not to be believed");
    cluster.hosts[host].kill();
    cluster.until_ready().await.expect("the original is well");
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
