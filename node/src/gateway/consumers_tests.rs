//! Consumers that are listed and drained, over shards without Raft.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::consumer_selector::By;
use roadstead_proto::v1::receive_stream_request::Frame as Up;
use roadstead_proto::v1::receive_stream_response::Frame as Down;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    Ack, Consumer, ConsumerSelector, Delivery, DrainConsumersRequest, Extend, ListConsumersRequest,
    ListConsumersResponse, QueueConsumer, ReceiveRequest, ReceiveStreamOpen, SettleBatch,
    Settlement,
};
use tokio::time::sleep;
use tonic::Code;

use super::receive_stream_tests::Stream;
use super::tests::{WHO, message, named, send, start};
use super::{ApiError, Gateway};
use crate::auth::Principal;
use crate::shard::twin::TwinCluster;
use crate::shard::wire::duration_ms;

type Gate = Arc<Gateway<TokioRuntime>>;

fn opened(queue: &str, name: &str) -> ReceiveStreamOpen {
    ReceiveStreamOpen {
        queue: named(queue),
        session_id: format!("session of {name}"),
        consumer: Some(Consumer {
            name: name.to_owned(),
            pod_uid: format!("uid of {name}"),
        }),
        ..ReceiveStreamOpen::default()
    }
}

/// A consumer that may be given so many.
async fn consumer(gateway: &Gate, queue: &str, name: &str, credit: u32) -> Stream {
    let stream = Stream::open_as(gateway, opened(queue, name)).await;
    stream.credit(credit).await;
    stream
}

fn by_name(name: &str) -> ConsumerSelector {
    let by = Some(By::Name(name.to_owned()));
    ConsumerSelector { by }
}

fn drained(queue: &str, selectors: Vec<ConsumerSelector>) -> DrainConsumersRequest {
    DrainConsumersRequest {
        queue: named(queue),
        selectors,
        drain: true,
        ..DrainConsumersRequest::default()
    }
}

/// Drains those of this name, or takes that back; how many are there.
async fn drain(gateway: &Gate, queue: &str, name: &str, drain: bool) -> u32 {
    let request = DrainConsumersRequest {
        drain,
        ..drained(queue, vec![by_name(name)])
    };
    let answer = gateway.drain_consumers(&WHO, request).await.unwrap();
    answer.consumers
}

async fn page(gateway: &Gate, queue: &str, page_size: u32, token: &str) -> ListConsumersResponse {
    let request = ListConsumersRequest {
        queue: named(queue),
        page_size,
        page_token: token.to_owned(),
        ..ListConsumersRequest::default()
    };
    let page = gateway.list_consumers(&WHO, request).await.unwrap();
    assert_eq!(page.partitions_unavailable, 0);
    page
}

async fn listed(gateway: &Gate, queue: &str, name: &str) -> QueueConsumer {
    let all = page(gateway, queue, 0, "").await.consumers;
    all.into_iter().find(|one| one.name == name).unwrap()
}

/// The next word about being drained: whether it is.
async fn told(stream: &mut Stream) -> bool {
    loop {
        match stream.next().await {
            Down::Draining(draining) => return draining.remaining.is_some(),
            Down::Opened(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What comes, but for words about being drained, until so many messages have come.
async fn take(stream: &mut Stream, count: usize) -> Vec<Delivery> {
    let mut got = Vec::new();
    while got.len() < count {
        match stream.next().await {
            Down::Deliveries(batch) => got.extend(batch.deliveries),
            Down::Draining(_) => {}
            other => panic!("{other:?}"),
        }
    }
    got
}

/// Settles one delivery; its error.
async fn settle(stream: &mut Stream, delivery: &Delivery, action: Action) -> Option<i32> {
    let settlement = Settlement {
        receipt: delivery.receipt.clone(),
        action: Some(action),
    };
    let batch = SettleBatch {
        batch_id: 1,
        settlements: vec![settlement],
    };
    stream.say(Up::Settle(batch)).await;
    loop {
        match stream.next().await {
            Down::Settled(result) => {
                let error = result.results[0].error.as_ref();
                return error.map(|error| error.code);
            }
            Down::Draining(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn change_leaders(cluster: &TwinCluster) {
    for twin in cluster.twins.values() {
        twin.lead(false, None);
    }
    sleep(Duration::from_millis(50)).await;
    for twin in cluster.twins.values() {
        twin.lead(true, Some(1));
    }
    // Subscriptions are opened again by then.
    sleep(Duration::from_millis(500)).await;
}

#[tokio::test]
async fn a_drained_consumer_settles_what_it_has_and_others_get_the_rest() {
    let (_cluster, gateway) = start().await;
    let mut victim = consumer(&gateway, "a", "victim", 100).await;
    send(&gateway, "a", (0..4).map(|_| message("x")).collect()).await;
    let held = take(&mut victim, 4).await;
    let mut other = consumer(&gateway, "a", "other", 100).await;
    assert_eq!(drain(&gateway, "a", "victim", true).await, 1);
    assert_eq!(drain(&gateway, "a", "nobody", true).await, 0);
    assert!(told(&mut victim).await);
    send(&gateway, "a", (0..40).map(|_| message("y")).collect()).await;
    let got = take(&mut other, 40).await;
    assert!(got.iter().all(|delivery| delivery.delivery_count == 1));
    let lease = Some(duration_ms(60_000));
    let extend = Action::Extend(Extend { lease });
    assert_eq!(settle(&mut victim, &held[0], extend).await, None);
    let seen = listed(&gateway, "a", "victim").await;
    assert_eq!((seen.in_flight, seen.draining, seen.idle_ms), (4, true, 0));
    assert!(!listed(&gateway, "a", "other").await.draining);
    for delivery in &held {
        let ack = Action::Ack(Ack {});
        assert_eq!(settle(&mut victim, delivery, ack).await, None);
    }
    assert_eq!(listed(&gateway, "a", "victim").await.in_flight, 0);
    other.credit(0).await;
    assert!(other.is_silent().await);
    assert!(victim.is_silent().await);

    assert_eq!(drain(&gateway, "a", "victim", false).await, 1);
    send(&gateway, "a", (0..8).map(|_| message("z")).collect()).await;
    assert_eq!(take(&mut victim, 8).await.len(), 8);
    assert!(!listed(&gateway, "a", "victim").await.draining);
}

#[tokio::test]
async fn a_drain_holds_behind_a_change_of_leader_and_a_new_stream() {
    let (cluster, gateway) = start().await;
    let mut victim = consumer(&gateway, "a", "victim", 100).await;
    let mut other = consumer(&gateway, "a", "other", 1_000).await;
    drain(&gateway, "a", "victim", true).await;
    assert!(told(&mut victim).await);
    change_leaders(&cluster).await;
    assert!(
        listed(&gateway, "a", "victim").await.draining,
        "its gateway knew"
    );
    send(&gateway, "a", (0..16).map(|_| message("x")).collect()).await;
    take(&mut other, 16).await;
    // It comes by a gateway that knows nothing of it.
    drop(victim);
    let mut victim = consumer(&gateway, "a", "victim", 100).await;
    assert!(told(&mut victim).await);
    // Its gateway is gone with the leaders: the client says it again.
    drop(victim);
    change_leaders(&cluster).await;
    let open = ReceiveStreamOpen {
        draining: Some(duration_ms(60_000)),
        ..opened("a", "victim")
    };
    let mut victim = Stream::open_as(&gateway, open.clone()).await;
    victim.credit(100).await;
    assert!(told(&mut victim).await);
    send(&gateway, "a", (0..16).map(|_| message("y")).collect()).await;
    take(&mut other, 16).await;

    drain(&gateway, "a", "victim", false).await;
    while told(&mut victim).await {}
    drop(victim);
    let mut victim = Stream::open_as(&gateway, open).await;
    assert!(!told(&mut victim).await, "it was taken back since");
    let too_long = ReceiveStreamOpen {
        draining: Some(duration_ms(3_600_001)),
        ..opened("a", "victim")
    };
    let error = Stream::refused(&gateway, too_long).await;
    assert_eq!(
        (error.code, error.detail.field.as_str()),
        (Code::InvalidArgument, "draining")
    );
}

#[tokio::test]
async fn what_a_drained_consumer_never_got_is_for_others() {
    let (cluster, gateway) = start().await;
    let mut victim = consumer(&gateway, "one", "victim", 100).await;
    send(&gateway, "one", (0..4).map(|_| message("x")).collect()).await;
    let held = take(&mut victim, 4).await;
    drop(victim);
    change_leaders(&cluster).await;
    let mut other = consumer(&gateway, "one", "other", 100).await;
    let open = ReceiveStreamOpen {
        draining: Some(duration_ms(60_000)),
        held_receipts: held[..2].iter().map(|one| one.receipt.clone()).collect(),
        ..opened("one", "victim")
    };
    let mut victim = Stream::open_as(&gateway, open).await;
    victim.credit(100).await;
    let got = take(&mut other, 2).await;
    let ids = |all: &[Delivery]| -> Vec<String> {
        let ids = all.iter().map(|one| one.message_id.clone());
        ids.collect()
    };
    assert_eq!(ids(&got), ids(&held[2..]));
    assert!(got.iter().all(|delivery| delivery.delivery_count == 1));
    assert_eq!(listed(&gateway, "one", "victim").await.in_flight, 2);
    let ack = Action::Ack(Ack {});
    assert_eq!(settle(&mut victim, &held[0], ack).await, None);
}

#[tokio::test]
async fn one_time_receives_are_drained_by_their_name_too() {
    let (_cluster, gateway) = start().await;
    let receive = |name: &str, wait_ms| ReceiveRequest {
        queue: named("a"),
        max_messages: 10,
        wait: Some(duration_ms(wait_ms)),
        consumer: opened("a", name).consumer,
        ..ReceiveRequest::default()
    };
    let count = async |request| {
        let answer = gateway.receive(&WHO, request).await.unwrap();
        answer.deliveries.len()
    };
    drain(&gateway, "a", "victim", true).await;
    send(&gateway, "a", (0..3).map(|_| message("x")).collect()).await;
    assert_eq!(count(receive("victim", 0)).await, 0);
    assert_eq!(count(receive("victim", 50)).await, 0);
    assert_eq!(count(receive("other", 0)).await, 3);
    send(&gateway, "a", vec![message("y")]).await;
    let later = async {
        sleep(Duration::from_millis(50)).await;
        drain(&gateway, "a", "victim", false).await
    };
    let (got, _) = tokio::join!(count(receive("victim", 5_000)), later);
    assert_eq!(got, 1, "it waits until that is taken back");
}

#[tokio::test]
async fn consumers_are_listed_page_by_page() {
    let (_cluster, gateway) = start().await;
    let mut streams = Vec::new();
    for number in 0..5 {
        streams.push(consumer(&gateway, "a", &number.to_string(), 10).await);
    }
    send(&gateway, "one", vec![message("x")]).await;
    let open = ReceiveStreamOpen {
        priority: 7,
        exclusive: true,
        ..opened("one", "single")
    };
    let mut single = Stream::open_as(&gateway, open).await;
    single.credit(3).await;
    let held = take(&mut single, 1).await;
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(&gateway, "a", 2, &token).await;
        assert!(page.consumers.len() <= 2);
        names.extend(page.consumers.into_iter().map(|one| one.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["0", "1", "2", "3", "4"]);
    let seen = listed(&gateway, "one", "single").await;
    let expected = QueueConsumer {
        session_id: "session of single".to_owned(),
        name: "single".to_owned(),
        pod_uid: "uid of single".to_owned(),
        priority: 7,
        exclusive: true,
        in_flight: 1,
        credit: 2,
        idle_ms: 0,
        draining: false,
    };
    assert_eq!(seen, expected);
    sleep(Duration::from_millis(300)).await;
    settle(&mut single, &held[0], Action::Ack(Ack {})).await;
    sleep(Duration::from_millis(100)).await;
    let idle = listed(&gateway, "one", "single").await.idle_ms;
    assert!((100..300).contains(&idle), "{idle} ms since its settlement");
}

#[tokio::test]
async fn bad_requests_and_strangers_are_refused() {
    let (_cluster, gateway) = start().await;
    let refused = async |who: &Principal, request| -> ApiError {
        gateway.drain_consumers(who, request).await.unwrap_err()
    };
    let some = vec![by_name("a")];
    let error = refused(&WHO, drained("missing", some.clone())).await;
    assert_eq!(error.code, Code::NotFound);
    let request = DrainConsumersRequest {
        group: "missing".to_owned(),
        ..drained("a", some.clone())
    };
    let error = refused(&WHO, request).await;
    assert_eq!(
        (error.code, error.detail.field.as_str()),
        (Code::NotFound, "group")
    );
    for count in [0, 1_001] {
        let error = refused(&WHO, drained("a", vec![by_name("a"); count])).await;
        assert_eq!(error.code, Code::InvalidArgument);
        assert_eq!(error.detail.field, "selectors");
    }
    let request = DrainConsumersRequest {
        duration: Some(duration_ms(3_600_001)),
        ..drained("a", some.clone())
    };
    let error = refused(&WHO, request).await;
    assert_eq!(error.detail.field, "duration");
    let account = Principal::ServiceAccount {
        namespace: "default".to_owned(),
        name: "worker".to_owned(),
    };
    let error = refused(&account, drained("a", some)).await;
    assert_eq!(error.code, Code::PermissionDenied);
    let request = ListConsumersRequest {
        queue: named("a"),
        group: "missing".to_owned(),
        ..ListConsumersRequest::default()
    };
    let error = gateway.list_consumers(&WHO, request).await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
}
