//! Walks through a queue and redrives against a stand-in: they go from page to page.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod standin;

use std::time::{Duration, Instant};

use roadstead_client::proto::{
    MessageFilter, PeekMessagesResponse, PeekedMessage, RedriveMessagesResponse,
};

use self::standin::Cluster;
use self::standin::queue::Queue;

fn cluster() -> Cluster {
    Cluster::start(1, Queue::new(1, Duration::from_secs(30)))
}

fn page(messages: std::ops::Range<u64>, token: &str) -> PeekMessagesResponse {
    let message = |sequence| PeekedMessage {
        sequence,
        ..PeekedMessage::default()
    };
    PeekMessagesResponse {
        messages: messages.map(message).collect(),
        next_page_token: token.to_owned(),
    }
}

fn filter() -> MessageFilter {
    MessageFilter {
        ordering_key: "k".to_owned(),
        ..MessageFilter::default()
    }
}

#[tokio::test]
async fn a_walk_goes_on_behind_pages_that_are_empty() {
    let cluster = cluster();
    let client = cluster.client().await;
    let pages = [
        page(0..2, "a"),
        page(0..0, "b"),
        page(2..3, "c"),
        page(0..0, ""),
    ];
    cluster.shared.lock().pages = pages.into();
    let mut walk = client.browse("q", filter());
    let mut met = Vec::new();
    while let Some(message) = walk.next().await.unwrap() {
        met.push(message.sequence);
        // A call that fails for now is made again, and nothing is left out.
        cluster.shared.lock().faults.refuse_calls = 1;
    }
    assert_eq!(met, [0, 1, 2]);
    assert_eq!(walk.next().await.unwrap(), None);
    let state = cluster.shared.lock();
    let tokens: Vec<_> = state
        .peeks
        .iter()
        .map(|peek| &peek.page_token[..])
        .collect();
    assert_eq!(tokens, ["", "a", "b", "c"]);
    assert!(state.peeks.iter().all(|peek| peek.filter == Some(filter())));
}

#[tokio::test]
async fn a_peek_ends_with_the_messages_it_was_asked_for() {
    let cluster = cluster();
    let client = cluster.client().await;
    cluster.shared.lock().pages = [page(0..0, "a"), page(0..2, "b"), page(2..3, "c")].into();
    let met = client.peek("q", MessageFilter::default(), 3).await.unwrap();
    assert_eq!(met.len(), 3);
    let state = cluster.shared.lock();
    let asked: Vec<_> = state.peeks.iter().map(|peek| peek.max_messages).collect();
    assert_eq!(asked, [3, 3, 1]);
}

#[tokio::test]
async fn a_redrive_keeps_to_its_rate_from_piece_to_piece() {
    let cluster = cluster();
    let client = cluster.client().await;
    let piece = |moved, token: &str| RedriveMessagesResponse {
        moved,
        next_page_token: token.to_owned(),
        ..RedriveMessagesResponse::default()
    };
    cluster.shared.lock().pieces =
        [piece(5, "a"), piece(0, "b"), piece(5, "c"), piece(1, "")].into();
    let mut redrive = client.redrive("q").to("jobs").filter(filter()).rate(50);
    let started = Instant::now();
    let mut moved = 0;
    while let Some(piece) = redrive.next().await.unwrap() {
        moved += piece.moved;
    }
    assert_eq!(moved, 11);
    // 10 messages at 50 per second; what is moved last is waited for by nobody.
    assert!(started.elapsed() >= Duration::from_millis(200));
    let state = cluster.shared.lock();
    let tokens: Vec<_> = state
        .redrives
        .iter()
        .map(|one| &one.page_token[..])
        .collect();
    assert_eq!(tokens, ["", "a", "b", "c"]);
    for one in &state.redrives {
        assert_eq!((&one.to[..], one.max_messages), ("jobs", 5));
        assert_eq!(one.filter, Some(filter()));
        assert!(!one.dry_run);
    }
}
