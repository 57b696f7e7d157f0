//! Promises about what fails and what comes too fast.

use std::time::{Duration, Instant};

use roadstead_client::proto::{
    AttemptEnd, Backoff, BackoffType, CircuitBreaker, ConsumerGroup, DeadLetterPolicy, QueueLimits,
    QueueSpec, RetryPolicy,
};
use tokio::time::timeout;

use super::{Scene, body, next, seconds};

/// What fails is delivered again at once, for as often as a test may want.
fn at_once() -> RetryPolicy {
    let mut backoff = Backoff::default();
    backoff.set_type(BackoffType::None);
    RetryPolicy {
        max_deliveries: 1_000,
        backoff: Some(backoff),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_deliveries_fail_gets_none_for_a_while_also_of_a_new_leader() {
    let scene = Scene::start().await;
    let breaker = CircuitBreaker {
        error_percent: 50,
        min_deliveries: 5,
        window: Some(seconds(60)),
        open: Some(seconds(8)),
    };
    let group = ConsumerGroup {
        name: "default".into(),
        circuit_breaker: Some(breaker),
        ..ConsumerGroup::default()
    };
    let spec = QueueSpec {
        retries: Some(at_once()),
        groups: vec![group],
        ..QueueSpec::default()
    };
    scene.queue("broken", spec).await;
    scene.send_numbers("broken", 20).await;
    let consumer = scene.client.consumer("broken").max_in_flight(1);
    let consumer = consumer.start().await.expect("ready");
    for _ in 0..5 {
        let nacked = next(&consumer).await.nack(Duration::ZERO, "down").await;
        nacked.expect("it is leased");
    }
    let opened = Instant::now();
    let came = timeout(Duration::from_secs(1), consumer.next()).await;
    assert!(came.is_err(), "the breaker is open: {came:?}");
    let stats = scene.client.queue_stats("broken").await.expect("counts");
    assert_eq!((stats.breakers_open, stats.breakers_half_open), (1, 0));
    scene.kill_leader_of("broken").await;
    let tried = next(&consumer).await;
    let paused = opened.elapsed();
    println!("nothing came for {paused:?}, over a change of leader");
    assert!(paused > Duration::from_secs(7), "{paused:?}");
    tried.ack().await.expect("it is leased");
    // It is closed: all that is left comes.
    for _ in 0..19 {
        next(&consumer).await.ack().await.expect("it is leased");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_takes_no_more_in_a_time_than_it_says_and_slows_its_producers() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        limits: Some(QueueLimits {
            rate_per_second: 50,
            ..QueueLimits::default()
        }),
        ..QueueSpec::default()
    };
    scene.queue("slow", spec).await;
    let began = Instant::now();
    scene.send_numbers("slow", 100).await;
    scene.kill_leader_of("slow").await;
    scene.send_numbers("slow", 100).await;
    let took = began.elapsed();
    println!("200 messages at 50 in a second took {took:?}");
    // A second's worth may come at once.
    assert!(took > Duration::from_millis(2_900), "{took:?}");
    let stats = scene.client.queue_stats("slow").await.expect("counts");
    assert_eq!(stats.messages, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_tells_of_every_attempt_also_of_those_at_another_leader() {
    let scene = Scene::start().await;
    scene.queue("dead", QueueSpec::default()).await;
    let spec = QueueSpec {
        retries: Some(at_once()),
        dead_letter: Some(DeadLetterPolicy {
            queue: "dead".into(),
        }),
        ..QueueSpec::default()
    };
    scene.queue("work", spec).await;
    scene.send_numbers("work", 1).await;
    let consumer = scene.consumer("work").await;
    let first = next(&consumer).await;
    assert_eq!(
        (first.first_delivered_at, first.last_delivered_at),
        (None, None)
    );
    let nacked = first.nack(Duration::ZERO, "first").await;
    nacked.expect("it is leased");
    let second = next(&consumer).await;
    let (once, again) = (second.first_delivered_at, second.last_delivered_at);
    assert!(once.is_some() && once == again, "{second:?}");
    let nacked = second.nack(Duration::ZERO, "second").await;
    nacked.expect("it is leased");
    scene.kill_leader_of("work").await;
    let third = next(&consumer).await;
    assert_eq!((third.delivery_count, third.first_delivered_at), (3, once));
    assert!(third.last_delivered_at >= once, "{third:?}");
    third.reject("third").await.expect("it is leased");
    let dead = scene.consumer("dead").await;
    let dead = next(&dead).await;
    assert_eq!(body(&dead), "0");
    let info = dead.dead_letter.clone().expect("it says why");
    let said: Vec<_> = info
        .attempts
        .iter()
        .map(|attempt| (attempt.end(), attempt.error.as_str()))
        .collect();
    let expected = [
        (AttemptEnd::Nacked, "first"),
        (AttemptEnd::Nacked, "second"),
        (AttemptEnd::Rejected, "third"),
    ];
    assert_eq!(said, expected);
    assert_eq!(info.error, "third");
    let at = |attempt: usize| {
        info.attempts[attempt]
            .delivered_at
            .map(|at| (at.seconds, at.nanos))
    };
    assert!(at(0) <= at(1) && at(1) <= at(2), "{info:?}");
}
