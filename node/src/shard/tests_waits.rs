//! What waits at a shard: who sends too fast, what goes to a shard that says nothing, and what a
//! circuit breaker holds back.

use std::time::{Duration, Instant};

use roadstead_core::shard::{
    CircuitBreaker, DEFAULT_GROUP, DeadLetterTarget, GroupConfig, PartitionConfig, PartitionId,
    Stats,
};
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    Ack, Nack, Reject, SendResponse, ShardReceive, ShardSend, SubscriptionOpen,
};
use tokio::time::sleep;

use super::ShardOptions;
use super::replica::Replica;
use super::tests_support::{Consumer, LONG, QUEUE, bodies, call, message, one_shard, send, settle};
use super::twin::{TwinCluster, queue_info};
use super::wire::duration_ms;
use crate::raft::types::GroupId;

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn partition(queue: u64) -> PartitionId {
    PartitionId {
        queue,
        partition: 0,
    }
}

/// A cluster of one shard whose queue is configured so, with its first use.
fn with(config: PartitionConfig) -> TwinCluster {
    let cluster = one_shard();
    let mut info = queue_info(QUEUE, "a", &[1]);
    info.config = PartitionConfig {
        revision: 2,
        ..config
    };
    cluster.queues.set(info);
    cluster
}

/// Ten in a second; the first ten, that may come at once, have come.
async fn ten_per_second() -> TwinCluster {
    let cluster = with(PartitionConfig {
        rate: 10_000,
        ..PartitionConfig::default()
    });
    let (took, sent) = timed(&cluster, 10).await;
    assert_eq!(refused(&sent), 0, "after {took:?}");
    cluster
}

async fn timed(cluster: &TwinCluster, messages: usize) -> (Duration, SendResponse) {
    let began = Instant::now();
    let sent = send(cluster, &vec!["x"; messages], None).await.unwrap();
    (began.elapsed(), sent)
}

fn refused(sent: &SendResponse) -> usize {
    let results = sent.results.iter();
    results.filter(|result| result.error.is_some()).count()
}

#[tokio::test]
async fn who_sends_too_fast_is_slowed_and_not_refused() {
    let cluster = ten_per_second().await;
    let began = Instant::now();
    for messages in [1, 2, 3] {
        let (_, sent) = timed(&cluster, messages).await;
        assert_eq!(refused(&sent), 0, "{messages} after {:?}", began.elapsed());
    }
    let took = began.elapsed();
    // Six of them, a tenth of a second each; the first one's share may be over in part.
    assert!(took > Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn who_would_wait_too_long_behind_others_is_refused_at_once() {
    let cluster = ten_per_second().await;
    let (first, second) = tokio::join!(timed(&cluster, 7), timed(&cluster, 7));
    assert_eq!((refused(&first.1), refused(&second.1)), (0, 7));
    assert!(second.0 < first.0, "{:?} and {:?}", second.0, first.0);
}

fn stats(cluster: &TwinCluster, shard: GroupId, queue: u64) -> Option<Stats> {
    let of = partition(queue);
    let stats = cluster.twins[&shard].read(|machine, kv| machine.stats(kv, of, DEFAULT_GROUP));
    stats.unwrap()
}

/// Sends a message to a queue of shard 1, and rejects it.
async fn fails(cluster: &TwinCluster, queue_id: u64) {
    let send = ShardSend {
        queue_id,
        messages: vec![message("bad")],
        ..ShardSend::default()
    };
    call(cluster, Call::Send(send)).await.unwrap();
    let receive = ShardReceive {
        queue_id,
        partitions: vec![0],
        max_messages: 1,
        wait: Some(duration_ms(5_000)),
        ..ShardReceive::default()
    };
    let Reply::Receive(received) = call(cluster, Call::Receive(receive)).await.unwrap() else {
        panic!("another reply")
    };
    let receipt = &received.deliveries[0].receipt;
    settle(cluster, receipt, Action::Reject(Reject::default())).await;
}

#[tokio::test]
async fn a_shard_that_says_nothing_holds_up_what_goes_to_it_alone() {
    let cluster = TwinCluster::start(3, ShardOptions::default());
    for (queue, name, dead, shard) in [(QUEUE, "a", 8, 2), (9, "b", 10, 3)] {
        let mut info = queue_info(queue, name, &[1]);
        info.config.dead_letter = Some(DeadLetterTarget {
            queue: dead,
            partitions: 1,
        });
        cluster
            .queues
            .set(queue_info(dead, &format!("dead-{name}"), &[shard]));
        cluster.queues.set(info);
    }
    cluster.twins[&2].hold(true);
    let outbox = |queue| stats(&cluster, 1, queue).map(|stats| stats.outbox);
    fails(&cluster, QUEUE).await;
    fails(&cluster, 9).await;
    let ready = |shard, queue| stats(&cluster, shard, queue).is_some_and(|of| of.ready == 1);
    until("the other one arrives", || ready(3, 10)).await;
    until("and is crossed out", || outbox(9) == Some(0)).await;
    assert_eq!((outbox(QUEUE), ready(2, 8)), (Some(1), false));
    // And again, while the first one is under way.
    fails(&cluster, 9).await;
    until("the next one", || {
        stats(&cluster, 3, 10).is_some_and(|of| of.ready == 2)
    })
    .await;
    cluster.twins[&2].hold(false);
    until("it arrives when the shard speaks", || ready(2, 8)).await;
    until("and is crossed out", || outbox(QUEUE) == Some(0)).await;
}

#[tokio::test]
async fn what_is_tried_goes_to_the_exclusive_consumer() {
    let breaker = CircuitBreaker {
        error_percent: 100,
        min_deliveries: 1,
        window_ms: 60_000,
        open_ms: 300,
    };
    let group = GroupConfig {
        breaker: Some(breaker),
        ..GroupConfig::default()
    };
    let cluster = with(PartitionConfig {
        groups: vec![group],
        ..PartitionConfig::default()
    });
    let exclusive = async |session: &str| {
        let open = SubscriptionOpen {
            session_id: session.to_owned(),
            exclusive: true,
            ..SubscriptionOpen::default()
        };
        let consumer = Consumer::open_as(&cluster, open).await;
        consumer.credit(10).await;
        consumer
    };
    let (mut first, mut second) = (exclusive("s").await, exclusive("t").await);
    send(&cluster, &["a", "b"], None).await.unwrap();
    let got = first.deliveries().await;
    assert_eq!(bodies(&got), ["a", "b"]);
    let nack = || Action::Nack(Nack::default());
    settle(&cluster, &got[0].receipt, nack()).await;
    settle(&cluster, &got[1].receipt, nack()).await;
    for _ in 0..2 {
        let tried = first.deliveries().await;
        assert_eq!(bodies(&tried), ["a"]);
        assert!(first.is_silent().await, "one is tried");
        settle(&cluster, &tried[0].receipt, nack()).await;
    }
    let tried = first.deliveries().await;
    settle(&cluster, &tried[0].receipt, Action::Ack(Ack {})).await;
    assert_eq!(bodies(&first.deliveries().await), ["b"]);
    assert!(second.is_silent().await, "it stands by");
}
