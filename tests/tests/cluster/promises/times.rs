//! Promises about what is over and what holds others up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use roadstead_client::proto::{
    Backoff, BackoffType, DeadLetterPolicy, DeadLetterReason, ExpiryAction, Ordering, QueueSpec,
    RetryPolicy,
};
use roadstead_client::{Consumer, Delivery, Message};
use tokio::time::{sleep, timeout};

use super::{LONG, Scene, body, next, seconds};

fn numbers(count: u32) -> impl Iterator<Item = Message> {
    (0..count).map(|number| Message::new(number.to_string()))
}

fn to_dead() -> DeadLetterPolicy {
    DeadLetterPolicy {
        queue: "dead".into(),
    }
}

/// Waits until nothing is ready in a queue; since when.
async fn until_gone(scene: &Scene, queue: &str, since: Instant) -> Duration {
    while scene.stats(queue).await.ready > 0 {
        assert!(since.elapsed() < LONG, "{queue} is not empty");
        sleep(Duration::from_millis(50)).await;
    }
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_is_gone_or_a_dead_letter_under_a_new_leader_and_not_before() {
    const TTL: Duration = Duration::from_secs(5);
    let scene = Scene::start().await;
    scene.queue("dead", QueueSpec::default()).await;
    let brief = |action: ExpiryAction| QueueSpec {
        time_to_live: prost_types::Duration::try_from(TTL).ok(),
        expiry_action: action.into(),
        dead_letter: Some(to_dead()),
        ..QueueSpec::default()
    };
    scene.queue("dropped", brief(ExpiryAction::Drop)).await;
    scene
        .queue("letters", brief(ExpiryAction::DeadLetter))
        .await;
    let holder = scene.client.consumer("letters").max_in_flight(2);
    let holder = holder.start().await.expect("ready");
    let began = Instant::now();
    for queue in ["dropped", "letters"] {
        scene.send(queue, numbers(10)).await;
    }
    let held = [next(&holder).await, next(&holder).await];
    scene.kill_leader_of("letters").await;
    let mut took = Vec::new();
    for queue in ["dropped", "letters"] {
        took.push(until_gone(&scene, queue, began).await);
    }
    println!("what lives for {TTL:?} was gone after {took:?}");
    // The clock of the cluster may be ahead of ours by a little.
    assert!(took[0] + Duration::from_millis(100) >= TTL, "{took:?}");
    let dead = scene.consumer("dead").await;
    let mut letters = BTreeMap::new();
    while letters.len() < 8 {
        let delivery = next(&dead).await;
        let why = delivery.dead_letter.clone().expect("it says why");
        assert_eq!(why.reason(), DeadLetterReason::Expired);
        assert_eq!(why.source_queue, "default/letters");
        let again = letters.insert(body(&delivery), delivery.id.clone());
        assert_eq!(again, None, "twice");
        delivery.ack().await.expect("it is leased");
    }
    // What was leased in time is worked off.
    for delivery in held {
        assert!(!letters.contains_key(&body(&delivery)), "{delivery:?}");
        delivery.ack().await.expect("it is leased");
    }
}

/// A queue in which a message fails for good the third time, at once.
fn fails_soon(ordering: Ordering) -> QueueSpec {
    let mut backoff = Backoff::default();
    backoff.set_type(BackoffType::None);
    let mut spec = QueueSpec {
        retries: Some(RetryPolicy {
            max_deliveries: 3,
            backoff: Some(backoff),
        }),
        dead_letter: Some(to_dead()),
        lease: Some(seconds(600)),
        ..QueueSpec::default()
    };
    spec.set_ordering(ordering);
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_poison_message_blocks_is_free_under_a_new_leader_once_that_is_dead() {
    let scene = Scene::start().await;
    scene.queue("dead", QueueSpec::default()).await;
    scene.queue("keyed", fails_soon(Ordering::PerKey)).await;
    let all = ["poison", "second", "third"];
    scene
        .send("keyed", all.map(|body| Message::new(body).key("k")))
        .await;
    let consumer = scene.consumer("keyed").await;
    let fail = async |delivery: Delivery| {
        assert_eq!(body(&delivery), "poison");
        let nacked = delivery.nack(Duration::ZERO, "cannot parse").await;
        nacked.expect("it is leased");
    };
    fail(next(&consumer).await).await;
    let second_try = next(&consumer).await;
    scene.kill_leader_of("keyed").await;
    fail(second_try).await;
    let third_try = next(&consumer).await;
    assert_eq!(third_try.delivery_count, 3);
    let behind = timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(behind.is_err(), "it is blocked: {behind:?}");
    fail(third_try).await;
    for expected in &all[1..] {
        let delivery = next(&consumer).await;
        assert_eq!(
            (body(&delivery).as_str(), delivery.delivery_count),
            (*expected, 1)
        );
        delivery.ack().await.expect("it is leased");
    }
    let dead = next(&scene.consumer("dead").await).await;
    let why = dead.dead_letter.clone().expect("it says why");
    assert_eq!(
        (body(&dead).as_str(), dead.ordering_key.as_str()),
        ("poison", "k")
    );
    assert_eq!(why.reason(), DeadLetterReason::MaxDeliveries);
    assert_eq!(
        (why.attempts.len(), why.error.as_str()),
        (3, "cannot parse")
    );
}

/// The next of either, and that the other one gets nothing while it is held.
async fn one_of(two: [&Consumer; 2]) -> Delivery {
    let (delivery, other) = tokio::select! {
        delivery = next(two[0]) => (delivery, two[1]),
        delivery = next(two[1]) => (delivery, two[0]),
    };
    let number = body(&delivery);
    if number.ends_with('5') {
        let beside = timeout(Duration::from_millis(100), other.next()).await;
        assert!(beside.is_err(), "beside {number}: {beside:?}");
    }
    delivery
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_queue_is_one_line_for_all_consumers_through_a_change_of_leader() {
    let scene = Scene::start().await;
    scene.queue("dead", QueueSpec::default()).await;
    scene.queue("line", fails_soon(Ordering::Strict)).await;
    scene.send("line", numbers(40)).await;
    let (one, other) = (scene.consumer("line").await, scene.consumer("line").await);
    let mut expected = 0_u32;
    // An ack whose outcome is not known: its message may come once more.
    let mut unknown = false;
    while expected < 40 {
        if expected == 20 && !unknown {
            scene.kill_leader_of("line").await;
        }
        let delivery = one_of([&one, &other]).await;
        let number: u32 = body(&delivery).parse().expect("a number");
        let again = unknown && number + 1 == expected;
        assert!(number == expected || again, "{number}, not {expected}");
        if number % 8 == 3 && delivery.delivery_count == 1 {
            let _ = delivery.nack(Duration::ZERO, "again").await;
            continue;
        }
        unknown = delivery.ack().await.is_err();
        expected = number + 1;
    }
}
