//! What a queue promises, as the client library sees it, while a leader is killed in the middle.

mod consumers;
mod contents;
mod deliveries;
mod failures;
mod groups;
mod growth;
mod limits;
mod priorities;
mod redrives;
mod refused;
mod sends;
mod sticky;
mod streams;
mod times;

use std::sync::Arc;
use std::time::{Duration, Instant};

use roadstead_client::proto::{QueueSpec, QueueStats};
use roadstead_client::{Client, Consumer, Delivery, Message, Producer};
use roadstead_node::controls::Controls;
use roadstead_node::store::StoreOptions;
use roadstead_tests::live::{LiveCluster, LiveHost};
use tokio::time::{sleep, timeout};

use super::small;

/// Longest time that one message is waited for.
const LONG: Duration = Duration::from_secs(30);
/// How long nothing more comes where nothing more is to come.
const QUIET: Duration = Duration::from_secs(5);

/// Three nodes and a client of them.
struct Scene {
    cluster: Arc<LiveCluster>,
    client: Client,
}

impl Scene {
    async fn start() -> Self {
        Self::with(small(), Controls::default()).await
    }

    /// The same of nodes with other sizes, or that do without a protection.
    async fn with(options: StoreOptions, controls: Controls) -> Self {
        let cluster = LiveCluster::found_with(3, options, controls).await;
        let cluster = Arc::new(cluster.expect("a cluster is founded"));
        let endpoints = cluster.hosts.iter().map(LiveHost::client_address);
        let client = Client::builder().endpoints(endpoints).connect().await;
        let client = client.expect("any node answers");
        Self { cluster, client }
    }

    async fn queue(&self, name: &str, spec: QueueSpec) {
        let created = self.client.create_queue(name, spec).await;
        created.expect("the queue is created");
    }

    /// The counts of a queue, once the leaders of all of its partitions tell them.
    async fn stats(&self, queue: &str) -> QueueStats {
        let deadline = Instant::now() + LONG;
        loop {
            let stats = self.client.queue_stats(queue).await;
            if let Ok(stats) = &stats
                && stats.partitions_unavailable == 0
            {
                return stats.clone();
            }
            assert!(Instant::now() < deadline, "{queue}: {stats:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills the node that leads the first partition of a queue.
    async fn kill_leader_of(&self, queue: &str) {
        let queue = self.client.queue(queue).await.expect("it exists");
        let shard = u16::try_from(queue.shards[0]).expect("a shard");
        let victim = self.cluster.until_led(shard).await.expect("it is led");
        println!("host {victim}, leader of shard {shard}, is killed");
        self.cluster.hosts[victim].kill();
    }

    /// A producer that outlasts an election.
    async fn producer(&self, queue: &str) -> Producer {
        let producer = self.client.producer(queue).timeout(LONG).attempts(1_000);
        producer.start().await.expect("the queue can be sent to")
    }

    /// Sends messages; all of them are accepted.
    async fn send(&self, queue: &str, messages: impl IntoIterator<Item = Message>) {
        let producer = self.producer(queue).await;
        for sent in producer.send_all(messages).await {
            sent.expect("it is accepted");
        }
    }

    /// Sends so many messages with their numbers, from 0.
    async fn send_numbers(&self, queue: &str, count: u32) {
        let messages = (0..count).map(|number| Message::new(number.to_string()));
        self.send(queue, messages).await;
    }

    async fn consumer(&self, queue: &str) -> Consumer {
        // Enough for all that a test holds at once.
        let consumer = self.client.consumer(queue).max_in_flight(1_000);
        let consumer = consumer.start().await;
        consumer.expect("the queue can be consumed")
    }
}

/// The next message; there has to be one.
async fn next(consumer: &Consumer) -> Delivery {
    let next = timeout(LONG, consumer.next()).await;
    let next = next.expect("a message comes").expect("it is delivered");
    next.expect("the consumer goes on")
}

/// Whatever comes until nothing has come for a while.
async fn rest(consumer: &Consumer) -> Vec<Delivery> {
    let mut rest = Vec::new();
    while let Ok(next) = timeout(QUIET, consumer.next()).await {
        rest.push(next.expect("it is delivered").expect("it goes on"));
    }
    rest
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.body).into_owned()
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
