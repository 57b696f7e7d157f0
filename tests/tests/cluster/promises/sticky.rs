//! Promises to those who keep what they know of a key: it stays with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roadstead_client::proto::{Ordering, QueueSpec};
use roadstead_client::{Consumer, Delivery, Message, Producer, SettleError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{LONG, Scene, body, seconds};

const KEYS: u32 = 48;
const ROUND: u32 = 3 * KEYS;

/// What the workers have seen.
#[derive(Default)]
struct Seen {
    /// In whose hands a message of a key is.
    held: BTreeMap<String, usize>,
    /// The newest number of each key.
    last: BTreeMap<String, u32>,
    /// Who has worked on each key since it was asked last.
    workers: BTreeMap<String, BTreeSet<usize>>,
    done: BTreeSet<u32>,
}

impl Seen {
    fn take(&mut self, worker: usize, delivery: &Delivery) {
        let number: u32 = body(delivery).parse().expect("a number");
        let key = delivery.ordering_key.clone();
        let other = self.held.insert(key.clone(), worker);
        assert_eq!(other, None, "{number} of {key} goes to {worker} as well");
        let last = self.last.entry(key.clone()).or_default();
        assert!(*last <= number, "{number} of {key} comes behind {last}");
        *last = number;
        self.workers.entry(key).or_default().insert(worker);
    }

    fn settled(&mut self, number: u32, outcome: &Result<(), SettleError>) {
        if matches!(outcome, Ok(()) | Err(SettleError::Unknown(_))) {
            self.done.insert(number);
        }
    }
}

/// Those who work on the queue `work`.
struct Workers {
    scene: Scene,
    producer: Producer,
    sent: u32,
    seen: Arc<Mutex<Seen>>,
    open: BTreeMap<usize, (oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Workers {
    async fn start(count: usize) -> Self {
        let scene = Scene::start().await;
        let mut spec = QueueSpec {
            lease: Some(seconds(5)),
            sticky_keys: true,
            ..QueueSpec::default()
        };
        spec.set_ordering(Ordering::PerKey);
        scene.queue("work", spec).await;
        let mut workers = Self {
            producer: scene.producer("work").await,
            scene,
            sent: 0,
            seen: Arc::default(),
            open: BTreeMap::new(),
        };
        for number in 0..count {
            workers.open(number).await;
        }
        workers
    }

    async fn open(&mut self, worker: usize) {
        let consumer = self.scene.client.consumer("work").max_in_flight(16);
        let consumer = consumer.start().await.expect("the queue can be consumed");
        let (stop, stopped) = oneshot::channel();
        let task = work(worker, consumer, stopped, self.seen.clone());
        self.open.insert(worker, (stop, tokio::spawn(task)));
        self.all_are_there().await;
    }

    async fn close(&mut self, worker: usize) {
        let (stop, task) = self.open.remove(&worker).expect("it works");
        stop.send(()).expect("it listens");
        task.await.expect("it has seen nothing wrong");
        self.all_are_there().await;
    }

    /// Waits until the leader knows of all of them, and of nobody else.
    async fn all_are_there(&self) {
        let deadline = Instant::now() + LONG;
        loop {
            let listed = self.scene.client.consumers("work", "default").await;
            if let Ok(listed) = &listed
                && listed.partitions_unavailable == 0
                && listed.consumers.len() == self.open.len()
            {
                return;
            }
            assert!(Instant::now() < deadline, "{listed:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn send(&mut self, count: u32) {
        let numbers = self.sent..self.sent + count;
        let message = |n: u32| Message::new(n.to_string()).key(format!("k{}", n % KEYS));
        for sent in self.producer.send_all(numbers.map(message)).await {
            sent.expect("it is accepted");
        }
        self.sent += count;
    }

    /// Waits until so many messages are done.
    async fn done(&self, count: u32) {
        let deadline = Instant::now() + LONG;
        while self.seen.lock().expect("nothing was wrong").done.len() < count as usize {
            assert!(Instant::now() < deadline, "{count} messages are not done");
            let ended = self.open.values().any(|(_, task)| task.is_finished());
            assert!(!ended, "a worker has seen something wrong");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Who has which key, by what is sent now.
    async fn keys(&mut self) -> BTreeMap<String, usize> {
        self.done(self.sent).await;
        self.all_are_there().await;
        self.seen.lock().expect("nothing was wrong").workers.clear();
        self.send(ROUND).await;
        self.done(self.sent).await;
        let seen = self.seen.lock().expect("nothing was wrong");
        let only = |(key, all): (&String, &BTreeSet<usize>)| {
            assert_eq!(all.len(), 1, "{key} is with {all:?}");
            (key.clone(), *all.first().expect("one has it"))
        };
        let keys: BTreeMap<_, _> = seen.workers.iter().map(only).collect();
        assert_eq!(keys.len(), KEYS as usize);
        let with: BTreeSet<_> = keys.values().copied().collect();
        assert_eq!(with, self.open.keys().copied().collect(), "{keys:?}");
        keys
    }
}

async fn work(
    worker: usize,
    consumer: Consumer,
    mut stopped: oneshot::Receiver<()>,
    seen: Arc<Mutex<Seen>>,
) {
    loop {
        let next = tokio::select! {
            next = consumer.next() => next,
            _ = &mut stopped => break,
        };
        let delivery = next.expect("it is delivered").expect("it goes on");
        let number = body(&delivery).parse().expect("a number");
        seen.lock()
            .expect("nothing was wrong")
            .take(worker, &delivery);
        sleep(Duration::from_millis(2)).await;
        let key = &delivery.ordering_key;
        seen.lock().expect("nothing was wrong").held.remove(key);
        let outcome = delivery.ack().await;
        seen.lock()
            .expect("nothing was wrong")
            .settled(number, &outcome);
    }
    consumer.stop();
    assert!(consumer.close(LONG).await, "what it had fetched goes back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stays_with_its_consumer_also_at_a_new_leader() {
    let mut workers = Workers::start(3).await;
    let keys = workers.keys().await;
    assert_eq!(workers.keys().await, keys, "nobody came or went");
    let before = workers.sent;
    workers.send(3 * ROUND).await;
    workers.done(before + ROUND).await;
    workers.scene.kill_leader_of("work").await;
    assert_eq!(workers.keys().await, keys, "the new leader says the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_handed_over_in_order_when_consumers_come_and_go() {
    let mut workers = Workers::start(2).await;
    let two = workers.keys().await;
    // While there is work: of each key one has a message, and the next one follows.
    workers.send(5 * ROUND).await;
    workers.open(2).await;
    let three = workers.keys().await;
    let stay = three.iter().filter(|(key, worker)| two[*key] == **worker);
    let stay = stay.count();
    println!("{stay} of {KEYS} keys stay when a third consumer comes");
    assert!(stay >= KEYS as usize / 4, "{two:?} {three:?}");
    workers.send(5 * ROUND).await;
    workers.close(0).await;
    let left = workers.keys().await;
    let free = three.iter().filter(|(_, worker)| **worker == 0);
    assert!(free.count() > 0 && left.values().all(|worker| *worker != 0));
}
