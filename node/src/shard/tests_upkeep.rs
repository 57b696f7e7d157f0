//! What a shard does by itself: dead letters, the catalog, the load.

use std::sync::atomic::Ordering;
use std::time::Duration;

use roadstead_core::shard::{DeadLetterTarget, PartitionConfig};
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    Ack, OutgoingMessage, Reject, ShardReceive, ShardSend, subscription_down,
};
use tokio::time::{sleep, timeout};

use super::ShardOptions;
use super::tests_support::{
    Consumer, LONG, QUEUE, call, one_shard, one_shard_with, receive, send, settle, stats,
};
use super::twin::{NODE, Twin, queue_info};
use super::wire::duration_ms;

#[tokio::test]
async fn a_rejected_message_reaches_the_dead_letter_queue_with_its_reason() {
    let cluster = one_shard();
    cluster.queues.set(queue_info(8, "dead", &[1]));
    let mut info = queue_info(QUEUE, "a", &[1]);
    info.config = PartitionConfig {
        revision: 2,
        dead_letter: Some(DeadLetterTarget {
            queue: 8,
            partitions: 1,
        }),
        ..PartitionConfig::default()
    };
    cluster.queues.set(info);
    send(&cluster, &["bad"], None).await.unwrap();
    let got = receive(&cluster, 1, 0).await;
    let error = "cannot parse".to_owned();
    settle(&cluster, &got[0].receipt, Action::Reject(Reject { error })).await;
    let receive = ShardReceive {
        queue_id: 8,
        partitions: vec![0],
        max_messages: 1,
        wait: Some(duration_ms(5_000)),
        ..ShardReceive::default()
    };
    let Reply::Receive(received) = call(&cluster, Call::Receive(receive)).await.unwrap() else {
        panic!("another reply")
    };
    let [dead] = &received.deliveries[..] else {
        panic!("not there: {received:?}")
    };
    assert_eq!(dead.message_id, got[0].message_id, "its id is kept");
    assert_eq!(dead.body, "bad");
    let info = dead.dead_letter.clone().unwrap();
    assert_eq!(
        (info.source_queue.as_str(), info.error.as_str()),
        ("default/a", "cannot parse")
    );
    for _ in 0..200 {
        if stats(&cluster, QUEUE).await.outbox == 0 {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the outbox was not emptied");
}

#[tokio::test]
async fn a_dead_letter_without_a_queue_waits_and_says_why() {
    let cluster = one_shard();
    let mut info = queue_info(QUEUE, "a", &[1]);
    info.config.dead_letter = Some(DeadLetterTarget {
        queue: 8,
        partitions: 1,
    });
    cluster.queues.set(info);
    send(&cluster, &["bad"], None).await.unwrap();
    let got = receive(&cluster, 1, 0).await;
    settle(&cluster, &got[0].receipt, Action::Reject(Reject::default())).await;
    for _ in 0..500 {
        if let Some(why) = cluster.shards.service(1).parked().values().next() {
            assert!(why.contains("does not exist"), "{why}");
            assert_eq!(stats(&cluster, QUEUE).await.outbox, 1);
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was parked");
}

#[tokio::test]
async fn what_the_catalog_has_no_more_is_dropped() {
    let cluster = one_shard();
    send(&cluster, &["x"], None).await.unwrap();
    cluster.queues.remove(QUEUE);
    for _ in 0..200 {
        if stats(&cluster, QUEUE).await.ready == 0 {
            let error = send(&cluster, &["y"], None).await.unwrap_err();
            assert_eq!(error.code, tonic::Code::NotFound);
            assert!(error.message.contains("does not exist"), "{error}");
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the partition is still there");
}

#[tokio::test]
async fn who_waits_at_a_queue_that_is_deleted_hears_that_it_is_gone() {
    let cluster = one_shard();
    let gone = async |consumer: &mut Consumer| match consumer.next().await {
        subscription_down::Frame::Closed(error) => {
            assert_eq!(tonic::Code::from(error.code), tonic::Code::NotFound);
            assert!(
                error.message.contains("queue default/a does not exist"),
                "{error:?}"
            );
        }
        other => panic!("{other:?}"),
    };
    let mut waiting = Consumer::open(&cluster, "s", &[]).await;
    waiting.credit(1).await;
    let mut deleting = queue_info(QUEUE, "a", &[1]);
    deleting.deleting = true;
    cluster.queues.set(deleting);
    let early = timeout(Duration::from_millis(50), waiting.next()).await;
    assert!(
        early.is_err(),
        "it may be kept, as it holds messages: {early:?}"
    );
    cluster.queues.remove(QUEUE);
    // A queue of the same name is another one.
    cluster.queues.set(queue_info(QUEUE + 1, "a", &[1]));
    gone(&mut waiting).await;
    let mut late = Consumer::open(&cluster, "t", &[]).await;
    gone(&mut late).await;
    let receive = ShardReceive {
        queue_id: QUEUE,
        partitions: vec![0],
        ..ShardReceive::default()
    };
    let error = call(&cluster, Call::Receive(receive)).await.unwrap_err();
    assert_eq!(error.code, tonic::Code::NotFound);
}

#[tokio::test]
async fn a_long_poll_at_a_queue_that_is_deleted_ends() {
    let cluster = one_shard();
    let poll = ShardReceive {
        queue_id: QUEUE,
        partitions: vec![0],
        wait: Some(duration_ms(60_000)),
        ..ShardReceive::default()
    };
    let removed = async {
        sleep(Duration::from_millis(50)).await;
        cluster.queues.remove(QUEUE);
    };
    let polled = timeout(LONG, call(&cluster, Call::Receive(poll)));
    let (answer, ()) = tokio::join!(polled, removed);
    let error = answer.expect("it waits for nothing").unwrap_err();
    assert_eq!(error.code, tonic::Code::NotFound);
}

#[tokio::test]
async fn what_is_due_happens_after_a_tick_was_lost_with_the_leadership() {
    let cluster = one_shard();
    let twin = &cluster.twins[&1];
    send(&cluster, &["leased"], None).await.unwrap();
    assert_eq!(receive(&cluster, 1, 0).await.len(), 1);
    twin.hold(true);
    let before = twin.proposed.load(Ordering::SeqCst);
    let in_flight = async |entries| {
        while twin.proposed.load(Ordering::SeqCst) < before + entries {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let second = async {
        in_flight(1).await;
        send(&cluster, &["y"], None).await
    };
    let losing = async {
        // No more entries may be in flight: the tick has to wait, and is never written.
        in_flight(2).await;
        twin.ahead_ms.fetch_add(3_600_000, Ordering::SeqCst);
        cluster.shards.service(1).resume();
        sleep(Duration::from_millis(50)).await;
        twin.lead(false, None);
        sleep(Duration::from_millis(50)).await;
        twin.lead(true, Some(NODE));
        twin.hold(false);
    };
    let (first, second, ()) = tokio::join!(send(&cluster, &["x"], None), second, losing);
    first.and(second).unwrap();
    for _ in 0..200 {
        let again = receive(&cluster, 10, 20).await;
        if again.iter().any(|delivery| delivery.delivery_count == 2) {
            return;
        }
    }
    panic!("the lease never ended");
}

#[tokio::test]
async fn the_load_names_consumers_and_wakes_who_scales_from_zero() {
    let cluster = one_shard();
    let service = cluster.shards.service(1);
    let served = async {
        while service.load().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, served).await.unwrap();
    let untouched = service.load();
    assert_eq!((untouched.len(), untouched[0].sent_total), (1, 0));
    let version = service.load_version();
    send(&cluster, &["x"], None).await.unwrap();
    let version = timeout(LONG, service.load_changed(version)).await.unwrap();
    send(&cluster, &["y"], None).await.unwrap();
    assert_eq!(service.load_version(), version, "told once");
    let mut consumer = Consumer::open(&cluster, "s", &[]).await;
    consumer.credit(1).await;
    let got = consumer.deliveries().await;
    let load = service.load();
    assert_eq!(
        (load[0].ready, load[0].in_flight, load[0].sent_total),
        (1, 1, 2)
    );
    assert_eq!(
        (load[0].consumers[0].in_flight, load[0].consumers[0].idle_ms),
        (1, 0)
    );
    settle(&cluster, &got[0].receipt, Action::Ack(Ack {})).await;
    service.load();
    sleep(Duration::from_millis(5)).await;
    assert!(service.load()[0].consumers[0].idle_ms >= 5);
}

fn digesting() -> ShardOptions {
    ShardOptions {
        digest_pause: Duration::from_millis(1),
        digest_interval: Duration::from_millis(60),
        ..ShardOptions::default()
    }
}

/// Waits until there are so many more digests.
async fn more_digests(twin: &Twin, more: usize) {
    let count = || twin.digests.lock().unwrap().len();
    let wanted = count() + more;
    let hashed = async {
        while count() < wanted {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, hashed).await.unwrap();
}

#[tokio::test]
async fn rows_are_hashed_in_pieces_over_and_over_while_there_is_something_to_compare() {
    let cluster = one_shard_with(digesting());
    let twin = &cluster.twins[&1];
    let quiet = async |entries: u64, why: &str| {
        sleep(Duration::from_millis(200)).await;
        assert_eq!(twin.proposed.load(Ordering::SeqCst), entries, "{why}");
    };
    twin.other_voters.store(true, Ordering::SeqCst);
    quiet(0, "an empty shard has nothing to hash").await;
    twin.other_voters.store(false, Ordering::SeqCst);
    let send = ShardSend {
        queue_id: QUEUE,
        messages: vec![
            OutgoingMessage {
                delay: Some(duration_ms(3_600_000)),
                ..OutgoingMessage::default()
            };
            1_000
        ],
        ..ShardSend::default()
    };
    let sent = call(&cluster, Call::Send(send)).await.unwrap();
    assert!(matches!(sent, Reply::Send(_)), "{sent:?}");
    let before = twin.proposed.load(Ordering::SeqCst);
    quiet(before, "one voter has nobody to be compared with").await;
    twin.other_voters.store(true, Ordering::SeqCst);
    more_digests(twin, 6).await;
    let digests = twin.digests.lock().unwrap().clone();
    let passes = digests.split_inclusive(|piece| piece.next.is_none());
    let whole: Vec<_> = passes
        .filter(|pass| pass.last().is_some_and(|piece| piece.next.is_none()))
        .collect();
    assert!(!whole.is_empty(), "{digests:?}");
    for pass in whole {
        let (last, before) = pass.split_last().unwrap();
        assert!(!before.is_empty() && before.iter().all(|piece| piece.rows == 1_000));
        assert!((1..1_000).contains(&last.rows));
    }
}

#[tokio::test]
async fn rows_are_hashed_by_who_leads() {
    let cluster = one_shard_with(digesting());
    let twin = &cluster.twins[&1];
    twin.other_voters.store(true, Ordering::SeqCst);
    send(&cluster, &["x"], None).await.unwrap();
    more_digests(twin, 2).await;
    twin.lead(false, None);
    sleep(Duration::from_millis(50)).await;
    let before = twin.proposed.load(Ordering::SeqCst);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(twin.proposed.load(Ordering::SeqCst), before);
    twin.lead(true, Some(NODE));
    more_digests(twin, 2).await;
}
