//! Leaderships that move, and who knows of it.

use std::time::{Duration, Instant};

use roadstead_proto::v1::MemberState;
use roadstead_tests::live::cluster::{SHARDS, until};
use roadstead_tests::live::{LiveCluster, Load};

use super::{found, settle, small};

/// The catalog's group and the shards.
const GROUPS: std::ops::RangeInclusive<u16> = 0..=SHARDS;

/// Hands a group over and waits until somebody else leads it.
pub(super) async fn move_away(cluster: &LiveCluster, group: u16) {
    let before = cluster.until_led(group).await.expect("the group is led");
    let patience = Instant::now() + Duration::from_secs(10);
    // Whoever is to lead may lag behind at this moment.
    while let Err(error) = cluster.transfer(group).await {
        assert!(Instant::now() < patience, "it is handed over: {error:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until("another leader", || match cluster.leader_of(group) {
        Some(leader) if leader != before => Ok(()),
        leader => Err(format!("{leader:?} leads")),
    })
    .await
    .expect("somebody else leads");
}

/// A time to live would end at once under a leader whose clock is right, after one whose was not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_handed_a_shard_before_its_first_entry_knows_the_time() {
    let cluster = LiveCluster::found(3, small())
        .await
        .expect("a cluster is founded");
    move_away(&cluster, 1).await;
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
        move_away(&cluster, group).await;
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

/// One that is dead lags behind in nothing, while nobody sends, and would never take over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_while_another_is_dead_hands_over_to_the_third() {
    let cluster = found(3, small()).await;
    cluster.until_ready().await.expect("it is ready");
    let dead = 2;
    cluster.hosts[dead].kill();
    for group in GROUPS {
        cluster.until_led(group).await.expect("it is led again");
    }
    let leaver = cluster.until_led(1).await.expect("it is led");
    let retiring = cluster.hosts[leaver].run(|node| async move {
        let began = Instant::now();
        node.retire(Duration::from_secs(20)).await;
        began.elapsed()
    });
    let took = retiring.await.expect("it runs");
    println!("handed over in {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    for group in GROUPS {
        let leader = cluster.until_led(group).await.expect("it is led");
        assert!(leader != leaver && leader != dead, "{leader} leads {group}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_of_the_catalog_tells_of_every_group() {
    let cluster = found(3, small()).await;
    cluster.until_ready().await.expect("it is ready");
    for _ in 0..4 {
        let before = cluster.until_led(0).await.expect("the catalog is led");
        cluster.transfer(0).await.expect("it is handed over");
        let status = cluster.status().await.expect("it tells");
        let leaders: Vec<_> = status.shards.iter().map(|shard| shard.leader).collect();
        println!("host {before} led the catalog; leaders by group: {leaders:x?}");
        assert_eq!(leaders.len(), GROUPS.count(), "{leaders:x?}");
        assert!(!leaders.contains(&0), "{leaders:x?}");
        for member in &status.members {
            assert_eq!(member.state(), MemberState::Serving, "{member:?}");
            assert_eq!(member.voters as usize, GROUPS.count(), "{member:?}");
        }
    }
}
