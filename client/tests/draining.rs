//! A consumer that is drained, against a stand-in.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod standin;

use std::sync::Arc;
use std::time::{Duration, Instant};

use roadstead_client::{Client, Consumer, Message, Outcome, ReceivedMessage};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use self::standin::Cluster;
use self::standin::queue::Queue;

const LEASE: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_mins(1);

async fn filled(nodes: usize, partitions: u32, messages: usize) -> (Cluster, Client) {
    let cluster = Cluster::start(nodes, Queue::new(partitions, LEASE));
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
        let waited = started.elapsed();
        assert!(waited < Duration::from_secs(20), "not within 20 s: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn gets_nothing(consumer: &Consumer) {
    let next = timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn what_is_not_begun_goes_back_and_deliveries_go_on_when_it_is_taken_back() {
    let (cluster, client) = filled(1, 2, 100).await;
    let consumer = client.consumer("q").max_in_flight(40).start();
    let consumer = consumer.await.unwrap();
    let taken = consumer.next().await.unwrap().unwrap();
    until("40 are leased", || {
        cluster.shared.lock().queue().leased(consumer.session()) == 40
    })
    .await;
    assert!(!consumer.is_draining());
    cluster.shared.lock().queue().drained = Some(MINUTE);
    until("39 are back", || {
        cluster.shared.lock().queue().unstarted.len() == 39
    })
    .await;
    assert!(consumer.is_draining());
    gets_nothing(&consumer).await;
    taken.ack().await.unwrap();
    gets_nothing(&consumer).await;
    assert_eq!(cluster.shared.lock().queue().leased(consumer.session()), 0);

    cluster.shared.lock().queue().drained = None;
    let mut left = 99;
    while left > 0 {
        let delivery = consumer.next().await.unwrap().unwrap();
        delivery.ack().await.unwrap();
        left -= 1;
    }
    assert!(!consumer.is_draining());
    assert_eq!(cluster.shared.lock().queue().live(), 0);
}

#[tokio::test]
async fn a_drain_that_nobody_takes_back_ends_by_itself() {
    let (cluster, client) = filled(1, 1, 1).await;
    cluster.shared.lock().queue().drained = Some(Duration::from_millis(700));
    let consumer = client.consumer("q").max_in_flight(5).start().await.unwrap();
    until("it is drained", || consumer.is_draining()).await;
    until("it is over", || !consumer.is_draining()).await;
    let delivery = timeout(LEASE, consumer.next()).await.unwrap();
    delivery.unwrap().unwrap().ack().await.unwrap();
}

#[tokio::test]
async fn it_is_said_again_on_a_new_stream() {
    let (mut cluster, client) = filled(3, 3, 0).await;
    let consumer = client.consumer("q").start().await.unwrap();
    until("streams are open", || {
        cluster.shared.lock().queue().streams.len() >= 3
    })
    .await;
    cluster.shared.lock().queue().drained = Some(MINUTE);
    until("it is drained", || consumer.is_draining()).await;
    // Each stream has heard it by then.
    sleep(Duration::from_millis(100)).await;
    let before = cluster.shared.lock().queue().drained_before.clone();
    assert!(!before.contains(&true));
    cluster.kill(1);
    until("a stream is opened again", || {
        cluster.shared.lock().queue().drained_before.len() > before.len()
    })
    .await;
    let said = cluster.shared.lock().queue().drained_before.clone();
    assert!(said[before.len()..].iter().all(|said| *said), "{said:?}");
    let producer = client.producer("q").start().await.unwrap();
    producer.send(Message::new("x")).await.unwrap();
    gets_nothing(&consumer).await;
    assert!(consumer.is_draining());
}

#[tokio::test]
async fn one_that_is_to_end_ends_when_what_it_has_is_done() {
    let (cluster, client) = filled(1, 2, 100).await;
    let consumer = client.consumer("q").max_in_flight(20);
    let consumer = consumer.end_when_drained(true).start().await.unwrap();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (seen, waits) = (begun.clone(), go_on.clone());
    let handler = move |_: Arc<ReceivedMessage>| {
        let (seen, waits) = (seen.clone(), waits.clone());
        async move {
            seen.notify_one();
            waits.notified().await;
            Outcome::Ack
        }
    };
    let run = tokio::spawn(consumer.run(1, handler, std::future::pending()));
    begun.notified().await;
    cluster.shared.lock().queue().drained = Some(MINUTE);
    until("19 are back", || {
        cluster.shared.lock().queue().unstarted.len() == 19
    })
    .await;
    assert!(!run.is_finished(), "it has one in hand");
    go_on.notify_one();
    let report = timeout(LEASE, run).await.unwrap().unwrap().unwrap();
    assert_eq!((report.acked, report.failed, report.cut), (1, 0, 0));
    assert_eq!(cluster.shared.lock().queue().live(), 99);
}
