//! One-time receives over shards without Raft.

use std::time::Duration;

use bytes::Bytes;
use roadstead_core::shard::Delivery as DeliveryMode;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{Delivery, PeekMessagesRequest, Settlement};
use tokio::time::sleep;

use super::receive::Gathered;
use super::tests::{WHO, message, named, receive, send, start};
use crate::shard::twin::queue_info;

#[tokio::test]
async fn an_answer_is_bounded_in_bytes_and_the_rest_is_ready_at_once() {
    let (_cluster, gateway) = start().await;
    let body = "x".repeat(250 << 10);
    for name in ["one", "a"] {
        let all: Vec<_> = (0..30).map(|_| message(&body)).collect();
        send(&gateway, name, all).await;
        let mut found = 0;
        for wait in [0, 1_000].into_iter().cycle() {
            let got = receive(&gateway, name, 30, wait).await;
            assert!((1..=16).contains(&got.len()), "{} of {name}", got.len());
            assert!(got.iter().all(|delivery| delivery.delivery_count == 1));
            found += got.len();
            if found == 30 {
                break;
            }
        }
        let shown = PeekMessagesRequest {
            queue: named(name),
            max_messages: 30,
            ..PeekMessagesRequest::default()
        };
        let shown = gateway.peek_messages(&WHO, shown).await.unwrap();
        assert!((1..=16).contains(&shown.messages.len()));
    }
}

#[tokio::test]
async fn a_long_poll_that_gets_more_than_an_answer_holds_hands_it_back() {
    let (_cluster, gateway) = start().await;
    let waiting = {
        let gateway = gateway.clone();
        tokio::spawn(async move { receive(&gateway, "a", 30, 10_000).await })
    };
    sleep(Duration::from_millis(100)).await;
    let body = "x".repeat(250 << 10);
    let all: Vec<_> = (0..30).map(|_| message(&body)).collect();
    send(&gateway, "a", all).await;
    let mut found = waiting.await.unwrap().len();
    assert!((1..=16).contains(&found), "{found}");
    while found < 30 {
        let got = receive(&gateway, "a", 30, 1_000).await;
        assert!(got.iter().all(|delivery| delivery.delivery_count == 1));
        assert!(!got.is_empty());
        found += got.len();
    }
}

#[tokio::test]
async fn what_is_delivered_at_most_once_is_never_cut_off() {
    let (cluster, gateway) = start().await;
    for (id, name, shards) in [(20, "once", &[2][..]), (21, "spread", &[1, 2, 3, 4])] {
        let mut info = queue_info(id, name, shards);
        info.config.delivery = DeliveryMode::AtMostOnce;
        cluster.queues.set(info);
        let body = "x".repeat(250 << 10);
        let all: Vec<_> = (0..30).map(|_| message(&body)).collect();
        send(&gateway, name, all).await;
        let mut found = 0;
        for wait in [1_000, 0].into_iter().cycle().take(30) {
            found += receive(&gateway, name, 30, wait).await.len();
            if found == 30 {
                break;
            }
        }
        assert_eq!(found, 30, "{name}");
    }
}

#[test]
fn what_an_answer_does_not_hold_is_handed_back_as_unstarted() {
    let delivery = |number: u64| Delivery {
        body: "x".repeat(1 << 20).into(),
        receipt: number.to_string().into(),
        ..Delivery::default()
    };
    let mut got = Gathered::default();
    got.extend((0..2).map(delivery).collect(), 10);
    got.extend((2..5).map(delivery).collect(), 10);
    assert_eq!(got.deliveries.len(), 1);
    let receipts = got.beyond.iter().map(|settlement| &settlement.receipt[..]);
    assert_eq!(receipts.collect::<Vec<_>>(), [b"1", b"2", b"3", b"4"]);
    let unstarted = |settlement: &Settlement| match &settlement.action {
        Some(Action::Nack(nack)) => nack.unstarted,
        _ => false,
    };
    assert!(got.beyond.iter().all(unstarted));
    let mut few = Gathered::default();
    few.extend(
        (0..4)
            .map(|n| Delivery {
                body: Bytes::new(),
                ..delivery(n)
            })
            .collect(),
        3,
    );
    assert_eq!((few.deliveries.len(), few.beyond.len()), (3, 1));
    let consumed = Delivery {
        receipt: Bytes::new(),
        ..delivery(5)
    };
    got.extend(vec![consumed.clone()], 10);
    assert_eq!(got.deliveries.last(), Some(&consumed));
}
