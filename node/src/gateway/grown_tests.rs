//! Queues with order by key whose partitions grow in number, over shards without Raft.

use std::sync::Arc;

use openraft_rt_tokio::TokioRuntime;
use roadstead_core::shard::{Ordering, PartitionConfig};
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    Ack, OutgoingMessage, Producer, SendRequest, SendResult, SettleRequest, Settlement,
};
use tonic::Code;

use super::Gateway;
use super::tests::{WHO, message, named, receive, start};
use crate::shard::twin::{TwinCluster, queue_info};

/// Of 2 partitions `a` and `b` belong to the second one, of 3 `b` to the third.
fn keyed(body: &str) -> OutgoingMessage {
    OutgoingMessage {
        ordering_key: body[..1].to_owned(),
        ..message(body)
    }
}

/// The queue has so many partitions, each in a shard of its own.
fn set(cluster: &TwinCluster, partitions: u32, earlier: &[u32]) {
    let shards: Vec<u32> = (1..=partitions).collect();
    let mut info = queue_info(30, "grown", &shards);
    info.config = PartitionConfig {
        revision: u64::from(partitions),
        ordering: Ordering::PerKey,
        partitions,
        earlier: earlier.to_vec(),
        ..PartitionConfig::default()
    };
    if let Some(spec) = &mut info.queue.spec {
        spec.set_ordering(roadstead_proto::v1::Ordering::PerKey);
    }
    cluster.queues.set(info);
}

async fn send(
    gateway: &Gateway<TokioRuntime>,
    (producer, partition, first): (&str, u32, u64),
    bodies: &[&str],
) -> Vec<SendResult> {
    let request = SendRequest {
        queue: named("grown"),
        messages: bodies.iter().map(|body| keyed(body)).collect(),
        producer: Some(Producer {
            id: producer.to_owned(),
            first_sequence: first,
        }),
        partition: Some(partition),
        ..SendRequest::default()
    };
    gateway.send(&WHO, request).await.unwrap().results
}

/// Where the messages went, and whether they were known.
fn told(results: &[SendResult]) -> Vec<(u32, bool)> {
    let one = |result: &SendResult| {
        assert_eq!(result.error, None);
        (result.partition, result.duplicate)
    };
    results.iter().map(one).collect()
}

/// Receives and acks until nothing comes any more. What they say.
async fn drain(gateway: &Arc<Gateway<TokioRuntime>>) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let came = receive(gateway, "grown", 10, 0).await;
        if came.is_empty() {
            return bodies;
        }
        let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        bodies.extend(came.iter().map(|delivery| text(&delivery.body)));
        let settlement = |receipt| Settlement {
            receipt,
            action: Some(Action::Ack(Ack {})),
        };
        let receipts = came.into_iter().map(|delivery| delivery.receipt);
        let request = SettleRequest {
            queue: named("grown"),
            settlements: receipts.map(settlement).collect(),
        };
        gateway.settle(&WHO, request).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_stays_where_it_lives_whoever_sends_and_moves_when_it_is_gone() {
    let (cluster, gateway) = start().await;
    set(&cluster, 2, &[]);
    let sent = send(&gateway, ("old", 1, 1), &["b1", "a1"]).await;
    assert_eq!(told(&sent), [(1, false), (1, false)]);
    set(&cluster, 3, &[2]);
    let sent = send(&gateway, ("old", 1, 3), &["b2", "a2"]).await;
    assert_eq!(told(&sent), [(1, false), (1, false)]);
    // An answer is lost, and it is tried again.
    cluster.shards.deaf.lock().unwrap().insert(2);
    let sent = send(&gateway, ("new", 2, 1), &["b3"]).await;
    assert_eq!(told(&sent), [(1, true)]);
    let bodies = drain(&gateway).await;
    let of_b: Vec<_> = bodies.iter().filter(|body| body.starts_with('b')).collect();
    assert_eq!(of_b, ["b1", "b2", "b3"]);
    let sent = send(&gateway, ("old", 1, 5), &["b4", "a3", "b5"]).await;
    assert_eq!(told(&sent), [(2, false), (1, false), (2, false)]);
    let again = send(&gateway, ("old", 1, 5), &["b4", "a3", "b5"]).await;
    assert_eq!(told(&again), [(2, true), (1, true), (2, true)]);
    assert_eq!(again[2].message_id, sent[2].message_id);
    // What was sent before the growth is still known.
    let again = send(&gateway, ("old", 1, 1), &["b1"]).await;
    assert_eq!(told(&again), [(1, true)]);
    assert_eq!(drain(&gateway).await.len(), 3);
}

#[tokio::test]
async fn a_partition_that_is_no_home_of_a_key_was_chosen_by_the_sender() {
    let (cluster, gateway) = start().await;
    set(&cluster, 3, &[2]);
    // `d` belonged to the first partition, and belongs to the third.
    let sent = send(&gateway, ("p", 0, 1), &["b1", "a1", "d1"]).await;
    assert_eq!(told(&sent), [(0, false), (0, false), (2, false)]);
}

#[tokio::test]
async fn a_node_that_has_not_heard_of_the_growth_lets_it_be_tried_again() {
    let (cluster, gateway) = start().await;
    set(&cluster, 3, &[2]);
    let sent = send(&gateway, ("p", 1, 1), &["a1"]).await;
    assert_eq!(told(&sent), [(1, false)]);
    set(&cluster, 2, &[]);
    let sent = send(&gateway, ("p", 1, 2), &["a2", "b1"]).await;
    assert_eq!(sent[0].error, None);
    let error = sent[1].error.clone().expect("its key has moved");
    assert!(error.retryable, "{error:?}");
    set(&cluster, 3, &[2]);
    let sent = send(&gateway, ("p", 1, 2), &["a2", "b1"]).await;
    assert_eq!(told(&sent), [(1, true), (2, false)]);
}

#[tokio::test]
async fn an_atomic_batch_needs_one_home_for_all_of_its_keys() {
    let (cluster, gateway) = start().await;
    set(&cluster, 2, &[]);
    send(&gateway, ("old", 1, 1), &["b1"]).await;
    set(&cluster, 3, &[2]);
    let batch = |bodies: &[&str]| SendRequest {
        queue: named("grown"),
        messages: bodies.iter().map(|body| keyed(body)).collect(),
        partition: Some(2),
        atomic: true,
        ..SendRequest::default()
    };
    let sent = gateway.send(&WHO, batch(&["b2", "b3"])).await.unwrap();
    assert_eq!(told(&sent.results), [(1, false), (1, false)]);
    // `r` belongs where `b` does, and lives nowhere.
    let error = gateway.send(&WHO, batch(&["b4", "r1"])).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    let sent = gateway.send(&WHO, batch(&["r1", "r2"])).await.unwrap();
    assert_eq!(told(&sent.results), [(2, false), (2, false)]);
}
