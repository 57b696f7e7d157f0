//! Single messages of a queue with several consumer groups, over shards without Raft.

use std::sync::Arc;

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::{
    DeleteMessageRequest, MessageFilter, PeekMessagesRequest, PeekedMessage, ReceiveRequest,
    RedriveMessageRequest, RedriveMessagesRequest,
};
use tonic::Code;

use super::groups_tests::{group, stats, take};
use super::tests::{WHO, message, named, receive, send, start};
use super::{ApiError, Gateway};

type Node = Arc<Gateway<TokioRuntime>>;

async fn peek(gateway: &Node, group: &str, from_sequence: u64) -> Vec<PeekedMessage> {
    let request = PeekMessagesRequest {
        queue: named("a"),
        max_messages: 100,
        filter: Some(MessageFilter {
            from_sequence,
            ..MessageFilter::default()
        }),
        group: group.to_owned(),
        ..PeekMessagesRequest::default()
    };
    gateway.peek_messages(&WHO, request).await.unwrap().messages
}

async fn delete(gateway: &Node, at: &PeekedMessage, force: bool) -> Result<(), ApiError> {
    let request = DeleteMessageRequest {
        queue: named("a"),
        location: at.location.clone(),
        message_id: at.message_id.clone(),
        force,
    };
    gateway.delete_message(&WHO, request).await.map(|_| ())
}

/// Leases everything to a group.
async fn lease(gateway: &Node, group: &str) -> usize {
    let request = ReceiveRequest {
        queue: named("a"),
        group: group.to_owned(),
        max_messages: 100,
        ..ReceiveRequest::default()
    };
    let received = gateway.receive(&WHO, request).await.unwrap();
    received.deliveries.len()
}

#[tokio::test]
async fn what_one_group_has_settled_can_be_deleted_and_moved_while_another_needs_it() {
    let (cluster, gateway) = start().await;
    group(&cluster);
    for body in ["a", "b", "c", "d"] {
        send(&gateway, "a", vec![message(body)]).await;
    }
    assert_eq!(take(&gateway, "", 5_000).await.len(), 4);
    let left = peek(&gateway, "billing", 0).await;
    assert_eq!((left.len(), peek(&gateway, "", 0).await.len()), (4, 0));
    delete(&gateway, &left[0], false).await.unwrap();
    assert_eq!(stats(&gateway, "billing").await.ready, 3);

    let request = RedriveMessageRequest {
        queue: named("a"),
        location: left[1].location.clone(),
        to: "one".to_owned(),
        ..RedriveMessageRequest::default()
    };
    gateway.redrive_message(&WHO, request).await.unwrap();
    let mut request = RedriveMessagesRequest {
        queue: named("a"),
        to: "one".to_owned(),
        max_messages: 100,
        ..RedriveMessagesRequest::default()
    };
    let of_default = gateway.redrive_messages(&WHO, request.clone()).await;
    assert_eq!(of_default.unwrap().moved, 0, "it has settled them");
    "billing".clone_into(&mut request.group);
    let of_billing = gateway.redrive_messages(&WHO, request).await.unwrap();
    assert_eq!((of_billing.moved, of_billing.leased), (2, 0));
    assert_eq!(stats(&gateway, "billing").await.messages, 0);
    assert_eq!(receive(&gateway, "one", 10, 5_000).await.len(), 3);
}

#[tokio::test]
async fn by_force_a_message_goes_whichever_groups_lease_it() {
    let (cluster, gateway) = start().await;
    group(&cluster);
    send(&gateway, "a", vec![message("x")]).await;
    for group in ["billing", "late"] {
        assert_eq!(lease(&gateway, group).await, 1);
    }
    let at = peek(&gateway, "", 0).await.remove(0);
    let refused = delete(&gateway, &at, false).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    delete(&gateway, &at, true).await.unwrap();
    for group in ["", "billing", "late"] {
        let left = stats(&gateway, group).await;
        assert_eq!((left.messages, left.in_flight), (0, 0), "{group}");
    }
}

#[tokio::test]
async fn what_is_only_retained_can_be_deleted() {
    let (cluster, gateway) = start().await;
    group(&cluster);
    send(&gateway, "a", vec![message("x")]).await;
    let at = peek(&gateway, "", 0).await.remove(0);
    for group in ["", "billing", "late"] {
        assert_eq!(take(&gateway, group, 5_000).await, ["x"]);
    }
    assert_eq!(stats(&gateway, "").await.retained, 1);
    delete(&gateway, &at, false).await.unwrap();
    assert_eq!(stats(&gateway, "").await.retained, 0);
    let gone = delete(&gateway, &at, false).await.unwrap_err();
    assert_eq!(gone.code, Code::NotFound);
}

#[tokio::test]
async fn a_walk_begins_at_a_sequence_in_every_partition() {
    let (cluster, gateway) = start().await;
    group(&cluster);
    for number in 0..80 {
        send(&gateway, "a", vec![message(&number.to_string())]).await;
    }
    let found = peek(&gateway, "late", 8).await;
    assert_eq!(found.len(), 8 * 3, "8, 9 and 10 of each partition");
    assert!(found.iter().all(|message| message.sequence >= 8));
}
