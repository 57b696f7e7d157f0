//! The bytes of requests: how many are held, and for how long.

use futures_util::future::join_all;
use roadstead_proto::v1::{OutgoingMessage, SendBatch, send_stream_request};

use super::*;
use crate::api::testing::half_sent;

/// A request of this size is not refused for it.
const LARGE: u32 = 16 << 20;
/// In a debug build on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn requests_that_are_never_complete_hold_the_share_of_their_connection_at_most() {
    let listener = anonymous().await;
    let (bad, good) = (
        connect(listener.address).await,
        connect(listener.address).await,
    );
    let halves = join_all((0..8).map(|_| half_sent(bad.clone(), "Send", LARGE, 15 << 20)));
    let halves = tokio::spawn(tokio::time::timeout(SOON, halves));
    let mut most = 0;
    while !halves.is_finished() {
        most = listener.budget.used().max(most);
        assert_eq!(caller(good.clone()).await.unwrap(), "anonymous");
    }
    assert!(
        (1 << 20..=MAX_MESSAGE + (1 << 20)).contains(&most),
        "{most}"
    );

    let ends = halves.await.unwrap().unwrap();
    let ends: Vec<_> = ends.into_iter().map(Result::unwrap_err).collect();
    let refused = ends.iter().filter(|e| e.code() == Code::ResourceExhausted);
    assert!(refused.count() >= 7, "{ends:?}");
    assert!(ends.iter().all(|end| detail_of(end).unwrap().retryable));
    assert_eq!(listener.budget.used(), 0);
}

#[tokio::test]
async fn a_request_that_stands_still_is_given_up_and_an_idle_stream_is_not() {
    let listener = anonymous().await;
    let channel = connect(listener.address).await;
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(SendStreamRequest::default()).await.unwrap();
    let requests = ReceiverStream::new(requests);
    let mut client = MessageServiceClient::new(channel.clone());
    let mut replies = client.send_stream(requests).await.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());

    for (procedure, declared, sent) in [
        ("Send", 100, 0),
        ("Send", 100, 10),
        // Complete, but the end of the request does not come.
        ("Send", 0, 0),
        ("SendStream", 100, 10),
    ] {
        let start = std::time::Instant::now();
        let end = half_sent(channel.clone(), procedure, declared, sent);
        let end = tokio::time::timeout(SOON, end).await.unwrap();
        let status = end.expect_err(procedure);
        assert_eq!(
            status.code(),
            Code::DeadlineExceeded,
            "{procedure}: {status}"
        );
        assert!(status.message().contains("stood still"), "{status}");
        assert!(
            start.elapsed() >= STALL,
            "{procedure}: {:?}",
            start.elapsed()
        );
    }
    sender.send(SendStreamRequest::default()).await.unwrap();
    assert!(replies.message().await.unwrap().is_some());
    assert_eq!(listener.budget.used(), 0);
}

#[tokio::test]
async fn a_stream_holds_each_message_only_until_it_is_taken() {
    let listener = anonymous().await;
    let mut client = MessageServiceClient::new(connect(listener.address).await);
    let message = OutgoingMessage {
        body: vec![1; LARGE as usize].into(),
        ..OutgoingMessage::default()
    };
    let batch = SendBatch {
        messages: vec![message],
        ..SendBatch::default()
    };
    let request = SendStreamRequest {
        frame: Some(send_stream_request::Frame::Batch(batch)),
    };
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(SendStreamRequest::default()).await.unwrap();
    let requests = ReceiverStream::new(requests);
    let mut replies = client.send_stream(requests).await.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());
    // Together they are more than the whole budget.
    for _ in 0..3 {
        sender.send(request.clone()).await.unwrap();
        assert!(replies.message().await.unwrap().is_some());
    }
    while listener.budget.used() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
