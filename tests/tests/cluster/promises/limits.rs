//! Promises about limits of deliveries.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use roadstead_client::proto::{ConsumerGroup, QueueLimits, QueueSpec};
use roadstead_client::{Consumer, Delivery};
use tokio::time::timeout;

use super::{Scene, body, next};

fn group(name: &str, max_in_flight: u32, rate_per_second: u32) -> ConsumerGroup {
    ConsumerGroup {
        name: name.into(),
        max_in_flight,
        rate_per_second,
        ..ConsumerGroup::default()
    }
}

async fn consumer(scene: &Scene, queue: &str, group: &str) -> Consumer {
    let consumer = scene.client.consumer(queue).max_in_flight(1_000);
    let consumer = consumer.group(group).start().await;
    consumer.expect("there is such a group")
}

/// One of two that comes within a while, and whose it is.
async fn either(two: &[Consumer; 2]) -> Option<(usize, Delivery)> {
    let any = async {
        tokio::select! {
            came = two[0].next() => (0, came),
            came = two[1].next() => (1, came),
        }
    };
    let (which, came) = timeout(Duration::from_millis(500), any).await.ok()?;
    let delivery = came.expect("it is delivered").expect("it goes on");
    Some((which, delivery))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_groups_together_have_no_more_in_flight_than_the_queue_says_also_at_a_new_leader() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        groups: vec![group("bounded", 4, 0), group("free", 0, 0)],
        limits: Some(QueueLimits {
            max_in_flight: 10,
            ..QueueLimits::default()
        }),
        ..QueueSpec::default()
    };
    scene.queue("limited", spec).await;
    let groups = [
        consumer(&scene, "limited", "bounded").await,
        consumer(&scene, "limited", "free").await,
    ];
    scene.send_numbers("limited", 60).await;
    let mut held: Vec<(usize, Delivery)> = Vec::new();
    let mut acked = [BTreeSet::new(), BTreeSet::new()];
    let (mut most, mut most_bounded, mut killed) = (0, 0, false);
    while acked.iter().any(|acked| acked.len() < 60) {
        if !killed && acked[0].len() + acked[1].len() >= 40 {
            killed = true;
            scene.kill_leader_of("limited").await;
        }
        if let Some(came) = either(&groups).await {
            held.push(came);
            most = most.max(held.len());
            let bounded = held.iter().filter(|(which, _)| *which == 0).count();
            most_bounded = most_bounded.max(bounded);
            continue;
        }
        // Nothing more comes: all that there is room for is held.
        for (which, delivery) in held.drain(..) {
            let text = body(&delivery);
            if delivery.ack().await.is_ok() {
                acked[which].insert(text);
            }
        }
    }
    println!("at most {most} held, {most_bounded} by the group with a limit of its own");
    assert_eq!((most, most_bounded), (10, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_gets_no_more_in_a_time_than_it_says_also_of_a_new_leader() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        groups: vec![group("default", 0, 20), group("free", 0, 0)],
        ..QueueSpec::default()
    };
    scene.queue("slowed", spec).await;
    scene.send_numbers("slowed", 120).await;
    let free = consumer(&scene, "slowed", "free").await;
    let began = Instant::now();
    for _ in 0..120 {
        next(&free).await.ack().await.expect("it is leased");
    }
    println!("without a rate 120 messages took {:?}", began.elapsed());
    let began = Instant::now();
    let slowed = consumer(&scene, "slowed", "default").await;
    let mut seen = BTreeSet::new();
    let mut came = 0;
    while seen.len() < 120 {
        let delivery = next(&slowed).await;
        came += 1;
        let text = body(&delivery);
        if delivery.ack().await.is_ok() {
            seen.insert(text);
        }
        if came == 30 {
            let stats = scene.client.queue_stats("slowed").await.expect("counts");
            assert_eq!(stats.rates_used_up, 1, "{stats:?}");
        }
        if came == 60 {
            scene.kill_leader_of("slowed").await;
        }
    }
    let took = began.elapsed();
    println!("{came} deliveries at 20 in a second took {took:?}");
    // A second's worth may come at once.
    let least = Duration::from_millis((came - 20) * 1_000 / 20 - 100);
    assert!(took >= least, "{came} deliveries within {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}
