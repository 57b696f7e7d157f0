//! The producer against a stand-in: routing, batching, retries without duplicates, failures.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod standin;

use std::time::{Duration, Instant};

use roadstead_client::proto::{Deduplication, Ordering};
use roadstead_client::{Message, SendError};

use self::standin::Cluster;
use self::standin::queue::Queue;

const LEASE: Duration = Duration::from_secs(30);

fn messages(count: usize) -> impl Iterator<Item = Message> {
    (0..count).map(|number| Message::new(number.to_string()))
}

#[tokio::test]
async fn batches_go_to_the_leaders() {
    let cluster = Cluster::start(3, Queue::new(6, LEASE));
    let producer = cluster.client().await.producer("q").start().await.unwrap();
    let outcomes = producer.send_all(messages(1_000)).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let state = cluster.shared.lock();
    assert_eq!(state.queues["default/q"].live(), 1_000);
    assert_eq!(state.forwarded, 0);
    assert!(state.batches.len() < 100, "{} batches", state.batches.len());
}

#[tokio::test]
async fn what_is_refused_for_now_is_sent_again() {
    let cluster = Cluster::start(1, Queue::new(2, LEASE));
    let producer = cluster.client().await.producer("q").start().await.unwrap();
    cluster.shared.lock().faults.refuse_sends = 3;
    let accepted = producer.send(Message::new("a")).await.unwrap();
    assert_eq!(accepted.attempts, 4);
    assert!(!accepted.duplicate);
}

#[tokio::test]
async fn a_lost_answer_makes_no_duplicate() {
    let cluster = Cluster::start(2, Queue::new(2, LEASE));
    let producer = cluster.client().await.producer("q").start().await.unwrap();
    producer.send(Message::new("before")).await.unwrap();
    cluster.shared.lock().faults.lose_answers = 2;
    let outcomes = producer.send_all(messages(100)).await;
    let duplicates = outcomes
        .iter()
        .filter(|one| one.as_ref().unwrap().duplicate)
        .count();
    let mut state = cluster.shared.lock();
    assert!(duplicates > 0);
    assert!(state.queue().duplicates as usize >= duplicates);
    assert_eq!(state.queue().live(), 101);
}

#[tokio::test]
async fn order_is_kept_through_retries_where_it_is_promised() {
    let mut queue = Queue::new(1, LEASE);
    queue.ordering = Ordering::PerKey.into();
    let cluster = Cluster::start(1, queue);
    let producer = cluster.client().await.producer("q").batch(10, 1 << 20);
    let producer = producer.start().await.unwrap();
    cluster.shared.lock().faults.lose_answers = 1;
    let keyed = messages(100).map(|message| message.key("k"));
    let feed = async {
        let mut sending = Vec::new();
        for (number, message) in keyed.enumerate() {
            if number == 50 {
                cluster.shared.lock().faults.refuse_sends = 2;
            }
            sending.push(producer.enqueue(message).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for one in sending {
            one.await.unwrap();
        }
    };
    feed.await;
    let bodies = cluster.shared.lock().queue().bodies(0);
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn a_message_with_an_id_goes_to_where_it_is_remembered() {
    let mut queue = Queue::new(8, LEASE);
    queue.deduplication = Some(Deduplication::default());
    let cluster = Cluster::start(1, queue);
    // Each is another producer: ids mean the same to all of them.
    for _ in 0..2 {
        let producer = cluster.client().await.producer("q").start().await.unwrap();
        for (id, partition) in [("a", 1), ("customer-3", 3)] {
            let message = Message::new(id).key("other").deduplication_id(id);
            let accepted = producer.send(message).await.unwrap();
            assert_eq!(accepted.partition, partition, "{id}");
        }
    }
    let mut state = cluster.shared.lock();
    assert_eq!(state.queue().bodies(1), ["a", "a"]);
    assert_eq!(state.queue().bodies(3), ["customer-3", "customer-3"]);
}

#[tokio::test]
async fn a_killed_leader_costs_no_message() {
    let mut cluster = Cluster::start(3, Queue::new(6, LEASE));
    let producer = cluster.client().await.producer("q").start().await.unwrap();
    cluster.shared.lock().faults.delay = Duration::from_millis(5);
    let mut sending = Vec::new();
    for (number, message) in messages(3_000).enumerate() {
        if number == 1_500 {
            cluster.kill(1);
        }
        sending.push(producer.enqueue(message).await);
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for one in sending {
        one.await.unwrap();
    }
    assert_eq!(cluster.shared.lock().queue().live(), 3_000);
}

#[tokio::test]
async fn another_node_forwards_while_the_leader_cannot_be_reached() {
    let mut cluster = Cluster::start(2, Queue::new(1, LEASE));
    let producer = cluster.client().await.producer("q").start().await.unwrap();
    producer.send(Message::new("before")).await.unwrap();
    cluster.silence(0);
    for number in 0..70 {
        let started = Instant::now();
        producer
            .send(Message::new(number.to_string()))
            .await
            .unwrap();
        let took = started.elapsed();
        assert!(
            took < Duration::from_secs(1),
            "message {number} took {took:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_batch_goes_to_the_new_leader_when_the_old_one_does_not_answer() {
    let cluster = Cluster::start(2, Queue::new(1, LEASE));
    let producer = cluster.client().await.producer("q").start().await.unwrap();
    producer.send(Message::new("before")).await.unwrap();
    cluster.shared.lock().faults.mute = Some(0);
    let started = Instant::now();
    let sending = producer.enqueue(Message::new("a")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.lead(1);
    let accepted = sending.await.unwrap();
    assert!(accepted.duplicate, "the old leader had accepted it");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(cluster.shared.lock().queue().live(), 2);
}

#[tokio::test]
async fn the_way_leads_back_to_a_leader_that_returned() {
    let mut cluster = Cluster::start(2, Queue::new(2, LEASE));
    let client = cluster.client().await;
    let producer = client.producer("q").start().await.unwrap();
    cluster.kill(0);
    producer
        .send_all(messages(100))
        .await
        .into_iter()
        .for_each(|one| drop(one.unwrap()));
    cluster.restart(0);
    cluster.lead(0);
    let started = Instant::now();
    loop {
        cluster.shared.lock().forwarded = 0;
        producer
            .send_all(messages(20))
            .await
            .into_iter()
            .for_each(|one| drop(one.unwrap()));
        if cluster.shared.lock().forwarded == 0 {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "still forwarded"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_failure_says_whether_the_message_may_be_there() {
    let mut cluster = Cluster::start(1, Queue::new(1, LEASE));
    let producer = cluster
        .client()
        .await
        .producer("q")
        .timeout(Duration::from_millis(300));
    let producer = producer.start().await.unwrap();
    producer.send(Message::new("a")).await.unwrap();
    cluster.shared.lock().faults.delay = Duration::from_secs(9);
    let error = producer.send(Message::new("b")).await.unwrap_err();
    assert!(matches!(error, SendError::Unknown { .. }), "{error}");
    cluster.kill(0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = producer.send(Message::new("c")).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent { .. }), "{error}");
    assert_eq!(cluster.shared.lock().queue().live(), 2);
}

#[tokio::test]
async fn a_queue_that_is_gone_is_said_so_at_once() {
    let cluster = Cluster::start(1, Queue::new(1, LEASE));
    let client = cluster.client().await;
    let error = client.producer("nowhere/q").start().await.unwrap_err();
    assert!(
        error.to_string().contains("nowhere/q does not exist"),
        "{error}"
    );

    let producer = client.producer("q").start().await.unwrap();
    producer.send(Message::new("a")).await.unwrap();
    cluster.shared.lock().queues.clear();
    let error = producer.send(Message::new("b")).await.unwrap_err();
    assert!(
        error.to_string().contains("default/q does not exist"),
        "{error}"
    );
}

#[tokio::test]
async fn calls_are_tried_again() {
    let cluster = Cluster::start(1, Queue::new(3, LEASE));
    let client = cluster.client().await;
    cluster.shared.lock().faults.refuse_calls = 3;
    assert_eq!(client.queue("q").await.unwrap().shards.len(), 3);
}
