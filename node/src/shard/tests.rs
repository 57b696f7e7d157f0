//! A shard's service over a twin without Raft.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prost_types::Duration as WireDuration;
use roadstead_core::shard::Delivery as DeliveryMode;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::{
    Ack, Nack, Producer, ShardCall, ShardSend, ShardStats, subscription_down,
};
use tokio::time::{sleep, timeout};

use super::ShardOptions;
use super::deliver::weight;
use super::tests_support::{
    Consumer, LONG, QUEUE, bodies, message, one_shard, one_shard_with, receive, send, settle, stats,
};
use super::twin::{TwinCluster, queue_info};

#[tokio::test]
async fn sent_received_settled() {
    let cluster = one_shard();
    let sent = send(&cluster, &["x", "y"], None).await.unwrap();
    assert_eq!(sent.results[1].message_id, "7-0-2");
    let got = receive(&cluster, 10, 0).await;
    assert_eq!(bodies(&got), ["x", "y"]);
    assert!((29_000..=30_000).contains(&got[0].lease_remaining_ms));
    let settled = settle(&cluster, &got[0].receipt, Action::Ack(Ack {})).await;
    assert_eq!(settled.results[0].error, None);
    let again = settle(&cluster, &got[0].receipt, Action::Ack(Ack {})).await;
    assert_eq!(
        again.results[0].error.as_ref().map(|error| error.code),
        Some(5)
    );
    let stats = stats(&cluster, QUEUE).await;
    assert_eq!((stats.ready, stats.in_flight, stats.acked_total), (0, 1, 1));
    assert_eq!(
        receive(&cluster, 10, 0).await,
        [],
        "an empty queue answers at once"
    );
}

#[tokio::test]
async fn one_entry_stores_leases_and_delivers_to_a_waiting_consumer() {
    let cluster = one_shard();
    send(&cluster, &["first"], None).await.unwrap();
    let mut consumer = Consumer::open(&cluster, "s", &[]).await;
    consumer.credit(10).await;
    assert_eq!(bodies(&consumer.deliveries().await), ["first"]);
    let twin = &cluster.twins[&1];
    let before = twin.proposed.load(Ordering::SeqCst);
    send(&cluster, &["second"], None).await.unwrap();
    assert_eq!(bodies(&consumer.deliveries().await), ["second"]);
    assert_eq!(twin.proposed.load(Ordering::SeqCst) - before, 1);
    sleep(Duration::from_millis(50)).await;
    let after = twin.proposed.load(Ordering::SeqCst);
    assert_eq!(after - before, 1, "an idle consumer costs nothing");
}

#[tokio::test]
async fn what_arrives_while_entries_are_written_is_joined() {
    let cluster = one_shard();
    send(&cluster, &["0"], None).await.unwrap();
    let twin = cluster.twins[&1].clone();
    let before = twin.proposed.load(Ordering::SeqCst);
    twin.hold(true);
    let release = async {
        sleep(Duration::from_millis(50)).await;
        twin.hold(false);
    };
    let sends = (0..50).map(|_| send(&cluster, &["x"], None));
    let (sent, ()) = tokio::join!(futures_util::future::join_all(sends), release);
    assert!(sent.iter().all(Result::is_ok));
    let entries = twin.proposed.load(Ordering::SeqCst) - before;
    assert!(entries <= 4, "50 sends took {entries} entries");
}

#[tokio::test]
async fn a_retry_with_the_same_number_is_no_new_message() {
    let cluster = one_shard();
    let producer = || {
        Some(Producer {
            id: "p".to_owned(),
            first_sequence: 1,
        })
    };
    let first = send(&cluster, &["x"], producer()).await.unwrap();
    let again = send(&cluster, &["x"], producer()).await.unwrap();
    assert!(again.results[0].duplicate);
    assert_eq!(again.results[0].message_id, first.results[0].message_id);
    assert_eq!(stats(&cluster, QUEUE).await.ready, 1);
}

#[tokio::test]
async fn a_long_poll_is_answered_by_the_first_message() {
    let cluster = one_shard();
    assert_eq!(receive(&cluster, 1, 20).await, []);
    let later = async {
        sleep(Duration::from_millis(30)).await;
        send(&cluster, &["x"], None).await.unwrap();
    };
    let (got, ()) = tokio::join!(receive(&cluster, 5, 5_000), later);
    assert_eq!(bodies(&got), ["x"]);
}

#[tokio::test]
async fn a_lease_ends_by_a_tick_and_the_message_comes_again() {
    let cluster = one_shard();
    send(&cluster, &["x"], None).await.unwrap();
    let mut consumer = Consumer::open(&cluster, "s", &[]).await;
    consumer.credit(10).await;
    assert_eq!(consumer.deliveries().await[0].delivery_count, 1);
    cluster.twins[&1]
        .ahead_ms
        .fetch_add(31_000, Ordering::SeqCst);
    // Anything wakes the proposer, whose sleep was measured on the old clock.
    consumer.credit(1).await;
    assert_eq!(consumer.deliveries().await[0].delivery_count, 2);
}

#[tokio::test]
async fn a_session_that_is_back_gets_what_it_lacks_and_one_that_is_gone_is_released() {
    let cluster = one_shard();
    send(&cluster, &["x", "y"], None).await.unwrap();
    let mut consumer = Consumer::open(&cluster, "s", &[]).await;
    consumer.credit(2).await;
    let got = consumer.deliveries().await;
    drop(consumer);
    let mut back = Consumer::open(&cluster, "s", &[got[0].receipt.clone()]).await;
    back.credit(10).await;
    let again = back.deliveries().await;
    assert_eq!(bodies(&again), ["y"]);
    assert_eq!(again[0].receipt, got[1].receipt, "the same lease");
    drop(back);
    let mut other = Consumer::open(&cluster, "t", &[]).await;
    other.credit(10).await;
    let mut released = other.deliveries().await;
    while released.len() < 2 {
        released.extend(other.deliveries().await);
    }
    assert_eq!(
        released[0].delivery_count, 2,
        "long before the lease of 30 s ends"
    );
}

#[tokio::test]
async fn credit_0_takes_back_what_is_unused_and_hints_come_when_it_is_gone() {
    let cluster = one_shard();
    let mut consumer = Consumer::open(&cluster, "s", &[]).await;
    consumer.credit(10).await;
    consumer.credit(0).await;
    assert_eq!(
        consumer.next().await,
        subscription_down::Frame::Returned(10)
    );
    send(&cluster, &["x"], None).await.unwrap();
    assert_eq!(
        consumer.next().await,
        subscription_down::Frame::Available(true)
    );
    consumer.credit(1).await;
    assert_eq!(bodies(&consumer.deliveries().await), ["x"]);
}

#[tokio::test]
async fn a_consumer_that_never_reads_costs_only_itself() {
    let cluster = one_shard();
    let silent = Consumer::open(&cluster, "silent", &[]).await;
    silent.credit(1_000).await;
    for _ in 0..20 {
        send(&cluster, &["x"; 100], None).await.unwrap();
    }
    let mut consumer = Consumer::open(&cluster, "s", &[]).await;
    consumer.credit(1_000).await;
    let mut got = 0;
    while got < 1_000 {
        got += consumer.deliveries().await.len();
    }
}

/// A consumer with credit for all of 20 messages of 200 KiB.
async fn who_may_have_twenty(cluster: &TwinCluster) -> Consumer {
    let body = "x".repeat(200 << 10);
    for _ in 0..20 {
        send(cluster, &[&body], None).await.unwrap();
    }
    let consumer = Consumer::open(cluster, "s", &[]).await;
    consumer.credit(20).await;
    consumer
}

#[tokio::test]
async fn what_is_not_read_is_bounded_in_bytes_and_goes_on_when_it_is_read() {
    let cluster = one_shard();
    let mut consumer = who_may_have_twenty(&cluster).await;
    let mut got = 0;
    for _ in 0..6 {
        got += consumer.deliveries().await.len();
    }
    assert!(consumer.is_silent().await);
    consumer.read(got * (200 << 10)).await;
    while got < 20 {
        let deliveries = consumer.deliveries().await;
        got += deliveries.len();
        consumer.read(weight(&deliveries)).await;
    }
}

#[tokio::test]
async fn many_consumers_share_what_they_may_have_unread() {
    let cluster = one_shard_with(ShardOptions {
        unread_bytes: 1 << 20,
        ..ShardOptions::default()
    });
    let mut idle = Vec::new();
    for name in 0..16 {
        idle.push(Consumer::open(&cluster, &name.to_string(), &[]).await);
    }
    let mut consumer = who_may_have_twenty(&cluster).await;
    let mut got = 0;
    while got < 20 {
        let deliveries = consumer.deliveries().await;
        got += deliveries.len();
        assert!(got == 20 || consumer.is_silent().await, "{got}");
        consumer.read(weight(&deliveries)).await;
    }
}

#[tokio::test]
async fn what_is_consumed_by_its_delivery_does_not_wait_to_be_read() {
    let cluster = one_shard();
    let mut info = queue_info(QUEUE, "a", &[1]);
    info.config.delivery = DeliveryMode::AtMostOnce;
    cluster.queues.set(info);
    stats(&cluster, QUEUE).await;
    let mut consumer = who_may_have_twenty(&cluster).await;
    let mut got = 0;
    while got < 20 {
        got += consumer.deliveries().await.len();
    }
}

#[tokio::test]
async fn lost_leadership_ends_subscriptions_and_refuses_calls() {
    let cluster = one_shard();
    let mut consumer = Consumer::open(&cluster, "s", &[]).await;
    cluster.twins[&1].lead(false, Some(9));
    match consumer.next().await {
        subscription_down::Frame::Closed(error) => assert_eq!(error.not_leader, Some(9)),
        other => panic!("{other:?}"),
    }
    let asked = ShardCall {
        principal: None,
        call: Some(Call::Stats(ShardStats {
            queue_id: QUEUE,
            ..ShardStats::default()
        })),
    };
    let error = cluster.shards.service(1).call(asked).await.unwrap_err();
    assert_eq!(error.not_leader, Some(9));
    cluster.twins[&1].lead(true, Some(1));
    send(&cluster, &["x"], None).await.unwrap();
}

#[tokio::test]
async fn a_low_disk_refuses_sends_and_takes_settles() {
    let cluster = one_shard();
    send(&cluster, &["x"], None).await.unwrap();
    cluster.twins[&1].disk_low.store(true, Ordering::SeqCst);
    let error = send(&cluster, &["y"], None).await.unwrap_err();
    assert!(
        error.detail.retryable && error.message.contains("node 3"),
        "{error:?}"
    );
    let got = receive(&cluster, 1, 0).await;
    let settled = settle(&cluster, &got[0].receipt, Action::Ack(Ack {})).await;
    assert_eq!(settled.results[0].error, None);
}

#[tokio::test]
async fn draining_ends_when_nothing_is_being_written() {
    let cluster = one_shard();
    send(&cluster, &["x"], None).await.unwrap();
    let twin = cluster.twins[&1].clone();
    let service = cluster.shards.service(1);
    twin.hold(true);
    let waiting = send(&cluster, &["y"], None);
    let drained = async {
        sleep(Duration::from_millis(20)).await;
        assert!(
            timeout(Duration::from_millis(50), service.drain())
                .await
                .is_err()
        );
        twin.hold(false);
        timeout(LONG, service.drain()).await.unwrap();
    };
    let (sent, ()) = tokio::join!(waiting, drained);
    assert!(sent.is_ok(), "what was taken before is written");
    let refused = ShardSend {
        queue_id: QUEUE,
        messages: vec![message("z")],
        ..Default::default()
    };
    let asked = ShardCall {
        principal: None,
        call: Some(Call::Send(refused)),
    };
    let error = service.call(asked.clone()).await.unwrap_err();
    assert_eq!(
        error.not_leader,
        Some(0),
        "as if it did not lead: nothing was done"
    );
    service.resume();
    assert!(service.call(asked).await.is_ok());
}

#[tokio::test]
async fn an_unstarted_message_goes_to_another_consumer_at_once() {
    let cluster = one_shard();
    send(&cluster, &["x"], None).await.unwrap();
    let got = receive(&cluster, 1, 0).await;
    let later = Some(WireDuration {
        seconds: 3_600,
        nanos: 0,
    });
    let nack = Nack {
        delay: later,
        error: String::new(),
        unstarted: true,
    };
    let mut consumer = Consumer::open(&cluster, "s", &[]).await;
    consumer.credit(1).await;
    settle(&cluster, &got[0].receipt, Action::Nack(nack)).await;
    assert_eq!(consumer.deliveries().await[0].delivery_count, 1);
}
