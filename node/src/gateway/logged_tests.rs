//! Who did what to a queue by hand is in the log of the node that was asked.

use roadstead_proto::v1::consumer_selector::By;
use roadstead_proto::v1::seek_group_request::To;
use roadstead_proto::v1::{
    ConsumerSelector, DeleteMessageRequest, DrainConsumersRequest, PurgeQueueRequest,
    RedriveMessagesRequest, SeekGroupRequest, SeekPosition,
};

use super::redrive_tests::{Node, peek, reject, with_dead_letters};
use super::tests::{message, named, send};
use crate::auth::Principal;
use crate::peers::logged::{Listening, listen};

const WHO: Principal = Principal::Operator;

/// The one line that says this of the queue, and by whom it was done.
#[track_caller]
fn said(log: &Listening, what: &str, fields: &[&str]) {
    let lines = log.lines();
    let about: Vec<_> = lines.lines().filter(|line| line.contains(what)).collect();
    assert_eq!(about.len(), 1, "{what}: {lines}");
    for field in ["principal=operator"].iter().chain(fields) {
        assert!(about[0].contains(field), "{field}: {}", about[0]);
    }
}

async fn drain(gateway: &Node, drain: bool) {
    let request = DrainConsumersRequest {
        queue: named("jobs"),
        selectors: vec![ConsumerSelector {
            by: Some(By::PodUid("u-1".to_owned())),
        }],
        drain,
        ..DrainConsumersRequest::default()
    };
    gateway.drain_consumers(&WHO, request).await.unwrap();
}

#[tokio::test]
async fn who_moved_deleted_or_purged_messages_is_logged() {
    let (_cluster, gateway) = with_dead_letters().await;
    reject(&gateway, vec![message("x"), message("y")]).await;
    let log = listen();
    let request = RedriveMessagesRequest {
        queue: named("dead"),
        max_messages: 1,
        dry_run: true,
        ..RedriveMessagesRequest::default()
    };
    let tried = gateway.redrive_messages(&WHO, request.clone()).await;
    assert_eq!(tried.unwrap().moved, 1);
    assert_eq!(log.lines(), "", "nothing was done");
    let request = RedriveMessagesRequest {
        dry_run: false,
        ..request
    };
    let moved = gateway.redrive_messages(&WHO, request).await;
    assert_eq!(moved.unwrap().moved, 1);
    let fields = [
        "queue=\"default/dead\"",
        "to=\"where they came from\"",
        "messages=1",
    ];
    said(&log, "messages redriven", &fields);
    let left = peek(&gateway, "dead").await.remove(0);
    let request = DeleteMessageRequest {
        queue: named("dead"),
        location: left.location,
        ..DeleteMessageRequest::default()
    };
    gateway.delete_message(&WHO, request).await.unwrap();
    let fields = ["queue=\"default/dead\"", &left.message_id, "force=false"];
    said(&log, "message deleted", &fields);
    send(&gateway, "one", vec![message("x"), message("y")]).await;
    let request = PurgeQueueRequest {
        queue: named("one"),
    };
    gateway.purge_queue(&WHO, request).await.unwrap();
    let fields = ["queue=\"default/one\"", "messages=2", "whole=true"];
    said(&log, "queue purged", &fields);
}

#[tokio::test]
async fn who_drained_consumers_or_set_a_group_back_is_logged() {
    let (_cluster, gateway) = with_dead_letters().await;
    let log = listen();
    drain(&gateway, true).await;
    let fields = ["queue=\"default/jobs\"", "who=\"pod u-1\"", "for_ms=600000"];
    said(&log, "consumers drained", &fields);
    drain(&gateway, false).await;
    said(&log, "consumers not drained", &["who=\"pod u-1\""]);
    let request = SeekGroupRequest {
        queue: named("jobs"),
        group: "default".to_owned(),
        to: Some(To::Position(SeekPosition::Beginning.into())),
        partition: None,
    };
    gateway.seek_group(&WHO, request).await.unwrap();
    let fields = ["queue=\"default/jobs\"", "group=\"default\"", "messages=0"];
    said(&log, "group sought", &fields);
}
