//! Promises to consumer groups.

use std::collections::BTreeMap;

use roadstead_client::Message;
use roadstead_client::proto::seek_group_request::To;
use roadstead_client::proto::{ConsumerGroup, GroupStart, Ordering, QueueSpec, SeekPosition};
use roadstead_client::{Consumer, SettleError};

use super::{LONG, Scene, body, next, rest, seconds};

const KEYS: u32 = 10;

fn group(name: &str, start: GroupStart) -> ConsumerGroup {
    let mut group = ConsumerGroup {
        name: name.to_owned(),
        ..ConsumerGroup::default()
    };
    group.set_start(start);
    group
}

fn ordered(groups: Vec<ConsumerGroup>) -> QueueSpec {
    let mut spec = QueueSpec {
        partitions: 3,
        groups,
        retain_after_ack: Some(seconds(3_600)),
        ..QueueSpec::default()
    };
    spec.set_ordering(Ordering::PerKey);
    spec
}

async fn send(scene: &Scene, queue: &str, numbers: std::ops::Range<u32>) {
    let keyed = numbers.map(|n| Message::new(n.to_string()).key(format!("k{}", n % KEYS)));
    scene.send(queue, keyed).await;
}

async fn consumer(scene: &Scene, queue: &str, group: &str) -> Consumer {
    let consumer = scene.client.consumer(queue).group(group);
    consumer.start().await.expect("there is such a group")
}

/// Acks until so many different messages are acked; each key's come in order, and one comes again
/// only where its ack was not answered.
async fn take(consumer: &Consumer, count: usize) -> BTreeMap<u32, u32> {
    let (mut last, mut acked) = (BTreeMap::new(), BTreeMap::new());
    while acked.len() < count {
        let delivery = next(consumer).await;
        let number: u32 = body(&delivery).parse().expect("a number");
        assert!(!acked.contains_key(&number), "{number} comes after its ack");
        let before = last.insert(number % KEYS, number);
        assert!(
            before.is_none_or(|last| last <= number),
            "{number} after {before:?}"
        );
        let deliveries = delivery.delivery_count;
        if matches!(delivery.ack().await, Ok(()) | Err(SettleError::Unknown(_))) {
            acked.insert(number, deliveries);
        }
    }
    acked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_group_gets_every_message_and_can_begin_anew() {
    let scene = Scene::start().await;
    let groups = vec![
        group("billing", GroupStart::Beginning),
        group("search", GroupStart::End),
    ];
    scene.queue("events", ordered(groups)).await;
    let (default, billing) = tokio::join!(
        consumer(&scene, "events", "default"),
        consumer(&scene, "events", "billing"),
    );
    send(&scene, "events", 0..150).await;
    take(&default, 150).await;
    let half = take(&billing, 75).await;

    scene.kill_leader_of("events").await;
    send(&scene, "events", 150..200).await;
    let (new, others) = tokio::join!(take(&default, 50), take(&billing, 125));
    assert!(new.keys().all(|number| (150..200).contains(number)));
    assert!(others.keys().all(|number| !half.contains_key(number)));

    // What all have settled is retained, and one group gets all of it again.
    let beginning = To::Position(SeekPosition::Beginning.into());
    take(&consumer(&scene, "events", "search").await, 200).await;
    let sought = scene
        .client
        .seek("events", "billing", beginning, None)
        .await;
    assert_eq!(sought.expect("it begins anew").messages, 200);
    let again = take(&billing, 200).await;
    assert!(
        again.values().all(|deliveries| *deliveries == 1),
        "as if for the first time"
    );
    let (none, left) = tokio::join!(rest(&default), rest(&billing));
    assert!(
        none.is_empty() && left.is_empty(),
        "a replay is for its group alone"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_comes_later_begins_where_it_says_and_a_paused_one_waits() {
    let scene = Scene::start().await;
    scene.queue("later", ordered(Vec::new())).await;
    send(&scene, "later", 0..50).await;
    take(&consumer(&scene, "later", "default").await, 50).await;
    let groups = vec![
        group("old", GroupStart::Beginning),
        group("new", GroupStart::End),
    ];
    let changed = scene.client.update_queue("later", ordered(groups.clone()));
    changed.await.expect("groups can come later");
    let old = consumer(&scene, "later", "old").await;
    take(&old, 50).await;
    let new = consumer(&scene, "later", "new").await;

    scene.kill_leader_of("later").await;
    send(&scene, "later", 50..80).await;
    assert!(take(&new, 30).await.keys().all(|number| *number >= 50));

    let mut paused = groups;
    paused[0].set_delivery(roadstead_client::proto::GroupDelivery::Paused);
    take(&old, 30).await;
    let changed = scene.client.update_queue("later", ordered(paused.clone()));
    changed.await.expect("a group can be paused");
    // Whatever is under way has come by then.
    drop(rest(&old).await);
    send(&scene, "later", 80..90).await;
    assert!(rest(&old).await.is_empty(), "it is paused");
    take(&new, 10).await;
    paused[0].set_delivery(roadstead_client::proto::GroupDelivery::Active);
    let changed = scene.client.update_queue("later", ordered(paused));
    changed.await.expect("and go on");
    let came = tokio::time::timeout(LONG, take(&old, 10)).await;
    assert_eq!(came.expect("it goes on").len(), 10);
}
