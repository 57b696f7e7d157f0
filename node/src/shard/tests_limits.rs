//! What limits of deliveries do to those who wait.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use roadstead_core::shard::{GroupConfig, PartitionConfig};
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{Ack, Delivery, ShardReceive};
use tokio::time::sleep;

use super::tests_support::{
    Consumer, QUEUE, bodies, call, one_shard, receive, send, settle, stats,
};
use super::twin::{TwinCluster, queue_info};
use super::wire::duration_ms;

/// Beside the default group.
const OTHER: u32 = 1;

/// With a limit in flight of all groups, and a rate of the default one.
fn limited(max_in_flight: u32, rate: u64) -> TwinCluster {
    let cluster = one_shard();
    let mut info = queue_info(QUEUE, "a", &[1]);
    let default = GroupConfig {
        rate,
        ..GroupConfig::default()
    };
    let other = GroupConfig {
        id: OTHER,
        ..GroupConfig::default()
    };
    info.queue.group_ids.insert("other".to_owned(), OTHER);
    info.config = PartitionConfig {
        revision: 2,
        max_in_flight,
        groups: vec![default, other],
        ..PartitionConfig::default()
    };
    cluster.queues.set(info);
    cluster
}

async fn receive_for(cluster: &TwinCluster, group_id: u32, wait_ms: u64) -> Vec<Delivery> {
    let receive = ShardReceive {
        queue_id: QUEUE,
        partitions: vec![0],
        group_id,
        max_messages: 10,
        wait: Some(duration_ms(wait_ms)),
        ..ShardReceive::default()
    };
    match call(cluster, Call::Receive(receive)).await.unwrap() {
        Reply::Receive(received) => received.deliveries,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lease_of_one_group_that_ends_wakes_another() {
    let cluster = limited(1, 0);
    send(&cluster, &["x", "y"], None).await.unwrap();
    let held = receive(&cluster, 10, 0).await;
    assert_eq!(bodies(&held), ["x"]);
    assert_eq!(
        receive_for(&cluster, OTHER, 0).await,
        [],
        "there is no room"
    );
    let later = async {
        sleep(Duration::from_millis(50)).await;
        settle(&cluster, &held[0].receipt, Action::Ack(Ack {})).await
    };
    let begun = Instant::now();
    // The group of the ack waits, too: it was served last.
    let (got, first, _) = tokio::join!(
        receive_for(&cluster, OTHER, 5_000),
        receive_for(&cluster, 0, 300),
        later,
    );
    assert!(begun.elapsed() < Duration::from_secs(3), "{begun:?}");
    assert_eq!((bodies(&got), first.len()), (vec!["x"], 0));
}

#[tokio::test]
async fn a_consumer_is_woken_when_the_rate_has_room() {
    let cluster = limited(0, 5_000);
    let many = ["0", "1", "2", "3", "4", "5", "6", "7", "8"];
    send(&cluster, &many, None).await.unwrap();
    assert_eq!(receive(&cluster, 10, 0).await.len(), 5);
    assert_eq!(receive(&cluster, 10, 0).await, []);
    let counts = stats(&cluster, QUEUE).await;
    assert_eq!((counts.ready, counts.rates_used_up), (4, 1));
    let proposed = &cluster.twins[&1].proposed;
    let before = proposed.load(Ordering::SeqCst);
    let begun = Instant::now();
    let got = receive(&cluster, 10, 5_000).await;
    let took = begun.elapsed();
    assert_eq!(bodies(&got), ["5"]);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let written = proposed.load(Ordering::SeqCst) - before;
    assert_eq!(written, 1, "nothing is written while it waits");
    // One with a stream need not ask again.
    let mut consumer = Consumer::open(&cluster, "s", &[]).await;
    consumer.credit(10).await;
    let begun = Instant::now();
    for body in ["6", "7", "8"] {
        assert_eq!(bodies(&consumer.deliveries().await), [body]);
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(350), "{took:?}");
    let written = proposed.load(Ordering::SeqCst) - before;
    assert!(written <= 6, "{written} entries");
    assert_eq!(stats(&cluster, QUEUE).await.rates_used_up, 0);
    // Another group does not notice.
    assert_eq!(receive_for(&cluster, OTHER, 0).await.len(), 9);
}
