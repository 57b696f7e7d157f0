//! Receives whose answer was lost, asked for again by their token.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    Ack, Delivery, GetQueueStatsRequest, ReceiveRequest, SettleRequest, Settlement,
};
use tokio::time::sleep;
use tonic::Code;

use super::tests::{WHO, message, named, send, start, stats};
use super::{ApiError, Gateway};
use crate::shard::twin::NODE;
use crate::shard::wire::duration_ms;

/// At most `max` of a queue, with a lease of 2 s.
async fn receive(
    gateway: &Arc<Gateway<TokioRuntime>>,
    name: &str,
    token: &str,
    (max_messages, wait_ms, retried): (u32, u64, bool),
) -> Result<Vec<Delivery>, ApiError> {
    let request = ReceiveRequest {
        queue: named(name),
        max_messages,
        wait: Some(duration_ms(wait_ms)),
        lease: Some(duration_ms(2_000)),
        retry_token: token.to_owned(),
        retried,
        ..ReceiveRequest::default()
    };
    Ok(gateway.receive(&WHO, request).await?.deliveries)
}

fn receipts(deliveries: &[Delivery]) -> Vec<(Vec<u8>, u32)> {
    let of = |delivery: &Delivery| (delivery.receipt.to_vec(), delivery.delivery_count);
    let mut receipts: Vec<_> = deliveries.iter().map(of).collect();
    receipts.sort();
    receipts
}

#[tokio::test]
async fn a_receive_that_is_tried_again_gets_what_it_got() {
    let (_cluster, gateway) = start().await;
    for name in ["one", "a"] {
        send(
            &gateway,
            name,
            (0..20).map(|n| message(&n.to_string())).collect(),
        )
        .await;
        for wait in [0, 1_000] {
            let token = format!("first {wait}");
            let first = receive(&gateway, name, &token, (5, wait, false))
                .await
                .unwrap();
            assert!((1..=5).contains(&first.len()), "{name}: {first:?}");
            for again in [0, 1_000] {
                let again = receive(&gateway, name, &token, (5, again, true))
                    .await
                    .unwrap();
                assert_eq!(receipts(&again), receipts(&first), "{name}");
            }
        }
        let (_, in_flight, _) = stats(&gateway, name).await;
        assert!(in_flight <= 10, "{in_flight} of two receives of 5");
        let others = receive(&gateway, name, "another", (20, 1_000, false))
            .await
            .unwrap();
        let mine = receive(&gateway, name, "first 0", (5, 0, true))
            .await
            .unwrap();
        assert!(
            others
                .iter()
                .all(|other| mine.iter().all(|one| one.receipt != other.receipt))
        );
    }
}

#[tokio::test]
async fn leases_of_a_token_outlast_its_call_and_end_by_themselves() {
    let (_cluster, gateway) = start().await;
    send(&gateway, "one", vec![message("x")]).await;
    let first = receive(&gateway, "one", "t", (1, 0, true)).await.unwrap();
    assert!(
        receive(&gateway, "one", "u", (1, 0, false))
            .await
            .unwrap()
            .is_empty(),
        "it is leased"
    );
    sleep(Duration::from_millis(2_500)).await;
    // Another try is another receive by then.
    let second = receive(&gateway, "one", "t", (1, 3_000, true))
        .await
        .unwrap();
    assert_eq!((second.len(), second[0].delivery_count), (1, 2));
    assert_ne!(second[0].receipt, first[0].receipt);
    let settlement = Settlement {
        receipt: second[0].receipt.clone(),
        action: Some(Action::Ack(Ack {})),
    };
    let request = SettleRequest {
        queue: named("one"),
        settlements: vec![settlement],
    };
    gateway.settle(&WHO, request).await.unwrap();
    assert!(
        receive(&gateway, "one", "t", (1, 0, true))
            .await
            .unwrap()
            .is_empty(),
        "it was acked"
    );
    let request = GetQueueStatsRequest {
        queue: named("one"),
        ..GetQueueStatsRequest::default()
    };
    let stats = gateway.get_queue_stats(&WHO, request).await.unwrap().stats;
    assert_eq!(
        stats.map(|stats| (stats.in_flight, stats.acked_total)),
        Some((0, 1))
    );
}

#[tokio::test]
async fn a_token_that_is_too_long_is_refused() {
    let (_cluster, gateway) = start().await;
    let error = receive(&gateway, "one", &"t".repeat(65), (1, 0, false))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.detail.field.as_str()),
        (Code::InvalidArgument, "retry_token")
    );
}

#[tokio::test]
async fn a_retry_waits_for_a_shard_that_may_hold_something_and_a_new_receive_does_not() {
    let (cluster, gateway) = start().await;
    send(
        &gateway,
        "a",
        (0..80).map(|n| message(&n.to_string())).collect(),
    )
    .await;
    let receive = async |token: &str, retried| {
        let request = ReceiveRequest {
            queue: named("a"),
            max_messages: 40,
            lease: Some(duration_ms(60_000)),
            retry_token: token.to_owned(),
            retried,
            ..ReceiveRequest::default()
        };
        gateway
            .receive(&WHO, request)
            .await
            .map(|received| received.deliveries)
    };
    let first = receive("t", false).await.unwrap();
    assert_eq!(first.len(), 40);
    cluster.twins[&1].lead(false, None);
    let other = tokio::time::timeout(Duration::from_secs(3), receive("u", false)).await;
    assert!(!other.expect("shard 1 is left out").unwrap().is_empty());
    let error = receive("t", true).await.unwrap_err();
    assert!(
        error.detail.retryable,
        "what shard 1 holds is not known: {error}"
    );
    cluster.twins[&1].lead(true, Some(NODE));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        receipts(&receive("t", true).await.unwrap()),
        receipts(&first)
    );
}
