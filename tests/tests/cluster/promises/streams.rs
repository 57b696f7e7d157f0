//! Promises to consumers about one another: who goes first, who is slow.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use roadstead_client::proto::QueueSpec;
use roadstead_client::{Consumer, Message};
use tokio::time::sleep;

use super::{LONG, Scene, body, next, seconds};

async fn send(scene: &Scene, queue: &str, count: u32) {
    let producer = scene.producer(queue).await;
    let messages = (0..count).map(|number| Message::new(number.to_string()));
    for sent in producer.send_all(messages).await {
        sent.expect("it is accepted");
    }
}

/// Longer than any test.
fn leased() -> QueueSpec {
    QueueSpec {
        lease: Some(seconds(600)),
        ..QueueSpec::default()
    }
}

/// Waits until all leaders know so many consumers that can be given something.
async fn until_served(scene: &Scene, queue: &str, count: usize) {
    let deadline = Instant::now() + LONG;
    loop {
        let listed = scene.client.consumers(queue, "default").await;
        if let Ok(listed) = &listed
            && listed.partitions_unavailable == 0
            && listed.consumers.iter().filter(|it| it.credit > 0).count() == count
        {
            return;
        }
        assert!(Instant::now() < deadline, "{listed:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Sends one by one, each when the one before was acked: all of them go to this consumer.
async fn all_go_to(scene: &Scene, first: &Consumer, other: &Consumer) {
    let producer = scene.producer("ranked").await;
    for number in 0..20 {
        let sent = producer.send(Message::new(number.to_string())).await;
        sent.expect("it is accepted");
        let came = tokio::select! {
            biased;
            came = other.next() => Err(came),
            delivery = next(first) => Ok(delivery),
        };
        let delivery = came.expect("it goes to who has the higher priority");
        delivery.ack().await.expect("it is leased");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_serves_who_has_a_higher_priority_first_as_well() {
    let scene = Scene::start().await;
    scene.queue("ranked", leased()).await;
    let of = |priority| {
        let consumer = scene.client.consumer("ranked").priority(priority);
        consumer.max_in_flight(4).start()
    };
    let low = of(1).await.expect("ready");
    let high = of(7).await.expect("ready");
    until_served(&scene, "ranked", 2).await;
    all_go_to(&scene, &high, &low).await;
    scene.kill_leader_of("ranked").await;
    until_served(&scene, "ranked", 2).await;
    all_go_to(&scene, &high, &low).await;
    // As far as its credit goes: what it cannot hold is for the other one.
    send(&scene, "ranked", 6).await;
    let mut held = Vec::new();
    while held.len() < 4 {
        held.push(next(&high).await);
    }
    for _ in 0..2 {
        next(&low).await.ack().await.expect("it is leased");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_costs_only_itself_also_under_a_new_leader() {
    let scene = Scene::start().await;
    scene.queue("slow", leased()).await;
    // It takes nothing of what it fetches ahead.
    let slow = scene.client.consumer("slow").max_in_flight(50);
    let slow = slow.start().await.expect("ready");
    send(&scene, "slow", 200).await;
    let quick = scene.client.consumer("slow").max_in_flight(20);
    let quick = quick.start().await.expect("ready");
    let mut done = BTreeSet::new();
    take(&quick, &mut done, 50).await;
    scene.kill_leader_of("slow").await;
    take(&quick, &mut done, 150).await;
    let held = scene.stats("slow").await.in_flight;
    println!("150 went by one that holds {held}");
    drop(slow);
    take(&quick, &mut done, 200).await;
}

/// Acks until so many are done. One whose answer is lost with its leader may come again.
async fn take(consumer: &Consumer, done: &mut BTreeSet<String>, until: usize) {
    while done.len() < until {
        let delivery = next(consumer).await;
        done.insert(body(&delivery));
        let _ = delivery.ack().await;
    }
}
