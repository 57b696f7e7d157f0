//! Walks through queues, and deletes of single messages, over shards without Raft.

use std::collections::{BTreeMap, BTreeSet};

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    Ack, AttributeFilter, AttributeValue, DeleteMessageRequest, MessageFilter, MessageState,
    OutgoingMessage, PeekMessagesRequest, PeekMessagesResponse, PeekedMessage, PurgeQueueRequest,
    SettleRequest, Settlement, attribute_value::Value,
};
use tonic::Code;

use super::tests::{WHO, message, named, receive, send, start, stats};
use super::{ApiError, Gateway};
use crate::auth::Principal;
use crate::shard::wire::{duration_ms, timestamp};

async fn page(
    gateway: &Gateway<TokioRuntime>,
    name: &str,
    (max_messages, page_token): (u32, String),
    filter: MessageFilter,
) -> Result<PeekMessagesResponse, ApiError> {
    let request = PeekMessagesRequest {
        queue: named(name),
        max_messages,
        filter: Some(filter),
        page_token,
        ..PeekMessagesRequest::default()
    };
    gateway.peek_messages(&WHO, request).await
}

/// All messages that a filter means, by pages of this size.
async fn walk(
    gateway: &Gateway<TokioRuntime>,
    name: &str,
    size: u32,
    filter: &MessageFilter,
) -> Vec<PeekedMessage> {
    let (mut found, mut token) = (Vec::new(), String::new());
    for _ in 0..1_000 {
        let page = page(gateway, name, (size, token), filter.clone()).await;
        let page = page.unwrap();
        assert!(page.messages.len() <= size as usize);
        found.extend(page.messages);
        token = page.next_page_token;
        if token.is_empty() {
            return found;
        }
    }
    panic!("the walk has no end");
}

fn bodies(messages: &[PeekedMessage]) -> Vec<String> {
    let text = |m: &PeekedMessage| String::from_utf8_lossy(&m.body).into_owned();
    messages.iter().map(text).collect()
}

#[tokio::test]
async fn a_whole_queue_is_walked_through_while_messages_come_and_go() {
    let (_cluster, gateway) = start().await;
    for number in 0..40 {
        send(&gateway, "a", vec![message(&number.to_string())]).await;
    }
    for size in [1, 3, 7, 100] {
        let all = walk(&gateway, "a", size, &MessageFilter::default()).await;
        let seen: BTreeSet<_> = bodies(&all).into_iter().collect();
        assert_eq!((all.len(), seen.len()), (40, 40), "pages of {size}");
    }
    // Between the pages some go and some come: who stays is shown, and who came later is not.
    let (mut shown, mut token, mut gone) = (BTreeSet::new(), String::new(), BTreeSet::new());
    loop {
        let page = page(&gateway, "a", (5, token), MessageFilter::default()).await;
        let page = page.unwrap();
        shown.extend(bodies(&page.messages));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        send(&gateway, "a", vec![message("late")]).await;
        for delivery in receive(&gateway, "a", 1, 0).await {
            gone.insert(String::from_utf8_lossy(&delivery.body).into_owned());
            let settle = SettleRequest {
                queue: named("a"),
                settlements: vec![Settlement {
                    receipt: delivery.receipt,
                    action: Some(Action::Ack(Ack {})),
                }],
            };
            gateway.settle(&WHO, settle).await.unwrap();
        }
    }
    let stayed = (0..40).map(|number: u32| number.to_string());
    for body in stayed.filter(|body| !gone.contains(body)) {
        assert!(shown.contains(&body), "{body} of {shown:?}");
    }
    assert!(!gone.is_empty());
}

#[tokio::test]
async fn large_messages_make_short_pages_and_none_is_left_out() {
    let (_cluster, gateway) = start().await;
    let body = "x".repeat(200 << 10);
    for _ in 0..4 {
        let messages = (0..10).map(|_| message(&body)).collect();
        send(&gateway, "one", messages).await;
    }
    let first = page(
        &gateway,
        "one",
        (100, String::new()),
        MessageFilter::default(),
    )
    .await;
    let first = first.unwrap();
    assert!((1..=10).contains(&first.messages.len()));
    assert!(!first.next_page_token.is_empty());
    let all = walk(&gateway, "one", 100, &MessageFilter::default()).await;
    assert_eq!(all.len(), 40);
    let places: BTreeSet<_> = all.iter().map(|message| &message.location).collect();
    assert_eq!(places.len(), 40);
}

#[tokio::test]
async fn a_filter_shows_what_it_means_and_goes_on_behind_what_it_does_not() {
    let (_cluster, gateway) = start().await;
    let text = |text: &str| AttributeValue {
        value: Some(Value::StringValue(text.to_owned())),
    };
    let mut messages: Vec<_> = (0..200).map(|_| message("plain")).collect();
    messages[150] = OutgoingMessage {
        attributes: BTreeMap::from([("source".to_owned(), text("web"))]),
        ordering_key: "k".to_owned(),
        trace_parent: "00-t".to_owned(),
        ..message("special")
    };
    messages.push(OutgoingMessage {
        delay: Some(duration_ms(60_000)),
        time_to_live: Some(duration_ms(30_000)),
        ..message("later")
    });
    send(&gateway, "one", messages).await;
    assert_eq!(receive(&gateway, "one", 1, 0).await.len(), 1);
    let of = async |filter: MessageFilter| bodies(&walk(&gateway, "one", 100, &filter).await);
    let any = MessageFilter::default;
    let by_attribute = |value: Option<&str>| MessageFilter {
        attributes: vec![AttributeFilter {
            name: "source".to_owned(),
            value: value.map(str::to_owned),
        }],
        ..any()
    };
    assert_eq!(of(by_attribute(None)).await, ["special"]);
    assert_eq!(of(by_attribute(Some("web"))).await, ["special"]);
    assert!(of(by_attribute(Some("app"))).await.is_empty());
    let by_key = MessageFilter {
        ordering_key: "k".to_owned(),
        ..any()
    };
    assert_eq!(of(by_key).await, ["special"]);
    let in_state = |state: MessageState| MessageFilter {
        states: vec![state.into()],
        ..any()
    };
    assert_eq!(of(in_state(MessageState::Delayed)).await, ["later"]);
    assert_eq!(of(in_state(MessageState::InFlight)).await, ["plain"]);
    assert_eq!(of(in_state(MessageState::Ready)).await.len(), 199);
    let before = |ms| MessageFilter {
        enqueued_before: Some(timestamp(ms)),
        ..any()
    };
    assert!(of(before(1_000)).await.is_empty());
    assert_eq!(of(before(u64::from(u32::MAX) * 1_000)).await.len(), 201);
    let by_id = MessageFilter {
        message_id: "8-0-151".to_owned(),
        ..any()
    };
    let shown = walk(&gateway, "one", 10, &by_id).await;
    assert_eq!(bodies(&shown), ["special"]);
    assert_eq!(shown[0].trace_parent, "00-t");
    assert_eq!(shown[0].location, "8.0.150");
    assert!(shown[0].expires_at.is_some() && shown[0].not_before.is_none());
    let later = walk(&gateway, "one", 10, &in_state(MessageState::Delayed)).await;
    let (due, expires) = (later[0].not_before.unwrap(), later[0].expires_at.unwrap());
    assert_eq!(expires.seconds - due.seconds, 30);
}

#[tokio::test]
async fn a_filter_may_mean_one_partition() {
    let (_cluster, gateway) = start().await;
    for _ in 0..16 {
        send(&gateway, "a", vec![message("x")]).await;
    }
    let filter = MessageFilter {
        partition: Some(3),
        ..MessageFilter::default()
    };
    let only = walk(&gateway, "a", 10, &filter).await;
    assert_eq!(only.len(), 2);
    assert!(only.iter().all(|message| message.partition == 3));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_by_its_field() {
    let (_cluster, gateway) = start().await;
    let field = async |token: &str, filter: MessageFilter| {
        let page = page(&gateway, "a", (1, token.to_owned()), filter).await;
        let error = page.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
        error.detail.field
    };
    let any = MessageFilter::default;
    for token in ["x", "8.0.", "7.99.", "7.0.01", "7.0.zz"] {
        assert_eq!(field(token, any()).await, "page_token", "{token}");
    }
    let state = MessageFilter {
        states: vec![77],
        ..any()
    };
    assert_eq!(field("", state).await, "filter.states");
    let partition = MessageFilter {
        partition: Some(8),
        ..any()
    };
    assert_eq!(field("", partition).await, "filter.partition");
}

async fn delete(
    gateway: &Gateway<TokioRuntime>,
    location: &str,
    (message_id, force): (&str, bool),
) -> Result<(), ApiError> {
    let request = DeleteMessageRequest {
        queue: named("one"),
        location: location.to_owned(),
        message_id: message_id.to_owned(),
        force,
    };
    gateway.delete_message(&WHO, request).await.map(|_| ())
}

#[tokio::test]
async fn one_message_is_deleted_and_no_other() {
    let (_cluster, gateway) = start().await;
    let messages = ["a", "b", "c"].map(message).to_vec();
    send(&gateway, "one", messages).await;
    let all = walk(&gateway, "one", 10, &MessageFilter::default()).await;
    let location = all[1].location.clone();
    let code = async |location: &str, how| delete(&gateway, location, how).await.unwrap_err().code;
    // Another id there, another queue, or no location at all.
    assert_eq!(code(&location, ("8-0-1", false)).await, Code::NotFound);
    assert_eq!(code("7.0.1", ("", false)).await, Code::NotFound);
    assert_eq!(code("8.9.1", ("", false)).await, Code::NotFound);
    assert_eq!(code("8.0.d1.1", ("", false)).await, Code::NotFound);
    assert_eq!(code("8-0-2", ("", false)).await, Code::InvalidArgument);
    delete(&gateway, &location, (&all[1].message_id, false))
        .await
        .unwrap();
    assert_eq!(code(&location, ("", false)).await, Code::NotFound);
    let left = walk(&gateway, "one", 10, &MessageFilter::default()).await;
    assert_eq!(bodies(&left), ["a", "c"]);

    // One that is leased is left to its consumer, unless it is to go all the same.
    let got = receive(&gateway, "one", 1, 0).await;
    let refused = delete(&gateway, &left[0].location, ("", false)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert!(refused.message.contains("by force"), "{refused}");
    delete(&gateway, &left[0].location, ("", true))
        .await
        .unwrap();
    let settle = SettleRequest {
        queue: named("one"),
        settlements: vec![Settlement {
            receipt: got[0].receipt.clone(),
            action: Some(Action::Ack(Ack {})),
        }],
    };
    let settled = gateway.settle(&WHO, settle).await.unwrap();
    let code = settled.results[0].error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(Code::NotFound.into()), "the receipt is stale");
    assert_eq!(stats(&gateway, "one").await, (1, 0, 0));
    delete(&gateway, &left[1].location, ("", true))
        .await
        .unwrap();
    assert_eq!(stats(&gateway, "one").await.0, 0);
}

#[tokio::test]
async fn a_delete_whose_answer_is_lost_is_not_made_twice() {
    let (cluster, gateway) = start().await;
    send(&gateway, "one", vec![message("a")]).await;
    cluster.shards.deaf.lock().unwrap().insert(2);
    let error = delete(&gateway, "8.0.0", ("", false)).await.unwrap_err();
    assert_eq!(error.code, Code::Unknown);
    assert_eq!(stats(&gateway, "one").await.0, 0);
}

#[tokio::test]
async fn who_may_only_use_queues_deletes_nothing() {
    let (_cluster, gateway) = start().await;
    let account = Principal::ServiceAccount {
        namespace: "default".to_owned(),
        name: "worker".to_owned(),
    };
    let request = DeleteMessageRequest {
        queue: named("one"),
        location: "8.0.0".to_owned(),
        ..DeleteMessageRequest::default()
    };
    let deleted = gateway.delete_message(&account, request).await;
    assert_eq!(deleted.unwrap_err().code, Code::PermissionDenied);
    let request = PurgeQueueRequest {
        queue: named("one"),
    };
    let purged = gateway.purge_queue(&account, request).await;
    assert_eq!(purged.unwrap_err().code, Code::PermissionDenied);
}
