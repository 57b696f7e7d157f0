//! Partitions that grow in number under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_client::proto::{Ordering, QueueSpec, RetryPolicy};
use roadstead_client::{Consumer, Message, Producer};
use tokio::time::{sleep, timeout};

use super::{QUIET, Scene, body, small};

const KEYS: u32 = 12;
const EACH: u32 = 150;

/// What came of each key: the numbers in their order, and the id of each.
type Came = BTreeMap<String, Vec<(u32, String)>>;

/// What is wrong with it: of each key all has to come in order, and again only if it is the one
/// that came last.
fn wrong(came: &Came) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, deliveries) in came {
        let mut last: Option<&(u32, String)> = None;
        for delivery in deliveries {
            let follows = last.map_or(0, |(number, _)| number + 1) == delivery.0;
            if follows {
                last = Some(delivery);
            } else if last != Some(delivery) {
                wrong.push(format!("{key}: {} comes behind {last:?}", delivery.0));
            }
        }
        if last.map(|(number, _)| *number) != Some(EACH - 1) {
            wrong.push(format!("{key}: {last:?} is the last one"));
        }
    }
    wrong
}

/// The partitions that the messages of a key came from, by their ids.
fn partitions(came: &[(u32, String)]) -> BTreeSet<&str> {
    came.iter()
        .filter_map(|(_, id)| id.split('-').nth(1))
        .collect()
}

#[derive(Clone, Default)]
struct Reader(Arc<Mutex<Came>>);

impl Reader {
    /// Reads until nothing comes any more.
    async fn read(self, consumer: Consumer) {
        while let Ok(next) = timeout(3 * QUIET, consumer.next()).await {
            let delivery = next.expect("it is delivered").expect("it goes on");
            let number = body(&delivery).parse().expect("a number");
            {
                let mut came = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let of_key = came.entry(delivery.ordering_key.clone()).or_default();
                of_key.push((number, delivery.id.clone()));
            }
            // What is not acked for sure comes again, and nothing of its key before it.
            tokio::spawn(async move { delivery.ack().await });
        }
    }

    /// How many messages came.
    fn count(&self) -> usize {
        let came = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = came.values().flatten().map(|(_, id)| id);
        ids.collect::<BTreeSet<_>>().len()
    }
}

fn spec(partitions: u32) -> QueueSpec {
    let mut spec = QueueSpec {
        partitions,
        retries: Some(RetryPolicy {
            max_deliveries: 1_000,
            ..RetryPolicy::default()
        }),
        ..QueueSpec::default()
    };
    spec.set_ordering(Ordering::PerKey);
    spec
}

/// Producers that know more partitions, one after the other.
type Producers = Arc<Mutex<Vec<Producer>>>;

/// Sends the messages of a key in order, each by another producer.
async fn send(key: u32, producers: Producers) {
    for number in 0..EACH {
        let producer = {
            let producers = producers.lock().unwrap_or_else(PoisonError::into_inner);
            producers[number as usize % producers.len()].clone()
        };
        let message = Message::new(number.to_string()).key(format!("k{key}"));
        producer.send(message).await.expect("it is accepted");
        // Something of the key waits for a time, and nothing of it for another.
        let all_is_read = number % 10 == 9;
        sleep(Duration::from_millis(if all_is_read { 300 } else { 10 })).await;
    }
}

/// A queue grows from 2 partitions to 5 and to 9 while messages are sent and received; a leader of
/// it is killed. Who was there before the growth goes on beside those who come. What is wrong with
/// what came.
async fn grow(scene: &Scene) -> Vec<String> {
    scene.queue("growing", spec(2)).await;
    let reader = Reader::default();
    let mut tasks = Vec::new();
    let producers = Producers::default();
    let add = async |producers: &Producers| {
        let producer = scene.producer("growing").await;
        let mut producers = producers.lock().unwrap_or_else(PoisonError::into_inner);
        producers.push(producer);
    };
    add(&producers).await;
    let senders = (0..KEYS).map(|key| tokio::spawn(send(key, producers.clone())));
    let senders: Vec<_> = senders.collect();
    // Something waits of every key.
    sleep(Duration::from_millis(300)).await;
    for partitions in [5, 9] {
        let grown = scene.client.update_queue("growing", spec(partitions)).await;
        let grown = grown.expect("it grows");
        assert_eq!(grown.shards.len(), partitions as usize);
        add(&producers).await;
        let consumer = scene.consumer("growing").await;
        tasks.push(tokio::spawn(reader.clone().read(consumer)));
        let some = reader.count() + (KEYS * EACH / 6) as usize;
        while reader.count() < some {
            sleep(Duration::from_millis(20)).await;
        }
    }
    scene.kill_leader_of("growing").await;
    for sender in senders {
        sender.await.expect("all is accepted");
    }
    for task in tasks {
        task.await.expect("all is read");
    }
    assert_eq!(scene.stats("growing").await.ready, 0);
    let came = reader.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(came.len(), KEYS as usize);
    let moved = came.values().filter(|came| partitions(came).len() > 1);
    let (moved, wrong) = (moved.count(), wrong(&came));
    println!(
        "{} messages came, {moved} keys moved, wrong: {}",
        KEYS * EACH,
        wrong.len()
    );
    assert!(moved > 1, "no key has come to another partition");
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_order_by_key_grows_under_load_and_keeps_the_order() {
    let scene = Scene::start().await;
    assert_eq!(grow(&scene).await, Vec::<String>::new());
}

/// The control run: where a key goes at once where it belongs, what is sent overtakes what waits.
#[cfg(feature = "controls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_homes_of_keys_growth_breaks_their_order() {
    use roadstead_node::controls::{Controls, Protection};

    let scene = Scene::with(small(), Controls::without(Protection::Homes)).await;
    let wrong = grow(&scene).await;
    println!("control, no homes: {:?} …", &wrong[..wrong.len().min(3)]);
    assert!(!wrong.is_empty(), "the test would notice nothing");
}
