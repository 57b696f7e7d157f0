//! Consumer groups and replay over shards without Raft.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;
use roadstead_core::shard::{GroupConfig, GroupStart};
use roadstead_proto::v1::seek_group_request::To;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    Ack, CompleteRequest, Delivery, GetQueueStatsRequest, Output, QueueStats, ReceiveRequest,
    ReceiveStreamOpen, ReceiveStreamOpened, ReceiveStreamRequest, ReceiveStreamResponse,
    SeekGroupRequest, SeekPosition, SettleRequest, Settlement, receive_stream_request,
    receive_stream_response,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::shards::QueueInfo;
use super::tests::{LONG, WHO, message, named, send, start};
use super::{ApiError, Gateway};
use crate::shard::twin::{TwinCluster, queue_info};
use crate::shard::wire::duration_ms;

type Frames = mpsc::Receiver<Result<ReceiveStreamResponse, ApiError>>;

/// Queue `a` has the groups `default`, `billing` and `late`, and retains what they have settled.
pub(super) fn group(cluster: &TwinCluster) {
    cluster.queues.set(grouped(1));
}

/// The same queue, in which the group `billing` has this id.
fn grouped(billing: u32) -> QueueInfo {
    let mut info = queue_info(7, "a", &[1, 2, 3, 4, 1, 2, 3, 4]);
    let config = |id, start| GroupConfig {
        id,
        start,
        ..GroupConfig::default()
    };
    info.config.revision = 1 + u64::from(billing);
    info.config.retain_ms = 60_000;
    info.config.groups = vec![
        config(billing, GroupStart::Beginning),
        config(2, GroupStart::End),
    ];
    info.config.groups.sort_by_key(|group| group.id);
    let ids = [("default", 0), ("billing", billing), ("late", 2)];
    info.queue.group_ids = ids.map(|(name, id)| (name.to_owned(), id)).into();
    info
}

pub(super) async fn take(
    gateway: &Arc<Gateway<TokioRuntime>>,
    group: &str,
    wait_ms: u64,
) -> Vec<String> {
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

pub(super) async fn stats(gateway: &Gateway<TokioRuntime>, group: &str) -> QueueStats {
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

#[tokio::test]
async fn a_group_that_is_deleted_ends_what_waits_for_it_and_makes_its_receipts_stale() {
    let (cluster, gateway) = start().await;
    group(&cluster);
    send(&gateway, "a", vec![message("x")]).await;
    let request = |wait_ms| ReceiveRequest {
        queue: named("a"),
        group: "billing".to_owned(),
        max_messages: 100,
        wait: Some(duration_ms(wait_ms)),
        ..ReceiveRequest::default()
    };
    let held = gateway.receive(&WHO, request(0)).await.unwrap().deliveries;
    assert_eq!(held.len(), 1);
    let waiting = {
        let gateway = gateway.clone();
        tokio::spawn(async move { gateway.receive(&WHO, request(20_000)).await })
    };
    sleep(Duration::from_millis(200)).await;
    let mut info = queue_info(7, "a", &[1, 2, 3, 4, 1, 2, 3, 4]);
    info.config.revision = 3;
    info.config.retain_ms = 60_000;
    cluster.queues.set(info);
    let ended = timeout(LONG, waiting).await;
    let error = ended.expect("it does not wait on").unwrap().unwrap_err();
    assert_eq!(
        (error.code, error.detail.field.as_str()),
        (Code::NotFound, "group")
    );
    let error = gateway.receive(&WHO, request(0)).await.unwrap_err();
    assert!(error.message.contains("it has default"), "{error}");
    let settlement = Settlement {
        receipt: held[0].receipt.clone(),
        action: Some(Action::Ack(Ack {})),
    };
    let request = SettleRequest {
        queue: named("a"),
        settlements: vec![settlement],
    };
    let settled = gateway.settle(&WHO, request).await.unwrap();
    let error = settled.results[0].error.as_ref().expect("it is stale");
    assert!(
        !error.retryable && error.code == i32::from(Code::NotFound),
        "{error:?}"
    );
}

/// Opens a stream of `a` for the group `billing`, if it has this id (0: whichever it is).
async fn open(
    gateway: &Arc<Gateway<TokioRuntime>>,
    group_id: u32,
) -> (mpsc::Sender<ReceiveStreamRequest>, Frames) {
    let (up, frames) = mpsc::channel(16);
    let down = gateway.receive_stream(WHO, frames);
    let open = ReceiveStreamOpen {
        queue: named("a"),
        group: "billing".to_owned(),
        group_id,
        session_id: "s".to_owned(),
        ..ReceiveStreamOpen::default()
    };
    let frame = Some(receive_stream_request::Frame::Open(open));
    up.send(ReceiveStreamRequest { frame }).await.unwrap();
    (up, down)
}

async fn next(down: &mut Frames) -> Result<receive_stream_response::Frame, ApiError> {
    let frame = timeout(LONG, down.recv()).await.expect("it is answered");
    frame.expect("it goes on").map(|frame| frame.frame.unwrap())
}

fn is_opened(queue_id: u64, group_id: u32) -> receive_stream_response::Frame {
    receive_stream_response::Frame::Opened(ReceiveStreamOpened { queue_id, group_id })
}

#[tokio::test]
async fn a_stream_is_not_moved_to_another_group_of_the_same_name() {
    let (cluster, gateway) = start().await;
    group(&cluster);
    let (_up, mut down) = open(&gateway, 0).await;
    assert_eq!(next(&mut down).await, Ok(is_opened(7, 1)));
    cluster.queues.set(grouped(3));
    let error = next(&mut down).await.unwrap_err();
    assert_eq!(
        (error.code, error.detail.field.as_str()),
        (Code::NotFound, "group")
    );
    let (_up, mut down) = open(&gateway, 1).await;
    let error = next(&mut down).await.unwrap_err();
    assert_eq!(
        (error.code, error.detail.field.as_str()),
        (Code::NotFound, "group")
    );
    assert!(error.message.contains("created anew"), "{error}");
    assert!(!error.detail.retryable);
    for id in [3, 0] {
        let (_up, mut down) = open(&gateway, id).await;
        assert_eq!(next(&mut down).await, Ok(is_opened(7, 3)));
    }
}

#[tokio::test]
async fn a_catalog_that_lags_behind_catches_up_before_something_is_missing() {
    let (cluster, gateway) = start().await;
    cluster.queues.set_late(queue_info(12, "new", &[1]));
    send(&gateway, "new", vec![message("x")]).await;
    cluster.queues.set_late(grouped(1));
    assert_eq!(stats(&gateway, "billing").await.ready, 0);
    // A client has heard of the new group by way of another node.
    cluster.queues.set_late(grouped(3));
    let (_up, mut down) = open(&gateway, 3).await;
    assert_eq!(next(&mut down).await, Ok(is_opened(7, 3)));
}

#[tokio::test]
async fn what_a_deleted_group_held_is_not_completed() {
    let (cluster, gateway) = start().await;
    group(&cluster);
    send(&gateway, "a", vec![message("x")]).await;
    let receive = async || {
        let request = ReceiveRequest {
            queue: named("a"),
            group: "billing".to_owned(),
            wait: Some(duration_ms(5_000)),
            ..ReceiveRequest::default()
        };
        let received = gateway.receive(&WHO, request).await.unwrap();
        received.deliveries[0].receipt.clone()
    };
    let held = receive().await;
    cluster.queues.set(grouped(3));
    assert_ne!(receive().await, held, "the new group has it too");
    let request = CompleteRequest {
        queue: named("a"),
        receipts: vec![held],
        outputs: vec![Output {
            queue: named("one"),
            message: Some(message("y")),
        }],
    };
    let error = gateway.complete(&WHO, request).await.unwrap_err();
    assert_eq!(
        (error.code, error.detail.field.as_str()),
        (Code::NotFound, "receipts")
    );
    assert!(!error.detail.retryable, "{error:?}");
    sleep(Duration::from_millis(100)).await;
    let request = GetQueueStatsRequest {
        queue: named("one"),
        ..GetQueueStatsRequest::default()
    };
    let one = gateway.get_queue_stats(&WHO, request).await.unwrap();
    assert_eq!(one.stats.unwrap().sent_total, 0, "nothing was sent");
    let billing = stats(&gateway, "billing").await;
    assert_eq!((billing.in_flight, billing.outbox), (1, 0));
}

#[tokio::test]
async fn a_message_wakes_one_consumer_of_each_group_with_one_entry() {
    let (cluster, gateway) = start().await;
    let mut info = queue_info(8, "one", &[2]);
    info.config.revision = 2;
    info.config.groups = vec![GroupConfig {
        id: 1,
        ..GroupConfig::default()
    }];
    info.queue.group_ids = [("billing".to_owned(), 1)].into();
    cluster.queues.set(info);
    let wait = |group: &str| {
        let request = ReceiveRequest {
            queue: named("one"),
            group: group.to_owned(),
            wait: Some(duration_ms(10_000)),
            ..ReceiveRequest::default()
        };
        let gateway = gateway.clone();
        tokio::spawn(async move { gateway.receive(&WHO, request).await })
    };
    let waiting = ["", "", "billing", "billing"].map(wait);
    sleep(Duration::from_millis(200)).await;
    let proposed = || cluster.twins[&2].proposed.load(Ordering::SeqCst);
    let before = proposed();
    send(&gateway, "one", vec![message("x")]).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(proposed() - before, 1, "stored and leased to both at once");
    let served = waiting.map(|one| one.is_finished());
    let of = |pair: &[bool]| pair.iter().filter(|served| **served).count();
    assert_eq!((of(&served[..2]), of(&served[2..])), (1, 1), "{served:?}");
}
