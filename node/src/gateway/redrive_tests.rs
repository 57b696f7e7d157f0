//! Messages that go back from a dead-letter queue, over shards without Raft.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;
use roadstead_core::shard::{DeadLetterTarget, PartitionConfig};
use roadstead_proto::partition_of_key;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    DeadLetterReason, Delivery, GetQueueStatsRequest, MessageFilter, OutgoingMessage,
    PeekMessagesRequest, PeekedMessage, QueueStats, RedriveMessagesRequest,
    RedriveMessagesResponse, Reject, SettleRequest, Settlement,
};
use tokio::time::sleep;
use tonic::Code;

use super::tests::{WHO, message, named, receive, send, start};
use super::{ApiError, Gateway};
use crate::auth::Principal;
use crate::shard::twin::{TwinCluster, queue_info};

const JOBS: u64 = 20;
const DEAD: u64 = 21;

pub(super) type Node = Arc<Gateway<TokioRuntime>>;

/// Queue `jobs` has four partitions on two shards, and its dead letters go to `dead`, which has
/// two.
pub(super) async fn with_dead_letters() -> (TwinCluster, Node) {
    let (cluster, gateway) = start().await;
    cluster.queues.set(queue_info(DEAD, "dead", &[3, 4]));
    set_jobs(&cluster, 1, 0);
    (cluster, gateway)
}

fn set_jobs(cluster: &TwinCluster, revision: u64, max_messages: u64) {
    let mut info = queue_info(JOBS, "jobs", &[1, 2, 1, 2]);
    info.config = PartitionConfig {
        revision,
        max_messages,
        dead_letter: Some(DeadLetterTarget {
            queue: DEAD,
            partitions: 2,
        }),
        ..PartitionConfig::default()
    };
    cluster.queues.set(info);
}

pub(super) fn keyed(body: &str, key: &str) -> OutgoingMessage {
    OutgoingMessage {
        ordering_key: key.to_owned(),
        ..message(body)
    }
}

pub(super) async fn counts(gateway: &Node, name: &str) -> QueueStats {
    let request = GetQueueStatsRequest {
        queue: named(name),
        ..GetQueueStatsRequest::default()
    };
    let answer = gateway.get_queue_stats(&WHO, request).await.unwrap();
    answer.stats.unwrap()
}

/// Waits until so many messages are ready.
pub(super) async fn until_ready(gateway: &Node, name: &str, ready: u64) {
    for _ in 0..500 {
        if counts(gateway, name).await.ready == ready {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} has {:?}", counts(gateway, name).await);
}

/// Sends messages and rejects them all, and waits until they are dead letters.
pub(super) async fn reject(gateway: &Node, messages: Vec<OutgoingMessage>) {
    let (count, before) = (messages.len(), counts(gateway, "dead").await.ready);
    send(gateway, "jobs", messages).await;
    let mut left = count;
    while left > 0 {
        let got = receive(gateway, "jobs", 100, 1_000).await;
        left -= got.len();
        let reject = |delivery: Delivery| Settlement {
            receipt: delivery.receipt,
            action: Some(Action::Reject(Reject {
                error: "boom".to_owned(),
            })),
        };
        let request = SettleRequest {
            queue: named("jobs"),
            settlements: got.into_iter().map(reject).collect(),
        };
        gateway.settle(&WHO, request).await.unwrap();
    }
    until_ready(gateway, "dead", before + count as u64).await;
}

pub(super) async fn peek(gateway: &Node, name: &str) -> Vec<PeekedMessage> {
    let request = PeekMessagesRequest {
        queue: named(name),
        max_messages: 100,
        ..PeekMessagesRequest::default()
    };
    let page = gateway.peek_messages(&WHO, request).await.unwrap();
    page.messages
}

fn all(max_messages: u32) -> RedriveMessagesRequest {
    RedriveMessagesRequest {
        queue: named("dead"),
        max_messages,
        ..RedriveMessagesRequest::default()
    }
}

/// Piece by piece to the end.
async fn redrive(gateway: &Node, mut request: RedriveMessagesRequest) -> RedriveMessagesResponse {
    let mut sum = RedriveMessagesResponse::default();
    loop {
        let piece = gateway.redrive_messages(&WHO, request.clone()).await;
        let piece = piece.unwrap();
        let looked = piece.moved + piece.leased + piece.refused;
        assert!(looked <= u64::from(request.max_messages), "{piece:?}");
        request.page_token.clone_from(&piece.next_page_token);
        crate::shard::add_redriven(&mut sum, piece);
        if request.page_token.is_empty() {
            return sum;
        }
    }
}

#[tokio::test]
async fn messages_go_back_to_where_they_came_from_as_if_they_had_never_failed() {
    let (_cluster, gateway) = with_dead_letters().await;
    let messages: Vec<_> = (0..12)
        .map(|n| keyed(&n.to_string(), &format!("k{}", n % 3)))
        .collect();
    reject(&gateway, messages).await;
    let dead = peek(&gateway, "dead").await;
    assert_eq!(dead.len(), 12);
    for message in &dead {
        let info = message.dead_letter.as_ref().unwrap();
        assert_eq!(info.source_queue, "default/jobs");
        // Of a key all are in one partition, the one that its producers would send to.
        let partition = partition_of_key(&message.ordering_key, 2);
        assert_eq!(message.partition, partition);
    }
    let dry = RedriveMessagesRequest {
        dry_run: true,
        ..all(5)
    };
    assert_eq!(redrive(&gateway, dry).await.moved, 12);
    assert_eq!(counts(&gateway, "dead").await.ready, 12);
    let sum = redrive(&gateway, all(5)).await;
    assert_eq!((sum.moved, sum.leased, sum.refused), (12, 0, 0));
    until_ready(&gateway, "jobs", 12).await;
    let back = peek(&gateway, "jobs").await;
    let ids = |messages: &[PeekedMessage]| {
        let mut ids: Vec<_> = messages.iter().map(|m| m.message_id.clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&back), ids(&dead), "ids are kept");
    let mut last = BTreeMap::new();
    for message in &back {
        assert_eq!((message.delivery_count, &message.dead_letter), (0, &None));
        let partition = partition_of_key(&message.ordering_key, 4);
        assert_eq!(message.partition, partition);
        // Their order is kept.
        let number: u32 = std::str::from_utf8(&message.body).unwrap().parse().unwrap();
        let before = last.insert(message.ordering_key.clone(), number);
        assert!(before < Some(number), "{number} behind {before:?}");
    }
    let dead = counts(&gateway, "dead").await;
    assert_eq!((dead.ready, dead.redriven_total), (0, 12));
    let got = receive(&gateway, "jobs", 100, 0).await;
    assert!(got.iter().all(|delivery| delivery.delivery_count == 1));
}

#[tokio::test]
async fn what_is_leased_stays_and_only_what_is_meant_goes_where_it_is_told_to() {
    let (_cluster, gateway) = with_dead_letters().await;
    reject(&gateway, vec![keyed("a", "a"), keyed("b", "b")]).await;
    let leased = receive(&gateway, "dead", 1, 0).await;
    assert_eq!(leased[0].dead_letter.as_ref().unwrap().error, "boom");
    let to = |reason: DeadLetterReason| RedriveMessagesRequest {
        to: "one".to_owned(),
        filter: Some(MessageFilter {
            reasons: vec![reason.into()],
            ..MessageFilter::default()
        }),
        ..all(10)
    };
    let none = redrive(&gateway, to(DeadLetterReason::Expired)).await;
    assert_eq!((none.moved, none.leased), (0, 0));
    let sum = redrive(&gateway, to(DeadLetterReason::Rejected)).await;
    assert_eq!((sum.moved, sum.leased), (1, 1));
    until_ready(&gateway, "one", 1).await;
    assert_eq!(counts(&gateway, "dead").await.in_flight, 1);
    assert_eq!(counts(&gateway, "jobs").await.ready, 0);
}

#[tokio::test]
async fn who_waits_for_messages_gets_what_is_moved() {
    let (_cluster, gateway) = with_dead_letters().await;
    reject(&gateway, vec![message("x")]).await;
    let waiting = {
        let gateway = gateway.clone();
        tokio::spawn(async move { receive(&gateway, "jobs", 1, 10_000).await })
    };
    sleep(Duration::from_millis(50)).await;
    redrive(&gateway, all(10)).await;
    assert_eq!(waiting.await.unwrap()[0].body, "x");
}

#[tokio::test]
async fn what_cannot_go_is_refused_one_by_one_with_its_reason() {
    let (cluster, gateway) = with_dead_letters().await;
    send(&gateway, "dead", vec![message("never failed")]).await;
    let sum = redrive(&gateway, all(10)).await;
    assert_eq!((sum.moved, sum.refused), (0, 1));
    let refusal = &sum.refusals[0];
    assert!(refusal.message.contains("name the queue"), "{refusal:?}");
    assert_eq!(refusal.code, i32::from(Code::FailedPrecondition));
    reject(&gateway, vec![message("x"), message("y")]).await;
    cluster.queues.remove(JOBS);
    let sum = redrive(&gateway, all(1)).await;
    assert_eq!((sum.moved, sum.refused), (0, 3));
    let gone = sum.refusals.iter();
    let gone = gone.filter(|refusal| refusal.message.contains("does not exist any more"));
    assert_eq!(gone.count(), 2, "{sum:?}");

    let error = async |request| {
        let moved: Result<_, ApiError> = gateway.redrive_messages(&WHO, request).await;
        moved.unwrap_err()
    };
    let to = |to: &str| RedriveMessagesRequest {
        to: to.to_owned(),
        ..all(1)
    };
    let itself = error(to("dead")).await;
    assert_eq!(itself.code, Code::InvalidArgument);
    assert_eq!(itself.detail.field, "to");
    assert_eq!(error(to("nowhere")).await.code, Code::NotFound);
    assert_eq!(error(all(1_001)).await.code, Code::InvalidArgument);
    assert_eq!(counts(&gateway, "dead").await.ready, 3);
}

#[tokio::test]
async fn one_needs_the_rights_to_both_queues() {
    let (cluster, gateway) = with_dead_letters().await;
    reject(&gateway, vec![message("x")]).await;
    let account = |namespace: &str| Principal::ServiceAccount {
        namespace: namespace.to_owned(),
        name: "worker".to_owned(),
    };
    let foreign = gateway.redrive_messages(&account("shop"), all(1)).await;
    assert_eq!(foreign.unwrap_err().code, Code::PermissionDenied);
    // Where they came from is of another namespace by now: the shard's leader looks at that.
    let mut moved = queue_info(DEAD, "dead", &[3, 4]);
    moved.queue.queue.as_mut().unwrap().namespace = "shop".to_owned();
    cluster.queues.set(moved);
    let mut request = all(1);
    request.queue.as_mut().unwrap().namespace = "shop".to_owned();
    let mut refused = 0;
    loop {
        let piece = gateway
            .redrive_messages(&account("shop"), request.clone())
            .await;
        let piece = piece.unwrap();
        assert_eq!(piece.moved, 0);
        refused += piece.refused;
        for refusal in &piece.refusals {
            assert_eq!(refusal.code, i32::from(Code::PermissionDenied));
        }
        request.page_token = piece.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(refused, 1);
    cluster.queues.set(queue_info(DEAD, "dead", &[3, 4]));
    let own = gateway.redrive_messages(&account("default"), all(10)).await;
    assert!(own.is_ok(), "{own:?}");
}

#[tokio::test]
async fn a_target_that_is_full_lets_the_rest_wait_at_the_source() {
    let (cluster, gateway) = with_dead_letters().await;
    reject(
        &gateway,
        vec![keyed("1", "k"), keyed("2", "k"), keyed("3", "k")],
    )
    .await;
    set_jobs(&cluster, 2, 1);
    assert_eq!(redrive(&gateway, all(10)).await.moved, 3);
    until_ready(&gateway, "jobs", 1).await;
    for _ in 0..500 {
        let shards = [3, 4].map(|shard| cluster.shards.service(shard).parked());
        let why = shards.iter().flat_map(BTreeMap::values).next();
        if why.is_some_and(|why| why.contains("the limit of messages")) {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let dead = counts(&gateway, "dead").await;
    assert_eq!((dead.ready, dead.outbox), (0, 2), "nowhere receivable");
    set_jobs(&cluster, 3, 0);
    until_ready(&gateway, "jobs", 3).await;
    let bodies: Vec<_> = peek(&gateway, "jobs").await;
    let bodies: Vec<_> = bodies.iter().map(|message| &message.body[..]).collect();
    assert_eq!(bodies, [b"1", b"2", b"3"]);
}

#[tokio::test]
async fn a_piece_whose_answer_is_lost_moves_nothing_twice() {
    let (cluster, gateway) = with_dead_letters().await;
    let messages = (0..10).map(|n| message(&n.to_string())).collect();
    reject(&gateway, messages).await;
    cluster.shards.deaf.lock().unwrap().insert(3);
    redrive(&gateway, all(100)).await;
    until_ready(&gateway, "jobs", 10).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(counts(&gateway, "jobs").await.sent_total, 20);
}
