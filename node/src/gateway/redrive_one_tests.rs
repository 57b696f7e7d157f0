//! One message that goes back from a dead-letter queue, changed.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_proto::v1::{
    AttributeValue, NewAttributes, OutgoingMessage, RedriveMessageRequest, attribute_value::Value,
};
use tonic::Code;

use super::redrive_tests::{keyed, peek, reject, until_ready, with_dead_letters};
use super::tests::{WHO, message, named, receive, send};

#[tokio::test]
async fn one_message_goes_back_with_another_body() {
    let (_cluster, gateway) = with_dead_letters().await;
    let text = |text: &str| AttributeValue {
        value: Some(Value::StringValue(text.to_owned())),
    };
    let original = OutgoingMessage {
        attributes: BTreeMap::from([("old".to_owned(), text("1"))]),
        ..keyed("{broken", "k")
    };
    reject(&gateway, vec![original, keyed("other", "k")]).await;
    let dead = peek(&gateway, "dead").await;
    let broken = dead.iter().find(|m| m.body == "{broken").unwrap().clone();
    let request = RedriveMessageRequest {
        queue: named("dead"),
        location: broken.location.clone(),
        message_id: broken.message_id.clone(),
        body: Some(Bytes::from_static(b"{}")),
        attributes: Some(NewAttributes {
            attributes: BTreeMap::from([("new".to_owned(), text("2"))]),
        }),
        content_type: Some("application/json".to_owned()),
        ..RedriveMessageRequest::default()
    };
    // What the other queue does not take is refused, and the message stays as it is.
    let large = RedriveMessageRequest {
        body: Some(vec![7; 300 << 10].into()),
        ..request.clone()
    };
    let error = gateway.redrive_message(&WHO, large).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert_eq!(error.detail.field, "body", "{error}");
    let empty = RedriveMessageRequest {
        body: Some(Bytes::new()),
        ..request.clone()
    };
    assert!(gateway.redrive_message(&WHO, empty).await.is_err());
    assert_eq!(peek(&gateway, "dead").await.len(), 2);

    let moved = gateway
        .redrive_message(&WHO, request.clone())
        .await
        .unwrap();
    assert_eq!(moved.queue, named("jobs"));
    until_ready(&gateway, "jobs", 1).await;
    let back = peek(&gateway, "jobs").await.remove(0);
    assert_eq!(back.body, "{}");
    assert_eq!(back.attributes.keys().collect::<Vec<_>>(), ["new"]);
    assert_eq!(back.content_type, "application/json");
    assert_eq!(back.message_id, broken.message_id);
    assert_eq!(
        (back.ordering_key.as_str(), &back.dead_letter),
        ("k", &None)
    );
    let left = peek(&gateway, "dead").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].body, "other");
    let again = gateway.redrive_message(&WHO, request).await.unwrap_err();
    assert_eq!(again.code, Code::NotFound);
}

#[tokio::test]
async fn one_that_is_leased_or_of_unknown_origin_stays() {
    let (_cluster, gateway) = with_dead_letters().await;
    reject(&gateway, vec![keyed("other", "k")]).await;
    let left = peek(&gateway, "dead").await;
    assert_eq!(receive(&gateway, "dead", 1, 0).await.len(), 1);
    let one = |location: &str| RedriveMessageRequest {
        queue: named("dead"),
        location: location.to_owned(),
        ..RedriveMessageRequest::default()
    };
    let code = async |request| {
        gateway
            .redrive_message(&WHO, request)
            .await
            .unwrap_err()
            .code
    };
    assert_eq!(code(one(&left[0].location)).await, Code::FailedPrecondition);
    send(&gateway, "dead", vec![message("fresh")]).await;
    let all = peek(&gateway, "dead").await;
    let fresh = all.iter().find(|message| message.body == "fresh").unwrap();
    assert_eq!(code(one(&fresh.location)).await, Code::FailedPrecondition);
    assert_eq!(code(one("nonsense")).await, Code::InvalidArgument);
    let to_one = RedriveMessageRequest {
        to: "one".to_owned(),
        ..one(&fresh.location)
    };
    gateway.redrive_message(&WHO, to_one).await.unwrap();
    until_ready(&gateway, "one", 1).await;
}
