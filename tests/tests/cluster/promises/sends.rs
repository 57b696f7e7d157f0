//! Promises to producers.

use std::collections::BTreeMap;

use roadstead_client::proto::{
    DeadLetterPolicy, Deduplication, OverflowPolicy, QueueLimits, QueueSpec,
};
use roadstead_client::{Message, SendError};

use super::{Scene, body, next, rest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_delivered_and_stored_once() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        partitions: 3,
        ..QueueSpec::default()
    };
    scene.queue("plain", spec).await;
    let producer = scene.producer("plain").await;
    let mut sending = Vec::new();
    for number in 0..600 {
        if number == 300 {
            scene.kill_leader_of("plain").await;
        }
        sending.push(producer.enqueue(Message::new(number.to_string())).await);
    }
    let mut ids = BTreeMap::new();
    for (number, sending) in sending.into_iter().enumerate() {
        if let Ok(accepted) = sending.await {
            ids.insert(accepted.message_id, number.to_string());
        }
    }
    println!("{} of 600 acknowledged", ids.len());
    assert!(ids.len() > 300, "it goes on under a new leader");
    let consumer = scene.consumer("plain").await;
    let mut received = BTreeMap::<String, String>::new();
    for delivery in rest(&consumer).await {
        let before = received.insert(delivery.id.clone(), body(&delivery));
        assert!(before.is_none(), "delivered twice: {delivery:?}");
        delivery.ack().await.expect("it is leased");
    }
    for (id, body) in ids {
        assert_eq!(received.get(&id), Some(&body), "message {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_known_to_a_new_leader() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        deduplication: Some(Deduplication::default()),
        ..QueueSpec::default()
    };
    scene.queue("once", spec).await;
    let message =
        |number: u32| Message::new(number.to_string()).deduplication_id(format!("order-{number}"));
    let first = scene.producer("once").await;
    let mut ids = Vec::new();
    for sent in first.send_all((0..100).map(message)).await {
        ids.push(sent.expect("it is accepted").message_id);
    }
    scene.kill_leader_of("once").await;
    let second = scene.producer("once").await;
    for (id, sent) in ids.iter().zip(second.send_all((0..100).map(message)).await) {
        let sent = sent.expect("it is answered");
        assert_eq!((&sent.message_id, sent.duplicate), (id, true));
    }
    let stats = scene.client.queue_stats("once").await.expect("it is led");
    assert_eq!(stats.ready, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_atomic_batch_is_there_as_a_whole_or_not_at_all() {
    let scene = Scene::start().await;
    scene.queue("batches", QueueSpec::default()).await;
    let producer = scene.producer("batches").await;
    let mut accepted = Vec::new();
    for batch in 0..40 {
        if batch == 20 {
            scene.kill_leader_of("batches").await;
        }
        let messages = (0..7).map(|_| Message::new(batch.to_string()));
        match producer.send_atomic(messages).await {
            Ok(sent) => {
                assert_eq!(sent.len(), 7);
                accepted.push(batch.to_string());
            }
            Err(error) => assert!(
                !matches!(error, SendError::Refused(_)),
                "batch {batch}: {error}"
            ),
        }
    }
    println!("{} of 40 batches acknowledged", accepted.len());
    assert!(accepted.len() > 20);
    let consumer = scene.consumer("batches").await;
    let mut whole = BTreeMap::<String, usize>::new();
    for delivery in rest(&consumer).await {
        *whole.entry(body(&delivery)).or_default() += 1;
        delivery.ack().await.expect("it is leased");
    }
    assert!(whole.values().all(|count| *count == 7), "{whole:?}");
    for batch in accepted {
        assert!(whole.contains_key(&batch), "batch {batch} is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_keeps_the_newest_and_the_oldest_are_dead_letters() {
    let scene = Scene::start().await;
    scene.queue("dead", QueueSpec::default()).await;
    let mut limits = QueueLimits {
        max_messages: 50,
        ..QueueLimits::default()
    };
    limits.set_overflow(OverflowPolicy::DeadLetterOldest);
    let spec = QueueSpec {
        limits: Some(limits),
        dead_letter: Some(DeadLetterPolicy {
            queue: "dead".into(),
        }),
        ..QueueSpec::default()
    };
    scene.queue("ring", spec).await;
    let producer = scene.producer("ring").await;
    for half in [0..60, 60..120] {
        for number in half {
            let sent = producer.send(Message::new(number.to_string())).await;
            sent.expect("there is room, as it is made");
            if number == 60 {
                scene.kill_leader_of("ring").await;
            }
        }
    }
    let stats = scene.client.queue_stats("ring").await.expect("it is led");
    assert_eq!(stats.ready, 50, "never more, and no less");
    let (ring, dead) = (scene.consumer("ring").await, scene.consumer("dead").await);
    let mut newest = Vec::new();
    for delivery in rest(&ring).await {
        newest.push(body(&delivery).parse::<u32>().expect("a number"));
        delivery.ack().await.expect("it is leased");
    }
    newest.sort_unstable();
    assert_eq!(newest, (70..120).collect::<Vec<_>>());
    let mut oldest = Vec::new();
    for _ in 0..70 {
        let delivery = next(&dead).await;
        oldest.push(body(&delivery).parse::<u32>().expect("a number"));
        delivery.ack().await.expect("it is leased");
    }
    oldest.sort_unstable();
    assert_eq!(oldest, (0..70).collect::<Vec<_>>());
}
