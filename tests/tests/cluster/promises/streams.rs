//! Promises to consumers about one another: who is gone, who goes first, who is slow.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use roadstead_client::proto::QueueSpec;
use roadstead_client::{Client, Consumer, Delivery, Message};
use roadstead_tests::live::LiveHost;
use roadstead_tests::live::host::SESSION_GRACE;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::{LONG, Scene, body, next, seconds};

/// Longer than any test.
fn leased() -> QueueSpec {
    QueueSpec {
        lease: Some(seconds(600)),
        ..QueueSpec::default()
    }
}

/// A consumer in a process of its own, as far as anybody can see, that holds so many messages.
fn another(scene: &Scene, queue: &'static str, count: usize) -> (Runtime, BTreeSet<String>) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let endpoints = scene.cluster.hosts.iter().map(LiveHost::client_address);
    let endpoints: Vec<String> = endpoints.collect();
    let (told, held) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let client = Client::builder().endpoints(endpoints).connect().await;
        let client = client.expect("any node answers");
        let consumer = client.consumer(queue).max_in_flight(count as u32);
        let consumer = consumer.start().await.expect("ready");
        let mut held: Vec<Delivery> = Vec::new();
        while held.len() < count {
            held.push(next(&consumer).await);
        }
        told.send(held.iter().map(body).collect())
            .expect("it is waited for");
        // Nothing is said of the end.
        std::mem::forget((consumer, held));
        std::future::pending::<()>().await;
    });
    let held = tokio::task::block_in_place(|| held.recv_timeout(LONG));
    (runtime, held.expect("it gets its messages"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_gives_on_what_a_lost_consumer_held_and_nothing_of_others() {
    let scene = Scene::start().await;
    scene.queue("held", leased()).await;
    scene.send_numbers("held", 10).await;
    let stays = scene.client.consumer("held").max_in_flight(4);
    let stays = stays.start().await.expect("ready");
    let mut kept = Vec::new();
    while kept.len() < 4 {
        kept.push(next(&stays).await);
    }
    let (process, lost) = another(&scene, "held", 6);
    let other = scene.consumer("held").await;
    process.shutdown_background();
    let gone = Instant::now();
    scene.kill_leader_of("held").await;
    let mut found = BTreeSet::new();
    while found.len() < lost.len() {
        let delivery = next(&other).await;
        assert_eq!(delivery.delivery_count, 2, "{delivery:?}");
        found.insert(body(&delivery));
        delivery.ack().await.expect("it is leased");
    }
    let after = gone.elapsed();
    println!("what a lost consumer held came after {after:?}");
    assert!(after >= SESSION_GRACE, "it could have come back");
    assert_eq!(found, lost, "and nothing that another one holds");
    // The grace is counted anew by the new leader; that has seen the other one long since.
    let more = timeout(Duration::from_secs(2), other.next()).await;
    assert!(more.is_err(), "its consumer is there: {more:?}");
    for delivery in kept {
        delivery.ack().await.expect("its lease has lasted");
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
    scene.send_numbers("ranked", 6).await;
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
    scene.send_numbers("slow", 200).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_may_hold_all_that_it_may_hold_of_one_partition() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        partitions: 3,
        ..leased()
    };
    scene.queue("piled", spec).await;
    let producer = scene.producer("piled").await;
    let batch = (0..300).map(|number| Message::new(number.to_string()));
    let sent = producer.send_atomic(batch).await.expect("it is accepted");
    let partition = sent[0].partition;
    let consumer = scene.client.consumer("piled").max_in_flight(100);
    let consumer = consumer.start().await.expect("ready");
    let mut held = Vec::new();
    while held.len() < 100 {
        held.push(next(&consumer).await);
    }
    let more = timeout(Duration::from_secs(1), consumer.next()).await;
    assert!(more.is_err(), "it may hold no more: {more:?}");
    assert_eq!(scene.stats("piled").await.in_flight, 100);
    scene.send_numbers("piled", 60).await;
    let mut got = held.iter().map(body).collect::<Vec<_>>();
    for delivery in held {
        delivery.ack().await.expect("it is leased");
    }
    let mut elsewhere = 0;
    while got.len() < 360 {
        let delivery = next(&consumer).await;
        elsewhere += usize::from(delivery.partition != partition);
        got.push(body(&delivery));
        let in_flight = scene.stats("piled").await.in_flight;
        assert!(in_flight <= 100, "{in_flight} are leased");
        delivery.ack().await.expect("it is leased");
    }
    println!("{elsewhere} of 60 came from other partitions");
}
