//! Promises about what a queue holds: how much, what is known to be there, what is taken out.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_client::proto::{
    DeduplicateBy, Deduplication, MessageFilter, MessageState, Ordering, PeekedMessage,
    QueueLimits, QueueSpec,
};
use roadstead_client::{Message, SendError, SettleError};
use roadstead_node::controls::Controls;
use roadstead_node::store::StoreOptions;
use tokio::time::sleep;

use super::{Scene, next, seconds};

const MOST: u64 = 50;

/// Looks all the time: a limit is never overshot.
async fn never_fuller(scene: &Scene) {
    loop {
        if let Ok(stats) = scene.client.queue_stats("full").await {
            assert!(stats.messages <= MOST, "{stats:?}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_never_fuller_through_a_change_of_leader() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        limits: Some(QueueLimits {
            max_messages: MOST,
            ..QueueLimits::default()
        }),
        ..QueueSpec::default()
    };
    scene.queue("full", spec).await;
    let patient = scene.producer("full").await;
    let mut accepted = BTreeSet::new();
    for sent in patient
        .send_all((0..30).map(|n| Message::new(n.to_string())))
        .await
    {
        accepted.insert(sent.expect("there is room").message_id);
    }
    // Four who want to send twice of what there is room for.
    let (mut producers, mut sending) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let producer = scene.client.producer("full").attempts(1_000);
        let producer = producer.timeout(Duration::from_secs(6)).start().await;
        producers.push(producer.expect("ready"));
    }
    for number in 0..10 {
        for producer in &producers {
            sending.push(
                producer
                    .enqueue(Message::new(format!("more {number}")))
                    .await,
            );
        }
    }
    scene.kill_leader_of("full").await;
    let sent = tokio::select! {
        sent = join_all(sending) => sent,
        () = never_fuller(&scene) => unreachable!("it never ends"),
    };
    let unknown = sent
        .iter()
        .filter(|sent| matches!(sent, Err(SendError::Unknown { .. })));
    let unknown = unknown.count() as u64;
    accepted.extend(sent.into_iter().flatten().map(|sent| sent.message_id));
    let mut stats = scene.stats("full").await;
    let known = accepted.len() as u64;
    println!(
        "{known} acknowledged, {unknown} unknown, {} there",
        stats.messages
    );
    assert!(
        (known..=known + unknown).contains(&stats.messages),
        "{stats:?}"
    );
    while stats.messages < MOST {
        let sent = patient.send(Message::new("the rest")).await;
        accepted.insert(sent.expect("there is room").message_id);
        stats = scene.stats("full").await;
    }
    let hasty = scene.client.producer("full").attempts(1).start().await;
    let refused = hasty.expect("ready").send(Message::new("too much")).await;
    let refused = refused.expect_err("it is full").to_string();
    assert!(refused.contains("limit of messages"), "{refused}");
    let consumer = scene.consumer("full").await;
    for _ in 0..MOST {
        let delivery = next(&consumer).await;
        accepted.remove(&delivery.id);
        delivery.ack().await.expect("it is leased");
    }
    assert_eq!(accepted, BTreeSet::new(), "acknowledged and not there");
    assert_eq!(scene.stats("full").await.messages, 0);
}

async fn peek(scene: &Scene) -> Vec<PeekedMessage> {
    let peeked = scene.client.peek("seen", MessageFilter::default(), 100);
    peeked.await.expect("the leaders answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_says_the_same_is_known_and_what_is_deleted_is_gone_under_a_new_leader() {
    let scene = Scene::start().await;
    let mut by_content = Deduplication::default();
    by_content.set_by(DeduplicateBy::Content);
    let says = QueueSpec {
        partitions: 3,
        deduplication: Some(by_content),
        ..QueueSpec::default()
    };
    scene.queue("says", says).await;
    let seen = QueueSpec {
        partitions: 3,
        lease: Some(seconds(600)),
        ..QueueSpec::default()
    };
    scene.queue("seen", seen).await;
    let all = || (0..30).map(|number| Message::new(number.to_string()));
    let mut first = Vec::new();
    for sent in scene.producer("says").await.send_all(all()).await {
        first.push(sent.expect("it is accepted").message_id);
    }
    for sent in scene.producer("seen").await.send_all(all()).await {
        sent.expect("it is accepted");
    }
    let consumer = scene.client.consumer("seen").max_in_flight(1);
    let consumer = consumer.start().await.expect("ready");
    let held = next(&consumer).await;
    let before = peek(&scene).await;
    scene.kill_leader_of("seen").await;
    // Where each stood it still stands.
    let sorted = |all: &[PeekedMessage]| {
        let each = all
            .iter()
            .map(|m| (m.partition, m.sequence, m.location.clone(), m.state));
        each.collect::<BTreeSet<_>>()
    };
    assert_eq!(sorted(&peek(&scene).await), sorted(&before));
    let leased = before.iter().find(|m| m.message_id == held.id);
    let leased = leased.expect("it is shown");
    assert_eq!((before.len(), leased.state()), (30, MessageState::InFlight));
    let delete = async |m: &PeekedMessage, force| {
        let deleted = scene
            .client
            .delete_message("seen", &m.location, &m.message_id, force);
        deleted.await
    };
    for m in before.iter().filter(|m| m.state() == MessageState::Ready) {
        delete(m, false).await.expect("it is there");
    }
    let refused = delete(leased, false).await;
    assert!(refused.is_err(), "it is leased");
    delete(leased, true).await.expect("it is forced");
    assert_eq!(peek(&scene).await, []);
    let stale = held.ack().await;
    assert!(matches!(stale, Err(SettleError::Stale(_))), "{stale:?}");

    let other = scene.producer("says").await;
    for (id, sent) in first.iter().zip(other.send_all(all()).await) {
        let sent = sent.expect("it is answered");
        assert_eq!((&sent.message_id, sent.duplicate), (id, true));
    }
    let another = Message::new("0").content_type("text/plain");
    let another = other.send(another).await.expect("it is accepted");
    assert!(!another.duplicate, "it does not say the same");
    assert_eq!(scene.stats("says").await.messages, 31);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_16_mib_is_delivered_and_one_byte_more_is_refused() {
    const MOST: usize = 16 << 20;
    let scene = Scene::with(StoreOptions::default(), Controls::default()).await;
    let spec = QueueSpec {
        ordering: Ordering::PerKey.into(),
        limits: Some(QueueLimits {
            max_message_bytes: MOST as u32,
            ..QueueLimits::default()
        }),
        ..QueueSpec::default()
    };
    scene.queue("large", spec).await;
    let producer = scene.producer("large").await;
    let of = |bytes| Message::new(vec![7_u8; bytes]).key("k".repeat(128));
    producer.send(of(MOST)).await.expect("it is not too large");
    for message in [of(MOST + 1), of(MOST).attribute("a", "b")] {
        let error = producer.send(message).await.expect_err("it is too large");
        assert!(matches!(error, SendError::Refused(_)), "{error}");
    }
    let both = [of(MOST / 2), of(MOST / 2)];
    let both = producer.send_atomic(both).await;
    assert_eq!(both.expect("together they are not").len(), 2);
    let consumer = scene.consumer("large").await;
    for size in [MOST, MOST / 2, MOST / 2] {
        let delivery = next(&consumer).await;
        assert_eq!(delivery.body.len(), size);
        delivery.ack().await.expect("it is leased");
    }
}
