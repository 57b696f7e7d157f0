//! Promises to consumers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use roadstead_client::proto::{
    DeadLetterPolicy, DeliveryGuarantee, Ordering, QueueLimits, QueueRef, QueueSpec,
    ReceiveRequest, RetryPolicy,
};
use roadstead_client::{Consumer, Message, Output, SettleError};

use super::{LONG, QUIET, Scene, body, next, rest, seconds};

fn numbers(count: u32) -> impl Iterator<Item = Message> {
    (0..count).map(|number| Message::new(number.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_exclusive_through_a_change_of_leader() {
    let scene = Scene::start().await;
    scene.queue("leased", QueueSpec::default()).await;
    scene.send("leased", numbers(20)).await;
    let holder = scene
        .client
        .consumer("leased")
        .lease(Duration::from_secs(12));
    let holder = holder.max_in_flight(20).start().await.expect("ready");
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(next(&holder).await);
    }
    let other = scene.consumer("leased").await;
    scene.kill_leader_of("leased").await;
    // Longer than the lease: the client keeps it alive, at the new leader too.
    let came = tokio::time::timeout(Duration::from_secs(16), other.next()).await;
    assert!(came.is_err(), "it is leased to another: {came:?}");
    for delivery in held {
        delivery.ack().await.expect("the lease has lasted");
    }
    assert!(rest(&other).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_per_key_is_kept_by_a_new_leader() {
    let scene = Scene::start().await;
    let mut spec = QueueSpec {
        partitions: 3,
        retries: Some(RetryPolicy {
            max_deliveries: 1_000,
            ..RetryPolicy::default()
        }),
        ..QueueSpec::default()
    };
    spec.set_ordering(Ordering::PerKey);
    scene.queue("ordered", spec).await;
    let keyed = |number: u32| Message::new(number.to_string()).key(format!("k{}", number % 6));
    scene.send("ordered", (0..180).map(keyed)).await;
    let consumer = scene.consumer("ordered").await;
    let mut done = BTreeMap::<String, Vec<u32>>::new();
    let (mut handled, mut acked) = (0, BTreeSet::new());
    while acked.len() < 180 {
        let delivery = next(&consumer).await;
        let number: u32 = body(&delivery).parse().expect("a number");
        let key = delivery.ordering_key.clone();
        let last = done.entry(key).or_default();
        assert!(
            last.last().is_none_or(|last| *last <= number),
            "{number} after {last:?}"
        );
        last.push(number);
        handled += 1;
        if handled == 60 {
            scene.kill_leader_of("ordered").await;
        }
        // Some are given back: their key waits for them.
        if handled % 11 == 0 {
            let _ = delivery.nack(Duration::from_millis(50), "again").await;
        } else if matches!(delivery.ack().await, Ok(()) | Err(SettleError::Unknown(_))) {
            acked.insert(number);
        }
    }
    println!("180 messages, {handled} deliveries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_once_is_never_twice() {
    let scene = Scene::start().await;
    let mut spec = QueueSpec::default();
    spec.set_delivery(DeliveryGuarantee::AtMostOnce);
    scene.queue("once", spec).await;
    scene.send("once", numbers(200)).await;
    let consumer = scene.client.consumer("once").max_in_flight(5);
    let consumer = consumer.start().await.expect("ready");
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        assert!(seen.insert(body(&next(&consumer).await)));
    }
    scene.kill_leader_of("once").await;
    // Each is given up at once, which grants the next.
    while let Ok(next) = tokio::time::timeout(2 * QUIET, consumer.next()).await {
        let delivery = next.expect("it is delivered").expect("it goes on");
        assert!(seen.insert(body(&delivery)), "twice: {delivery:?}");
    }
    println!(
        "{} of 200 delivered, the others with the leader",
        seen.len()
    );
    assert!(seen.len() > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_asks_for_it_gets_nothing_twice_of_any_queue() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        // Fewer than are delivered before any would be settled.
        limits: Some(QueueLimits {
            max_in_flight: 10,
            ..QueueLimits::default()
        }),
        ..QueueSpec::default()
    };
    scene.queue("chosen", spec).await;
    scene.send("chosen", numbers(100)).await;
    let careless = scene.client.consumer("chosen").at_most_once(true);
    let careless = careless.max_in_flight(5).start().await.expect("ready");
    let careful = scene.client.consumer("chosen");
    let careful = careful.max_in_flight(10).start().await.expect("ready");
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(next(&careful).await);
    }
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        assert!(seen.insert(body(&next(&careless).await)));
    }
    scene.kill_leader_of("chosen").await;
    while let Ok(next) = tokio::time::timeout(2 * QUIET, careless.next()).await {
        let delivery = next.expect("it is delivered").expect("it goes on");
        assert!(seen.insert(body(&delivery)), "twice: {delivery:?}");
    }
    println!("{} of 100 delivered at most once", seen.len());
    // The other one's are its own, and at least once.
    for delivery in held {
        assert!(!seen.contains(&body(&delivery)), "{delivery:?}");
        delivery.ack().await.expect("its lease was extended");
    }
    assert!(seen.len() > 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_waits_and_is_not_early_under_a_new_leader() {
    let scene = Scene::start().await;
    scene.queue("retried", QueueSpec::default()).await;
    let wait = Duration::from_secs(3);
    let begin = Instant::now();
    scene
        .send("retried", [Message::new("delayed").delay(wait)])
        .await;
    scene.send("retried", [Message::new("nacked")]).await;
    let consumer = scene.consumer("retried").await;
    let first = next(&consumer).await;
    assert_eq!(body(&first), "nacked");
    let nacked = Instant::now();
    first.nack(wait, "not yet").await.expect("it is leased");
    scene.kill_leader_of("retried").await;
    for _ in 0..2 {
        let delivery = next(&consumer).await;
        let since = if body(&delivery) == "nacked" {
            assert_eq!(delivery.delivery_count, 2);
            nacked
        } else {
            begin
        };
        // The clock of the cluster may be ahead of ours by a little.
        let waited = since.elapsed() + Duration::from_millis(100);
        assert!(waited >= wait, "{delivery:?} after {waited:?}");
        delivery.ack().await.expect("it is leased");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_go_and_come_back_exactly_once() {
    let scene = Scene::start().await;
    scene.queue("dead", QueueSpec::default()).await;
    let spec = QueueSpec {
        partitions: 3,
        dead_letter: Some(DeadLetterPolicy {
            queue: "dead".into(),
        }),
        lease: Some(seconds(10)),
        ..QueueSpec::default()
    };
    scene.queue("jobs", spec).await;
    scene.send("jobs", numbers(90)).await;
    let jobs = scene.consumer("jobs").await;
    let mut rejected = BTreeMap::new();
    for turn in 0..90 {
        if turn == 45 {
            scene.kill_leader_of("jobs").await;
        }
        let delivery = next(&jobs).await;
        rejected.insert(delivery.id.clone(), body(&delivery));
        let _ = delivery.reject("no").await;
    }
    for delivery in rest(&jobs).await {
        rejected.insert(delivery.id.clone(), body(&delivery));
        let _ = delivery.reject("no").await;
    }
    assert_eq!(rejected.len(), 90);
    let deadline = Instant::now() + LONG;
    while Instant::now() < deadline {
        let stats = scene.client.queue_stats("dead").await.expect("it is led");
        if stats.ready == 90 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut redrive = scene.client.redrive("dead");
    let mut moved = 0;
    while let Some(piece) = redrive.next().await.expect("they are moved") {
        moved += piece.moved;
    }
    assert_eq!(moved, 90);
    let mut back = BTreeMap::new();
    for _ in 0..90 {
        let delivery = next(&jobs).await;
        assert!(delivery.dead_letter.is_none(), "{delivery:?}");
        let before = back.insert(delivery.id.clone(), body(&delivery));
        assert!(before.is_none(), "twice: {delivery:?}");
        delivery.ack().await.expect("it is leased");
    }
    assert_eq!(back, rejected, "the same messages under the same ids");
    assert!(rest(&scene.consumer("dead").await).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_and_what_came_of_it_are_one_step() {
    let scene = Scene::start().await;
    let spec = || QueueSpec {
        partitions: 3,
        lease: Some(seconds(5)),
        retries: Some(RetryPolicy {
            max_deliveries: 1_000,
            ..RetryPolicy::default()
        }),
        ..QueueSpec::default()
    };
    scene.queue("orders", spec()).await;
    scene.queue("invoices", spec()).await;
    scene.send("orders", numbers(200)).await;
    let orders = scene.consumer("orders").await;
    let mut handled = 0;
    loop {
        let Ok(delivery) = tokio::time::timeout(6 * QUIET, orders.next()).await else {
            break;
        };
        let delivery = delivery.expect("it is delivered").expect("it goes on");
        let invoice = Message::new(body(&delivery));
        handled += 1;
        if handled == 100 {
            scene.kill_leader_of("orders").await;
        }
        match delivery.complete([Output::new("invoices", invoice)]).await {
            Ok(ids) => assert_eq!(ids.len(), 1),
            Err(error) => println!("message {handled}: {error}"),
        }
    }
    println!("200 orders, {handled} deliveries");
    let invoices = scene.consumer("invoices").await;
    let mut bills = BTreeMap::<u32, usize>::new();
    for _ in 0..200 {
        let delivery = next(&invoices).await;
        let number = body(&delivery).parse().expect("a number");
        *bills.entry(number).or_default() += 1;
        delivery.ack().await.expect("it is leased");
    }
    assert!(
        rest(&invoices).await.is_empty(),
        "an order was billed twice"
    );
    assert_eq!(bills, (0..200).map(|number| (number, 1)).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_whose_answer_is_lost_gets_the_same_messages_of_a_new_leader() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        partitions: 3,
        ..QueueSpec::default()
    };
    scene.queue("once", spec).await;
    scene.send("once", numbers(10)).await;
    let mut request = ReceiveRequest {
        queue: Some(QueueRef {
            namespace: "default".into(),
            name: "once".into(),
        }),
        max_messages: 4,
        wait: Some(seconds(20)),
        retry_token: "this one".into(),
        ..ReceiveRequest::default()
    };
    let mut first = scene
        .client
        .receive_as(request.clone())
        .await
        .expect("some are ready");
    scene.kill_leader_of("once").await;
    request.retried = true;
    let mut again = scene
        .client
        .receive_as(request)
        .await
        .expect("a new leader answers");
    for deliveries in [&mut first, &mut again] {
        deliveries.sort_by_key(|(message, _)| (message.partition, message.sequence));
    }
    assert_eq!(first.len(), 4);
    let shown = |all: &[(_, bytes::Bytes)]| all.iter().map(|(_, r)| r.clone()).collect::<Vec<_>>();
    assert_eq!(shown(&first), shown(&again), "the same receipts");
    let mut others = 0;
    while others < 6 {
        let more = scene.client.receive("once", 10, LONG).await;
        others += more.expect("the others are ready").len();
    }
    assert_eq!(others, 6, "and no others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_exclusive_consumer_works_and_another_takes_its_place() {
    let scene = Scene::start().await;
    scene.queue("single", QueueSpec::default()).await;
    scene.send("single", numbers(40)).await;
    let exclusive = || {
        scene
            .client
            .consumer("single")
            .exclusive(true)
            .max_in_flight(5)
    };
    let first = exclusive().start().await.expect("ready");
    let mut done = BTreeSet::from([acked(&first).await]);
    let second = exclusive().start().await.expect("ready");
    for _ in 0..9 {
        done.insert(acked(&first).await);
    }
    let stands_by = tokio::time::timeout(QUIET, second.next()).await;
    assert!(stands_by.is_err(), "there is one already: {stands_by:?}");

    scene.kill_leader_of("single").await;
    first.stop();
    assert!(first.close(LONG).await, "what it has goes back");
    while done.len() < 40 {
        done.insert(acked(&second).await);
    }
}

/// The body of the next message that is acked.
async fn acked(consumer: &Consumer) -> String {
    loop {
        let delivery = next(consumer).await;
        let body = body(&delivery);
        if matches!(delivery.ack().await, Ok(()) | Err(SettleError::Unknown(_))) {
            return body;
        }
    }
}
