//! Consumer groups and replay over shards without Raft.

use std::sync::Arc;

use openraft_rt_tokio::TokioRuntime;
use roadstead_core::shard::{GroupConfig, GroupStart};
use roadstead_proto::v1::seek_group_request::To;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    Ack, Delivery, GetQueueStatsRequest, QueueStats, ReceiveRequest, SeekGroupRequest,
    SeekPosition, SettleRequest, Settlement,
};
use tonic::Code;

use super::Gateway;
use super::tests::{WHO, message, named, send, start};
use crate::shard::twin::{TwinCluster, queue_info};
use crate::shard::wire::duration_ms;

/// Queue `a` has the groups `default`, `billing` and `late`, and retains what they have settled.
fn group(cluster: &TwinCluster) {
    let mut info = queue_info(7, "a", &[1, 2, 3, 4, 1, 2, 3, 4]);
    let config = |id, start| GroupConfig {
        id,
        start,
        ..GroupConfig::default()
    };
    info.config.revision = 2;
    info.config.retain_ms = 60_000;
    info.config.groups = vec![config(1, GroupStart::Beginning), config(2, GroupStart::End)];
    let ids = [("default", 0), ("billing", 1), ("late", 2)];
    info.queue.group_ids = ids.map(|(name, id)| (name.to_owned(), id)).into();
    cluster.queues.set(info);
}

async fn take(gateway: &Arc<Gateway<TokioRuntime>>, group: &str, wait_ms: u64) -> Vec<String> {
    let request = ReceiveRequest {
        queue: named("a"),
        group: group.to_owned(),
        max_messages: 100,
        wait: Some(duration_ms(wait_ms)),
        ..ReceiveRequest::default()
    };
    let received = gateway.receive(&WHO, request).await.unwrap();
    let settlements = received.deliveries.iter().map(|delivery| Settlement {
        receipt: delivery.receipt.clone(),
        action: Some(Action::Ack(Ack {})),
    });
    let request = SettleRequest {
        queue: named("a"),
        settlements: settlements.collect(),
    };
    if !request.settlements.is_empty() {
        let settled = gateway.settle(&WHO, request).await.unwrap();
        assert!(settled.results.iter().all(|result| result.error.is_none()));
    }
    let body = |delivery: &Delivery| String::from_utf8_lossy(&delivery.body).into_owned();
    let mut bodies: Vec<_> = received.deliveries.iter().map(body).collect();
    bodies.sort();
    bodies
}

async fn stats(gateway: &Gateway<TokioRuntime>, group: &str) -> QueueStats {
    let request = GetQueueStatsRequest {
        queue: named("a"),
        group: group.to_owned(),
        ..GetQueueStatsRequest::default()
    };
    let stats = gateway.get_queue_stats(&WHO, request).await.unwrap();
    stats.stats.unwrap()
}

#[tokio::test]
async fn each_group_gets_every_message_and_can_begin_again() {
    let (cluster, gateway) = start().await;
    group(&cluster);
    let bodies = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for body in bodies {
        send(&gateway, "a", vec![message(body)]).await;
    }
    assert_eq!(take(&gateway, "", 5_000).await, bodies);
    assert_eq!(take(&gateway, "billing", 5_000).await, bodies);
    let left = stats(&gateway, "late").await;
    assert_eq!((left.ready, left.messages, left.retained), (8, 8, 0));
    assert_eq!(take(&gateway, "late", 5_000).await, bodies);
    let left = stats(&gateway, "billing").await;
    assert_eq!((left.ready, left.messages, left.retained), (0, 0, 8));

    let seek = |to, partition| SeekGroupRequest {
        queue: named("a"),
        group: "billing".to_owned(),
        to: Some(to),
        partition,
    };
    let beginning = To::Position(SeekPosition::Beginning.into());
    let sought = gateway
        .seek_group(&WHO, seek(beginning, None))
        .await
        .unwrap();
    assert_eq!((sought.messages, sought.done), (8, true));
    assert_eq!(take(&gateway, "billing", 5_000).await, bodies);
    assert_eq!(take(&gateway, "", 0).await, [""; 0]);
    let beyond = gateway.seek_group(&WHO, seek(To::Sequence(9), Some(0)));
    assert_eq!(beyond.await.unwrap().messages, 0);
    let error = gateway.seek_group(&WHO, seek(To::Sequence(9), Some(8)));
    assert_eq!(error.await.unwrap_err().code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_group_that_there_is_not_is_refused_with_those_that_there_are() {
    let (cluster, gateway) = start().await;
    group(&cluster);
    let request = SeekGroupRequest {
        queue: named("a"),
        group: "nobody".to_owned(),
        to: Some(To::Sequence(1)),
        partition: Some(0),
    };
    let error = gateway.seek_group(&WHO, request).await.unwrap_err();
    assert_eq!(
        (error.code, &error.detail.field[..]),
        (Code::NotFound, "group")
    );
    let said = error.message;
    assert!(said.contains("default, billing, late"), "{said}");
}
