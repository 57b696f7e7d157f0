//! Promises to priorities and tenants.

use std::collections::BTreeMap;
use std::time::Duration;

use roadstead_client::proto::{Fairness, Priorities, QueueSpec, TenantWeight};
use roadstead_client::{Consumer, Message, SettleError};
use tokio::time::sleep;

use super::{Scene, body, next};

/// One after the other: what comes next is chosen when the one before is settled.
async fn one_by_one(scene: &Scene, queue: &str) -> Consumer {
    let consumer = scene.client.consumer(queue).max_in_flight(1);
    consumer.start().await.expect("the queue can be consumed")
}

/// Acks so many messages; what they said, in order. One whose ack was not answered counts when it
/// comes first.
async fn take(consumer: &Consumer, count: usize) -> Vec<(String, u32)> {
    let mut taken: Vec<(String, u32)> = Vec::new();
    while taken.len() < count {
        let delivery = next(consumer).await;
        let said = (body(&delivery), delivery.priority);
        let settled = delivery.ack().await;
        let known = taken.iter().any(|(body, _)| *body == said.0);
        if !known && matches!(settled, Ok(()) | Err(SettleError::Unknown(_))) {
            taken.push(said);
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_higher_priority_comes_first_also_from_a_new_leader() {
    let scene = Scene::start().await;
    scene.queue("urgent", QueueSpec::default()).await;
    let all = (0..60_u8).map(|n| Message::new(n.to_string()).priority(n % 3 * 4));
    scene.send("urgent", all).await;
    let stats = scene.client.queue_stats("urgent").await.expect("counts");
    assert_eq!(stats.ready_by_priority, [20, 0, 0, 0, 20, 0, 0, 0, 20, 0]);
    let consumer = one_by_one(&scene, "urgent").await;
    let mut taken = take(&consumer, 10).await;
    scene.kill_leader_of("urgent").await;
    taken.extend(take(&consumer, 50).await);
    let priorities: Vec<u32> = taken.iter().map(|(_, priority)| *priority).collect();
    // One may have been leased when the leader died, and comes back at its time.
    let late = priorities.windows(2).filter(|two| two[0] < two[1]).count();
    assert!(late <= 1, "{priorities:?}");
    let sum = |of: &[u32]| of.iter().sum::<u32>();
    assert!(sum(&priorities[..20]) >= 19 * 8, "{priorities:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lowest_priority_waits_for_nothing_that_comes_much_later() {
    let scene = Scene::start().await;
    let aging = Duration::from_millis(100);
    let spec = QueueSpec {
        priorities: Some(Priorities {
            aging: prost_types::Duration::try_from(aging).ok(),
        }),
        ..QueueSpec::default()
    };
    scene.queue("aged", spec).await;
    let high = |range: std::ops::Range<u32>| range.map(|n| Message::new(n.to_string()).priority(9));
    scene.send("aged", [Message::new("low")]).await;
    scene.send("aged", high(0..50)).await;
    // Nine steps of a priority are worth 900 ms.
    sleep(10 * aging + Duration::from_millis(500)).await;
    scene.kill_leader_of("aged").await;
    scene.send("aged", high(50..100)).await;
    let consumer = one_by_one(&scene, "aged").await;
    let taken = take(&consumer, 101).await;
    let at = taken.iter().position(|(body, _)| body == "low");
    println!("the low one came after {at:?} of 100 high ones");
    assert_eq!(at, Some(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_tenants_wait_for_their_turn_alone_also_at_a_new_leader() {
    let scene = Scene::start().await;
    let spec = QueueSpec {
        fairness: Some(Fairness {
            weights: vec![TenantWeight {
                tenant: "noisy".into(),
                weight: 3,
            }],
        }),
        ..QueueSpec::default()
    };
    scene.queue("shared", spec).await;
    let of = |tenant: &str, n: u32| Message::new(format!("{tenant}/{n}")).fairness_key(tenant);
    scene
        .send("shared", (0..2_000).map(|n| of("noisy", n)))
        .await;
    let quiet = (0..10).flat_map(|n| [of("quiet-a", n), of("quiet-b", n)]);
    scene.send("shared", quiet).await;
    let consumer = one_by_one(&scene, "shared").await;
    let mut taken = take(&consumer, 20).await;
    scene.kill_leader_of("shared").await;
    taken.extend(take(&consumer, 40).await);
    let mut counts = BTreeMap::<&str, u32>::new();
    for (body, _) in &taken {
        let tenant = body.split('/').next().unwrap_or_default();
        *counts.entry(tenant).or_default() += 1;
    }
    println!("of 60 behind 2,000 of a noisy tenant: {counts:?}");
    // In each turn three of the noisy one and one of each other: ten turns are fifty messages.
    assert_eq!((counts["quiet-a"], counts["quiet-b"]), (10, 10));
}
