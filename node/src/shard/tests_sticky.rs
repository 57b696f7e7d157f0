//! Sticky keys as consumers see them, over a shard without Raft.

use std::sync::atomic::Ordering;
use std::time::Duration;

use roadstead_core::shard;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{Ack, Delivery, OutgoingMessage, SendResult, ShardSend};
use tokio::time::sleep;
use tonic::Code;

use super::ShardOptions;
use super::tests_support::{Consumer, QUEUE, bodies, call, message, settle};
use super::twin::{TwinCluster, queue_info};

fn sticky() -> TwinCluster {
    let cluster = TwinCluster::start(1, ShardOptions::default());
    let mut info = queue_info(QUEUE, "a", &[1]);
    info.config.ordering = shard::Ordering::PerKey;
    info.config.sticky_keys = true;
    cluster.queues.set(info);
    cluster
}

async fn send(cluster: &TwinCluster, messages: Vec<OutgoingMessage>) -> Vec<SendResult> {
    let send = ShardSend {
        queue_id: QUEUE,
        partition: 0,
        messages,
        ..ShardSend::default()
    };
    match call(cluster, Call::Send(send)).await.unwrap() {
        Reply::Send(sent) => sent.results,
        other => panic!("{other:?}"),
    }
}

fn keyed(key: &str, body: &str) -> OutgoingMessage {
    OutgoingMessage {
        ordering_key: key.to_owned(),
        ..message(body)
    }
}

/// Which of two consumers gets what comes next.
async fn next([a, b]: &mut [Consumer; 2]) -> (usize, Vec<Delivery>) {
    tokio::select! {
        got = a.deliveries() => (0, got),
        got = b.deliveries() => (1, got),
    }
}

#[tokio::test]
async fn one_entry_brings_a_message_to_whose_key_it_is_and_the_next_behind_an_ack() {
    let cluster = sticky();
    send(&cluster, vec![keyed("k0", "0")]).await;
    let mut consumers = [
        Consumer::open(&cluster, "s", &[]).await,
        Consumer::open(&cluster, "t", &[]).await,
    ];
    for consumer in &consumers {
        consumer.credit(100).await;
    }
    let (_, first) = next(&mut consumers).await;
    settle(&cluster, &first[0].receipt, Action::Ack(Ack {})).await;
    sleep(Duration::from_millis(50)).await;
    let twin = &cluster.twins[&1];
    let written = || twin.proposed.load(Ordering::SeqCst);
    let mut with = [0, 0];
    for n in 0..16 {
        let key = format!("k{n}");
        let before = written();
        send(&cluster, vec![keyed(&key, "first")]).await;
        let (owner, first) = next(&mut consumers).await;
        assert_eq!(written() - before, 1, "stored and leased at once");
        with[owner] += 1;
        send(&cluster, vec![keyed(&key, "second"), keyed(&key, "third")]).await;
        let before = written();
        settle(&cluster, &first[0].receipt, Action::Ack(Ack {})).await;
        assert_eq!(written() - before, 1, "settled, and the next one leased");
        let (same, second) = next(&mut consumers).await;
        assert_eq!((same, bodies(&second)), (owner, vec!["second"]));
        settle(&cluster, &second[0].receipt, Action::Ack(Ack {})).await;
        let (same, third) = next(&mut consumers).await;
        assert_eq!((same, bodies(&third)), (owner, vec!["third"]));
        settle(&cluster, &third[0].receipt, Action::Ack(Ack {})).await;
    }
    assert!(with[0] > 0 && with[1] > 0, "{with:?}");
    let before = written();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(written(), before, "those who wait cost nothing");
}

#[tokio::test]
async fn a_key_in_flight_is_handed_over_when_it_is_settled() {
    let cluster = sticky();
    send(&cluster, vec![keyed("k", "1"), keyed("k", "2")]).await;
    let mut old = Consumer::open(&cluster, "s", &[]).await;
    old.credit(10).await;
    let first = old.deliveries().await;
    drop(old);
    let mut new = Consumer::open(&cluster, "t", &[]).await;
    new.credit(10).await;
    assert!(
        new.is_silent().await,
        "its message is still with the old one"
    );
    settle(&cluster, &first[0].receipt, Action::Ack(Ack {})).await;
    assert_eq!(bodies(&new.deliveries().await), ["2"]);
}

#[tokio::test]
async fn a_fairness_key_is_refused_by_itself() {
    let cluster = sticky();
    let with_tenant = OutgoingMessage {
        fairness_key: "acme".to_owned(),
        ..keyed("k", "1")
    };
    let results = send(&cluster, vec![with_tenant, keyed("k", "2")]).await;
    let error = results[0].error.as_ref().unwrap();
    assert_eq!(Code::from(error.code), Code::InvalidArgument);
    assert!(
        error.message.contains("leave fairness_key out"),
        "{}",
        error.message
    );
    assert!(results[1].error.is_none() && results[1].sequence == 1);
}
