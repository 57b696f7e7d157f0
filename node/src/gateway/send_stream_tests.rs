//! Streams of sends over shards without Raft.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::{
    SendBatch, SendStreamOpen, SendStreamRequest, SendStreamResponse, send_stream_request,
    send_stream_response,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::tests::{LONG, WHO, message, named, start, stats};
use super::{ApiError, Gateway};

pub(super) async fn send_stream(
    gateway: &Arc<Gateway<TokioRuntime>>,
    name: &str,
) -> (
    mpsc::Sender<SendStreamRequest>,
    mpsc::Receiver<Result<SendStreamResponse, ApiError>>,
) {
    let (up, frames) = mpsc::channel(64);
    let down = gateway.send_stream(WHO, frames);
    let open = SendStreamOpen {
        queue: named(name),
        producer_id: "p".to_owned(),
    };
    let frame = Some(send_stream_request::Frame::Open(open));
    up.send(SendStreamRequest { frame }).await.unwrap();
    (up, down)
}

#[tokio::test]
async fn a_send_stream_gives_credit_and_a_result_per_batch() {
    let (_cluster, gateway) = start().await;
    let (up, mut down) = send_stream(&gateway, "one").await;
    for batch_id in 1..=3 {
        let messages = if batch_id == 2 {
            vec![message("")]
        } else {
            vec![message("x")]
        };
        let partition = Some(0);
        let batch = SendBatch {
            batch_id,
            messages,
            partition,
            first_sequence: batch_id,
            atomic: false,
        };
        let frame = Some(send_stream_request::Frame::Batch(batch));
        up.send(SendStreamRequest { frame }).await.unwrap();
    }
    drop(up);
    let (mut credit, mut accepted, mut refused) = (0, BTreeSet::new(), BTreeSet::new());
    while let Some(frame) = timeout(LONG, down.recv()).await.unwrap() {
        match frame.unwrap().frame.unwrap() {
            send_stream_response::Frame::Credit(more) => credit += more.bytes,
            send_stream_response::Frame::Result(result) => match &result.results[0].error {
                None => drop(accepted.insert(result.batch_id)),
                Some(error) => {
                    assert!(error.message.contains("default/one: body"), "{error:?}");
                    refused.insert(result.batch_id);
                }
            },
        }
    }
    assert_eq!(
        (accepted, refused),
        (BTreeSet::from([1, 3]), BTreeSet::from([2]))
    );
    assert_eq!(credit, (4 << 20) + 2, "what was sent is given back");
}

#[tokio::test]
async fn a_client_that_never_reads_is_read_from_no_more() {
    let (_cluster, gateway) = start().await;
    let (up, down) = send_stream(&gateway, "one").await;
    let flood = async {
        for batch_id in 1u64.. {
            let messages = vec![message("x")];
            let batch = SendBatch {
                batch_id,
                messages,
                partition: None,
                first_sequence: 0,
                atomic: false,
            };
            let frame = Some(send_stream_request::Frame::Batch(batch));
            up.send(SendStreamRequest { frame }).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(300), flood).await.is_err());
    let taken = stats(&gateway, "one").await.0;
    assert!(
        taken < 200,
        "{taken} messages were taken though no result was read"
    );
    drop(down);
}

/// The field that ends a stream on which batches of so many messages were sent with these ids.
async fn refused_field(batches: &[(u64, usize)]) -> String {
    let (_cluster, gateway) = start().await;
    let (up, mut down) = send_stream(&gateway, "one").await;
    for (batch_id, count) in batches {
        let batch = SendBatch {
            batch_id: *batch_id,
            messages: vec![message("x"); *count],
            ..SendBatch::default()
        };
        let frame = Some(send_stream_request::Frame::Batch(batch));
        up.send(SendStreamRequest { frame }).await.unwrap();
    }
    loop {
        if let Err(error) = timeout(LONG, down.recv()).await.unwrap().unwrap() {
            assert_eq!(error.code, tonic::Code::InvalidArgument);
            assert!(error.message.contains(&error.detail.field), "{error}");
            return error.detail.field;
        }
    }
}

#[tokio::test]
async fn what_cannot_be_answered_per_batch_ends_the_stream() {
    for batches in [&[(0, 1)][..], &[(2, 1), (2, 1)], &[(2, 1), (1, 1)]] {
        assert_eq!(refused_field(batches).await, "batch_id", "{batches:?}");
    }
    assert_eq!(refused_field(&[(1, 1_001)]).await, "messages");
}

#[tokio::test]
async fn numbers_without_a_producer_are_refused() {
    let (_cluster, gateway) = start().await;
    let (up, frames) = mpsc::channel(64);
    let mut down = gateway.send_stream(WHO, frames);
    let open = SendStreamOpen {
        queue: named("one"),
        producer_id: String::new(),
    };
    let batch = SendBatch {
        batch_id: 1,
        messages: vec![message("x")],
        partition: Some(0),
        first_sequence: 1,
        atomic: false,
    };
    for frame in [
        send_stream_request::Frame::Open(open),
        send_stream_request::Frame::Batch(batch),
    ] {
        up.send(SendStreamRequest { frame: Some(frame) })
            .await
            .unwrap();
    }
    loop {
        let frame = timeout(LONG, down.recv()).await.unwrap().unwrap().unwrap();
        if let Some(send_stream_response::Frame::Result(result)) = frame.frame {
            let error = result.results[0].error.clone().unwrap();
            assert!(error.message.contains("producer.id"), "{error:?}");
            return;
        }
    }
}
