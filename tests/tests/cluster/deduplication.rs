//! The same messages from several producers, through leaders that are killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use roadstead_node::auth::Principal;
use roadstead_proto::partition_of;
use roadstead_proto::v1::{
    Deduplication, OutgoingMessage, Producer, QueueSpec, SendRequest, SendResult,
};
use roadstead_tests::live::LiveCluster;
use roadstead_tests::live::cluster::{PATIENCE, queue_ref, until};
use roadstead_tests::live::load::PARTITIONS;
use tokio::task::JoinSet;

use super::small;

const QUEUE: &str = "once";
const MESSAGES: usize = 3_000;
const BATCH: usize = 20;

/// The id that each message was given, by its deduplication id.
type Given = BTreeMap<String, String>;

fn spec() -> QueueSpec {
    QueueSpec {
        partitions: PARTITIONS,
        deduplication: Some(Deduplication::default()),
        ..QueueSpec::default()
    }
}

fn message(number: usize) -> OutgoingMessage {
    OutgoingMessage {
        body: number.to_string().into(),
        deduplication_id: format!("order-{number}"),
        ..OutgoingMessage::default()
    }
}

/// Sends one batch until it is acknowledged, another host each time.
async fn send(cluster: &LiveCluster, request: SendRequest) -> Vec<SendResult> {
    let deadline = Instant::now() + PATIENCE;
    for host in cluster.hosts.iter().cycle() {
        let request = request.clone();
        let call = host.run(|node| async move {
            let gateway = node.gateway();
            gateway.send(&Principal::Anonymous, request).await
        });
        let sent = call.await;
        if let Ok(Ok(sent)) = &sent
            && sent.results.iter().all(|result| result.error.is_none())
        {
            return sent.results.clone();
        }
        assert!(Instant::now() < deadline, "not acknowledged: {sent:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Vec::new()
}

/// Sends all messages as one producer, its partitions side by side; counts what is acknowledged.
async fn produce(cluster: Arc<LiveCluster>, name: &'static str, count: Arc<AtomicUsize>) -> Given {
    let mut parts = BTreeMap::<u32, Vec<OutgoingMessage>>::new();
    for message in (0..MESSAGES).map(message) {
        let partition = partition_of(&message, &spec(), PARTITIONS).expect("it has an id");
        parts.entry(partition).or_default().push(message);
    }
    let mut tasks = JoinSet::new();
    for (partition, messages) in parts {
        let (cluster, count) = (cluster.clone(), count.clone());
        tasks.spawn(async move {
            let mut given = Given::new();
            for (turn, batch) in messages.chunks(BATCH).enumerate() {
                let first_sequence = (turn * BATCH) as u64 + 1;
                let request = SendRequest {
                    queue: Some(queue_ref(QUEUE)),
                    messages: batch.to_vec(),
                    producer: Some(Producer {
                        id: name.to_owned(),
                        first_sequence,
                    }),
                    partition: Some(partition),
                    atomic: false,
                };
                let results = send(&cluster, request).await;
                count.fetch_add(results.len(), Ordering::Relaxed);
                let ids = batch.iter().map(|message| message.deduplication_id.clone());
                given.extend(ids.zip(results.into_iter().map(|result| result.message_id)));
            }
            given
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn acknowledged(count: &AtomicUsize, goal: usize) {
    until("acknowledgements", || match count.load(Ordering::Relaxed) {
        now if now >= goal => Ok(()),
        now => Err(format!("{now} of {goal}")),
    })
    .await
    .expect("messages are acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_a_new_producer_sends_again_are_known_to_new_leaders() {
    let cluster = LiveCluster::found(3, small()).await;
    let cluster = Arc::new(cluster.expect("a cluster is founded"));
    cluster.create(QUEUE, spec()).await.expect("it is created");
    // The second producer begins while the first is half-way and its leader is killed.
    let counts: [Arc<AtomicUsize>; 3] = Default::default();
    let first = tokio::spawn(produce(cluster.clone(), "first", counts[0].clone()));
    acknowledged(&counts[0], MESSAGES / 3).await;
    let victim = cluster.until_led(1).await.expect("the shard is led");
    println!("host {victim}, leader of shard 1, is killed");
    cluster.hosts[victim].kill();
    let second = tokio::spawn(produce(cluster.clone(), "second", counts[1].clone()));
    let (first, second) = (first.await.expect("done"), second.await.expect("done"));
    assert_eq!(first.len(), MESSAGES);
    assert_eq!(first, second, "both hear of the same messages");
    // The third sends to leaders that are followers' replicas and a restarted node.
    let started = cluster.hosts[victim].start().await;
    started.expect("it starts again");
    cluster.until_ready().await.expect("it catches up");
    let next = cluster.until_led(1).await.expect("the shard is led");
    println!("host {next}, leader of shard 1, is killed");
    cluster.hosts[next].kill();
    let third = produce(cluster.clone(), "third", counts[2].clone()).await;
    assert_eq!(third, first);
    let stats = cluster.stats(QUEUE).await.expect("every partition is led");
    let (sent, ids) = (stats.sent_total, stats.deduplication_ids);
    println!("{MESSAGES} messages sent three times: {sent} stored, {ids} ids remembered");
    assert_eq!((sent, ids), (MESSAGES as u64, MESSAGES as u64));
    assert_eq!(stats.ready, MESSAGES as u64);
}
