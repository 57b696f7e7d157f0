//! The consumer against a stand-in: credit, settling, leases, reconnects, orderly end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod standin;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use roadstead_client::proto::OutgoingMessage;
use roadstead_client::{Client, Message, Outcome, ReceiveError, SettleError};
use tokio::sync::Notify;
use tokio::time::sleep;

use self::standin::Cluster;
use self::standin::queue::Queue;

const LEASE: Duration = Duration::from_secs(30);

async fn filled(nodes: usize, queue: Queue, messages: usize) -> (Cluster, Client) {
    let cluster = Cluster::start(nodes, queue);
    let client = cluster.client().await;
    let producer = client.producer("q").start().await.unwrap();
    let bodies = (0..messages).map(|number| Message::new(number.to_string()));
    for outcome in producer.send_all(bodies).await {
        outcome.unwrap();
    }
    (cluster, client)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "not within 20 s: {what}"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn every_message_is_received_and_acked_once() {
    let (cluster, client) = filled(3, Queue::new(6, LEASE), 1_000).await;
    let consumer = client
        .consumer("q")
        .max_in_flight(50)
        .start()
        .await
        .unwrap();
    for _ in 0..1_000 {
        let delivery = consumer.next().await.unwrap().unwrap();
        assert_eq!(delivery.delivery_count, 1);
        drop(delivery.ack());
    }
    assert!(consumer.close(Duration::from_secs(5)).await);
    let mut state = cluster.shared.lock();
    let queue = state.queue();
    assert_eq!((queue.live(), queue.acked.len()), (0, 1_000));
    assert!(
        queue.most_leased <= 50,
        "{} were leased at once",
        queue.most_leased
    );
}

#[tokio::test]
async fn what_one_partition_has_is_held_up_to_the_limit_of_all_streams() {
    let cluster = Cluster::start(3, Queue::new(3, LEASE));
    let client = cluster.client().await;
    for number in 0..2_000 {
        let message = OutgoingMessage {
            body: number.to_string().into(),
            ..OutgoingMessage::default()
        };
        cluster.shared.lock().queue().send("p", 1, 0, message);
    }
    let consumer = client.consumer("q").max_in_flight(100);
    let consumer = consumer.start().await.unwrap();
    let mut held = Vec::new();
    while held.len() < 100 {
        let next = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await;
        held.push(next.expect("there is room").unwrap().unwrap());
    }
    sleep(Duration::from_millis(300)).await;
    assert_eq!(cluster.shared.lock().queue().most_leased, 100);
    // A message elsewhere comes with the next room, not behind all of the backlog.
    let message = OutgoingMessage::default();
    cluster.shared.lock().queue().send("p", 2, 0, message);
    for delivery in held.drain(..10) {
        delivery.ack().await.unwrap();
    }
    let mut came = Vec::new();
    while !came.contains(&2) {
        let next = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await;
        let next = next.expect("both streams are served").unwrap().unwrap();
        came.push(next.partition);
        next.ack().await.unwrap();
    }
    assert!(came.len() <= 500, "{came:?}");
    assert_eq!(cluster.shared.lock().queue().most_leased, 100);
}

#[tokio::test]
async fn one_in_flight_is_one_over_many_partitions() {
    let (cluster, client) = filled(3, Queue::new(6, LEASE), 20).await;
    let consumer = client.consumer("q").max_in_flight(1).start().await.unwrap();
    for _ in 0..20 {
        let delivery = consumer.next().await.unwrap().unwrap();
        delivery.ack().await.unwrap();
    }
    assert_eq!(cluster.shared.lock().queue().most_leased, 1);
}

#[tokio::test]
async fn a_lease_is_kept_alive_while_the_message_is_worked_on() {
    let (cluster, client) = filled(1, Queue::new(1, Duration::from_millis(200)), 2).await;
    let consumer = client.consumer("q").start().await.unwrap();
    let first = consumer.next().await.unwrap().unwrap();
    sleep(Duration::from_secs(1)).await;
    let second = consumer.next().await.unwrap().unwrap();
    assert_eq!(second.delivery_count, 1, "also while it waits to be taken");
    first.ack().await.unwrap();
    second.ack().await.unwrap();
    assert!(cluster.shared.lock().queue().extended >= 8);
}

#[tokio::test]
async fn a_dead_leader_costs_neither_messages_nor_acks() {
    let (mut cluster, client) = filled(3, Queue::new(6, LEASE), 2_000).await;
    let consumer = client
        .consumer("q")
        .max_in_flight(120)
        .start()
        .await
        .unwrap();
    let mut settled = Vec::new();
    for number in 0..2_000 {
        if number == 500 {
            cluster.kill(1);
        }
        let next = tokio::time::timeout(Duration::from_secs(20), consumer.next());
        let delivery = next.await.expect("deliveries stopped").unwrap().unwrap();
        assert_eq!(delivery.delivery_count, 1);
        settled.push(delivery.ack());
    }
    for one in settled {
        match one.await {
            // The stand-in dies between doing it and saying so.
            Ok(()) | Err(SettleError::Unknown(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let mut state = cluster.shared.lock();
    assert_eq!(state.queue().acked.len(), 2_000);
    let opened = &state.queue().streams;
    let numbers: std::collections::BTreeSet<u64> = opened.iter().copied().collect();
    // None is used twice, so that a late one is known for what it is.
    // Whether the dead one's is opened anew before all is done is chance.
    assert!(
        opened.len() >= 3 && numbers.len() == opened.len(),
        "{opened:?}"
    );
    assert!(!numbers.contains(&0), "{opened:?}");
}

#[tokio::test]
async fn a_leader_that_says_nothing_is_gone_around() {
    let mut cluster = Cluster::start(2, Queue::new(1, LEASE));
    let client = cluster.client().await;
    let producer = client.producer("q").start().await.unwrap();
    let consumer = client.consumer("q").start().await.unwrap();
    cluster.silence(0);
    // It tries the leader again and again meanwhile.
    for number in 0..12 {
        producer
            .send(Message::new(number.to_string()))
            .await
            .unwrap();
        let started = Instant::now();
        let delivery = consumer.next().await.unwrap().unwrap();
        delivery.ack().await.unwrap();
        let took = started.elapsed();
        assert!(took < Duration::from_secs(4), "message {number}: {took:?}");
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn a_lost_answer_to_an_ack_is_not_called_stale() {
    let (cluster, client) = filled(1, Queue::new(1, LEASE), 1).await;
    let consumer = client.consumer("q").start().await.unwrap();
    let delivery = consumer.next().await.unwrap().unwrap();
    cluster.shared.lock().faults.lose_settles = 1;
    let error = delivery.ack().await.unwrap_err();
    assert!(matches!(error, SettleError::Unknown(_)), "{error}");
}

#[tokio::test]
async fn stopping_gives_back_what_was_not_begun() {
    let (cluster, client) = filled(1, Queue::new(2, LEASE), 100).await;
    let consumer = client
        .consumer("q")
        .max_in_flight(40)
        .start()
        .await
        .unwrap();
    let taken = consumer.next().await.unwrap().unwrap();
    until("40 are leased", || {
        cluster.shared.lock().queue().leased(consumer.session()) == 40
    })
    .await;
    consumer.stop();
    until("39 are back", || {
        cluster.shared.lock().queue().unstarted.len() == 39
    })
    .await;
    assert!(consumer.next().await.unwrap().is_none());
    taken.ack().await.unwrap();
    assert!(consumer.close(Duration::from_secs(5)).await);
    assert_eq!(cluster.shared.lock().queue().live(), 99);
}

#[tokio::test]
async fn dropping_a_message_gives_it_back() {
    let (cluster, client) = filled(1, Queue::new(1, LEASE), 1).await;
    let consumer = client.consumer("q").start().await.unwrap();
    drop(consumer.next().await.unwrap().unwrap());
    let again = consumer.next().await.unwrap().unwrap();
    assert_eq!(again.delivery_count, 2);
    drop(again.reject("not for us"));
    assert!(consumer.close(Duration::from_secs(5)).await);
    assert_eq!(cluster.shared.lock().queue().rejected.len(), 1);
}

#[tokio::test]
async fn a_run_ends_in_order() {
    let (cluster, client) = filled(1, Queue::new(2, LEASE), 100).await;
    let consumer = client
        .consumer("q")
        .max_in_flight(30)
        .start()
        .await
        .unwrap();
    let (stop, begun) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (stopper, counter) = (stop.clone(), begun.clone());
    let handler = move |message: Arc<roadstead_client::ReceivedMessage>| {
        let (stopper, counter) = (stopper.clone(), counter.clone());
        async move {
            if counter.fetch_add(1, Ordering::Relaxed) == 20 {
                stopper.notify_one();
            }
            sleep(Duration::from_millis(20)).await;
            match message.body.as_ref() {
                b"3" => Outcome::Reject {
                    error: "three".into(),
                },
                b"4" => panic!("a bug in a handler"),
                _ => Outcome::Ack,
            }
        }
    };
    let report = consumer
        .run(4, handler, async move { stop.notified().await })
        .await
        .unwrap();
    let begun = begun.load(Ordering::Relaxed) as u64;
    assert_eq!(report.acked + report.failed, begun, "{report:?}");
    assert!(begun < 30 && report.cut == 0, "{begun} {report:?}");
    let mut state = cluster.shared.lock();
    let queue = state.queue();
    assert_eq!(queue.acked.len() as u64, report.acked);
    assert!(!queue.unstarted.is_empty());
    assert!(queue.live() >= 70);
}

#[tokio::test]
async fn a_queue_that_goes_ends_its_consumers() {
    let (cluster, client) = filled(1, Queue::new(1, LEASE), 0).await;
    let consumer = client.consumer("q").start().await.unwrap();
    sleep(Duration::from_millis(50)).await;
    cluster.shared.lock().queues.clear();
    let ended = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await;
    let error = ended.expect("the consumer waits for ever").unwrap_err();
    let ReceiveError::Refused(fault) = error;
    assert!(fault.message.contains("does not exist"), "{fault}");
}

#[tokio::test]
async fn a_queue_that_was_made_anew_is_another_one() {
    let (cluster, client) = filled(1, Queue::new(1, LEASE), 0).await;
    let consumer = client.consumer("q").start().await.unwrap();
    sleep(Duration::from_millis(50)).await;
    let mut anew = Queue::new(1, LEASE);
    anew.id = 2;
    *cluster.shared.lock().queue() = anew;
    let ended = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await;
    let ReceiveError::Refused(fault) = ended.expect("it moved over").unwrap_err();
    assert_eq!(fault.code, tonic::Code::NotFound);
}

#[tokio::test]
async fn a_group_that_was_made_anew_is_another_one() {
    let (cluster, client) = filled(1, Queue::new(1, LEASE), 0).await;
    let consumer = client.consumer("q").group("g").start().await.unwrap();
    sleep(Duration::from_millis(50)).await;
    cluster.shared.lock().queue().group_id = 2;
    let ended = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await;
    let ReceiveError::Refused(fault) = ended.expect("it moved over").unwrap_err();
    assert_eq!(fault.code, tonic::Code::NotFound);
}
