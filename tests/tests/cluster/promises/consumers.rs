//! Promises to those who drain consumers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use roadstead_client::proto::consumer_selector::By;
use roadstead_client::proto::{ConsumerSelector, QueueConsumer, QueueSpec};
use roadstead_client::{Consumer, Message, Producer, SettleError};
use tokio::time::{sleep, timeout};

use super::{LONG, QUIET, Scene, body, next, seconds};

const MESSAGES: u32 = 600;
const HELD: usize = 10;

/// Sends for some seconds, one after the other.
async fn load(producer: Producer) {
    for number in 0..MESSAGES {
        let sent = producer.send(Message::new(number.to_string())).await;
        sent.expect("it is accepted");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn drain(scene: &Scene, time: Option<Duration>) -> u32 {
    let by = Some(By::Name("victim".to_owned()));
    let selectors = vec![ConsumerSelector { by }];
    let drained = scene
        .client
        .drain_consumers("work", "default", selectors, time);
    drained.await.expect("the leaders answer")
}

/// The victim as the leaders of all partitions see it, once it has so much in flight.
async fn victim_with(scene: &Scene, in_flight: usize) -> QueueConsumer {
    let deadline = Instant::now() + LONG;
    loop {
        let listed = scene.client.consumers("work", "default").await;
        if let Ok(listed) = &listed
            && listed.partitions_unavailable == 0
            && let Some(one) = listed.consumers.iter().find(|one| one.name == "victim")
            && one.in_flight as usize == in_flight
        {
            return one.clone();
        }
        assert!(Instant::now() < deadline, "{listed:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// What another consumer has acked, and what came to it a second time without a reason.
#[derive(Default)]
struct Work {
    done: BTreeSet<u32>,
    /// Acks whose answer was lost: these may come again.
    unknown: BTreeSet<u32>,
    again: BTreeMap<u32, u32>,
}

impl Work {
    async fn take(&mut self, consumer: &Consumer, until: usize) {
        while self.done.len() < until {
            let delivery = next(consumer).await;
            let number: u32 = body(&delivery).parse().expect("a number");
            let count = delivery.delivery_count;
            if count > 1 && !self.unknown.contains(&number) {
                self.again.insert(number, count);
            }
            match delivery.ack().await {
                Ok(()) => drop(self.done.insert(number)),
                Err(error) => {
                    self.unknown.insert(number);
                    if matches!(error, SettleError::Unknown(_)) {
                        self.done.insert(number);
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_consumer_gets_nothing_new_through_a_change_of_leader() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        partitions: 3,
        // Shorter than the test: what is held is extended all the time.
        lease: Some(seconds(5)),
        ..QueueSpec::default()
    };
    scene.queue("work", spec).await;
    let named = |name: &str| scene.client.consumer("work").name(name);
    let victim = named("victim").max_in_flight(60);
    let victim = victim.start().await.expect("the queue can be consumed");
    let other = named("other").max_in_flight(1_000);
    let other = other.start().await.expect("the queue can be consumed");
    let sender = tokio::spawn(load(scene.producer("work").await));
    let mut held = Vec::new();
    while held.len() < HELD {
        held.push(next(&victim).await);
    }
    let mut work = Work::default();
    assert_eq!(drain(&scene, Some(Duration::from_mins(5))).await, 1);
    // What it had fetched ahead goes back, and nothing else comes.
    assert!(victim_with(&scene, HELD).await.draining);
    assert!(victim.is_draining());
    work.take(&other, 150).await;
    assert!(victim_with(&scene, HELD).await.draining);

    scene.kill_leader_of("work").await;
    work.take(&other, MESSAGES as usize - HELD).await;
    sender.await.expect("all are sent");
    let seen = victim_with(&scene, HELD).await;
    assert!(seen.draining && victim.is_draining(), "{seen:?}");
    let came = timeout(QUIET, victim.next()).await;
    assert!(came.is_err(), "it is drained: {came:?}");
    for delivery in held {
        let number = body(&delivery).parse().expect("a number");
        assert!(!work.done.contains(&number), "{number} was held");
        delivery.ack().await.expect("its lease has lasted");
        work.done.insert(number);
    }
    assert_eq!(work.done, (0..MESSAGES).collect());
    assert_eq!(work.again, BTreeMap::new(), "delivered again");
    assert!(victim_with(&scene, 0).await.draining);

    assert_eq!(drain(&scene, None).await, 1);
    other.stop();
    assert!(other.close(LONG).await);
    let producer = scene.producer("work").await;
    for sent in producer.send_all(["a", "b", "c"].map(Message::new)).await {
        sent.expect("it is accepted");
    }
    for _ in 0..3 {
        next(&victim).await.ack().await.expect("it is leased");
    }
    assert!(!victim.is_draining());
}
