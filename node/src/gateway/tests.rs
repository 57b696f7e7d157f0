//! The gateway over shards without Raft, all in one process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    Ack, DeleteQueueRequest, Delivery, GetQueueStatsRequest, ListQueuesRequest, OutgoingMessage,
    PeekMessagesRequest, Producer, PurgeQueueRequest, QueueRef, ReceiveRequest, SendRequest,
    SettleRequest, Settlement,
};
use tokio::time::sleep;
use tonic::Code;

use super::{ApiError, Gateway};
use crate::auth::Principal;
use crate::shard::ShardOptions;
use crate::shard::twin::{TwinCluster, queue_info};
use crate::shard::wire::duration_ms;

pub(super) const LONG: Duration = Duration::from_secs(10);
pub(super) const WHO: Principal = Principal::Anonymous;

/// Queue `a` has eight partitions on four shards, `one` has one.
pub(super) async fn start() -> (TwinCluster, Arc<Gateway<TokioRuntime>>) {
    let cluster = TwinCluster::start(4, ShardOptions::default());
    cluster
        .queues
        .set(queue_info(7, "a", &[1, 2, 3, 4, 1, 2, 3, 4]));
    cluster.queues.set(queue_info(8, "one", &[2]));
    let gateway = cluster.gateway();
    // A new service needs a moment to notice that it leads.
    stats(&gateway, "a").await;
    (cluster, gateway)
}

#[allow(clippy::unnecessary_wraps, reason = "requests hold an optional queue")]
pub(super) fn named(name: &str) -> Option<QueueRef> {
    Some(QueueRef {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    })
}

pub(super) fn message(body: &str) -> OutgoingMessage {
    OutgoingMessage {
        body: Bytes::from(body.to_owned()),
        ..OutgoingMessage::default()
    }
}

pub(super) async fn send(
    gateway: &Gateway<TokioRuntime>,
    name: &str,
    messages: Vec<OutgoingMessage>,
) {
    let request = SendRequest {
        queue: named(name),
        messages,
        ..SendRequest::default()
    };
    let sent = gateway.send(&WHO, request).await.unwrap();
    assert!(
        sent.results.iter().all(|result| result.error.is_none()),
        "{sent:?}"
    );
}

pub(super) async fn receive(
    gateway: &Arc<Gateway<TokioRuntime>>,
    name: &str,
    max_messages: u32,
    wait_ms: u64,
) -> Vec<Delivery> {
    let wait = Some(duration_ms(wait_ms));
    let queue = named(name);
    let request = ReceiveRequest {
        queue,
        max_messages,
        wait,
        ..ReceiveRequest::default()
    };
    gateway.receive(&WHO, request).await.unwrap().deliveries
}

pub(super) async fn stats(gateway: &Gateway<TokioRuntime>, name: &str) -> (u64, u64, u64) {
    let request = GetQueueStatsRequest {
        queue: named(name),
        ..GetQueueStatsRequest::default()
    };
    let stats = gateway
        .get_queue_stats(&WHO, request)
        .await
        .unwrap()
        .stats
        .unwrap();
    assert_eq!(stats.partitions_unavailable, 0);
    (stats.ready, stats.in_flight, stats.acked_total)
}

#[tokio::test]
async fn a_send_is_split_by_key_and_answered_in_order() {
    let (_cluster, gateway) = start().await;
    let keyed = |key: &str| OutgoingMessage {
        ordering_key: key.to_owned(),
        ..message("x")
    };
    let messages = vec![keyed("a"), message("y"), keyed("customer-3"), keyed("a")];
    let request = SendRequest {
        queue: named("a"),
        messages,
        ..SendRequest::default()
    };
    let sent = gateway.send(&WHO, request).await.unwrap();
    let partitions: Vec<_> = sent.results.iter().map(|result| result.partition).collect();
    // The partitions of these keys are part of the contract.
    assert_eq!((partitions[0], partitions[2], partitions[3]), (1, 3, 1));
    assert!(sent.results[3].sequence > sent.results[0].sequence);
    assert!(
        sent.results
            .iter()
            .all(|result| !result.message_id.is_empty())
    );
}

#[tokio::test]
async fn messages_of_all_shards_are_received_and_settled() {
    let (_cluster, gateway) = start().await;
    for turn in 0..16 {
        send(&gateway, "a", vec![message(&turn.to_string())]).await;
    }
    assert_eq!(stats(&gateway, "a").await, (16, 0, 0));
    let got = receive(&gateway, "a", 100, 0).await;
    let partitions: BTreeSet<_> = got.iter().map(|delivery| delivery.partition).collect();
    assert_eq!((got.len(), partitions.len()), (16, 8));
    let ack = |delivery: Delivery| Settlement {
        receipt: delivery.receipt,
        action: Some(Action::Ack(Ack {})),
    };
    let settlements = got.into_iter().map(ack).collect();
    let request = SettleRequest {
        queue: named("a"),
        settlements,
    };
    let settled = gateway.settle(&WHO, request).await.unwrap();
    assert!(settled.results.iter().all(|result| result.error.is_none()));
    assert_eq!(stats(&gateway, "a").await, (0, 0, 16));
}

#[tokio::test]
async fn a_long_poll_waits_at_all_shards_and_gets_no_more_than_it_asked_for() {
    let (_cluster, gateway) = start().await;
    assert_eq!(receive(&gateway, "a", 1, 50).await, []);
    let later = async {
        sleep(Duration::from_millis(50)).await;
        send(&gateway, "a", (0..8).map(|_| message("x")).collect()).await;
        send(&gateway, "a", (0..8).map(|_| message("x")).collect()).await;
    };
    let (got, ()) = tokio::join!(receive(&gateway, "a", 1, 5_000), later);
    assert_eq!(got.len(), 1);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(stats(&gateway, "a").await.1, 1, "only that one is leased");
}

#[tokio::test]
async fn an_unknown_outcome_is_tried_again_only_when_that_is_safe() {
    let (cluster, gateway) = start().await;
    let request = |producer: Option<Producer>| SendRequest {
        queue: named("one"),
        messages: vec![message("x")],
        partition: Some(0),
        producer,
        atomic: false,
    };
    cluster.shards.deaf.lock().unwrap().insert(2);
    let error = gateway.send(&WHO, request(None)).await.unwrap_err();
    assert_eq!(error.code, Code::Unknown);
    assert!(error.message.contains("not known"), "{}", error.message);
    cluster.shards.deaf.lock().unwrap().insert(2);
    let producer = Producer {
        id: "p".to_owned(),
        first_sequence: 1,
    };
    let sent = gateway.send(&WHO, request(Some(producer))).await.unwrap();
    assert!(
        sent.results[0].duplicate,
        "the lost answer was to an accepted message"
    );
    assert_eq!(stats(&gateway, "one").await.0, 2);
}

#[tokio::test]
async fn confirmed_counts_come_from_leaders_that_a_majority_follows() {
    let (cluster, gateway) = start().await;
    let unavailable = async |confirmed| {
        let request = GetQueueStatsRequest {
            queue: named("a"),
            confirmed,
            group: String::new(),
        };
        let stats = gateway.get_queue_stats(&WHO, request).await.unwrap().stats;
        stats.unwrap().partitions_unavailable
    };
    assert_eq!(unavailable(true).await, 0);
    cluster.twins[&1].hold(true);
    assert_eq!((unavailable(true).await, unavailable(false).await), (2, 0));
    cluster.twins[&1].hold(false);
    assert_eq!(unavailable(true).await, 0);
}

#[tokio::test]
async fn peek_and_purge_see_all_shards() {
    let (_cluster, gateway) = start().await;
    for _ in 0..16 {
        send(&gateway, "a", vec![message("x")]).await;
    }
    let request = PeekMessagesRequest {
        queue: named("a"),
        max_messages: 12,
        ..PeekMessagesRequest::default()
    };
    let peeked = gateway.peek_messages(&WHO, request).await.unwrap();
    assert_eq!(peeked.messages.len(), 12);
    let request = PurgeQueueRequest { queue: named("a") };
    let purged = gateway.purge_queue(&WHO, request).await.unwrap();
    assert_eq!(purged.messages, 16);
    assert_eq!(stats(&gateway, "a").await.0, 0);
}

#[tokio::test]
async fn queues_are_listed_page_by_page_and_only_to_who_may_see_them() {
    let (cluster, gateway) = start().await;
    let mut other = queue_info(9, "x", &[1]);
    other.queue.queue = Some(QueueRef {
        namespace: "shop".to_owned(),
        name: "x".to_owned(),
    });
    cluster.queues.set(other);
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListQueuesRequest {
            page_size: 1,
            page_token,
            ..Default::default()
        };
        let page = gateway.list_queues(&WHO, request).await.unwrap();
        names.extend(
            page.queues
                .into_iter()
                .map(|queue| queue.queue.unwrap().name),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "one", "x"]);
    let shop = Principal::ServiceAccount {
        namespace: "shop".to_owned(),
        name: "worker".to_owned(),
    };
    let page = gateway
        .list_queues(&shop, ListQueuesRequest::default())
        .await
        .unwrap();
    assert_eq!(page.queues.len(), 1);
    let request = GetQueueStatsRequest {
        queue: named("a"),
        ..GetQueueStatsRequest::default()
    };
    let error = gateway.get_queue_stats(&shop, request).await.unwrap_err();
    assert_eq!(error.code, Code::PermissionDenied);
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let (_cluster, gateway) = start().await;
    let field = |error: ApiError| (error.code, error.detail.field);
    let request = SendRequest {
        queue: named("none"),
        ..SendRequest::default()
    };
    let error = gateway.send(&WHO, request).await.unwrap_err();
    assert_eq!(
        (error.code, error.detail.queue.as_str()),
        (Code::NotFound, "default/none")
    );
    let request = SendRequest {
        queue: named("one"),
        messages: vec![message("x")],
        partition: Some(1),
        ..SendRequest::default()
    };
    let error = gateway.send(&WHO, request).await.unwrap_err();
    assert_eq!(
        field(error),
        (Code::InvalidArgument, "partition".to_owned())
    );
    let wait = Some(duration_ms(61_000));
    let request = ReceiveRequest {
        queue: named("one"),
        wait,
        ..ReceiveRequest::default()
    };
    let error = gateway.receive(&WHO, request).await.unwrap_err();
    assert_eq!(field(error), (Code::InvalidArgument, "wait".to_owned()));
    let settlement = Settlement {
        receipt: Bytes::from_static(b"nonsense"),
        action: Some(Action::Ack(Ack {})),
    };
    let request = SettleRequest {
        queue: named("one"),
        settlements: vec![settlement],
    };
    let settled = gateway.settle(&WHO, request).await.unwrap();
    assert_eq!(
        settled.results[0].error.as_ref().map(|error| error.code),
        Some(Code::InvalidArgument.into()),
        "malformed, not stale"
    );
    let request = DeleteQueueRequest {
        queue: named("one"),
        policy: 9,
    };
    let error = gateway.delete_queue(&WHO, request).await.unwrap_err();
    assert_eq!(field(error), (Code::InvalidArgument, "policy".to_owned()));
}

#[tokio::test]
async fn a_receipt_of_another_queue_is_refused() {
    let (_cluster, gateway) = start().await;
    send(&gateway, "one", vec![message("x")]).await;
    let got = receive(&gateway, "one", 1, 0).await;
    let settlement = Settlement {
        receipt: got[0].receipt.clone(),
        action: Some(Action::Ack(Ack {})),
    };
    let request = SettleRequest {
        queue: named("a"),
        settlements: vec![settlement],
    };
    let settled = gateway.settle(&WHO, request).await.unwrap();
    assert!(settled.results[0].error.is_some());
    assert_eq!(stats(&gateway, "one").await.1, 1, "it is leased still");
}
