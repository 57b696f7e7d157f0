//! Batches that are added as a whole or not at all.

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::{OutgoingMessage, SendRequest, SendResult};
use tonic::Code;

use super::tests::{WHO, message, named, receive, start, stats};
use super::{ApiError, Gateway};

async fn send_atomic(
    gateway: &Gateway<TokioRuntime>,
    name: &str,
    messages: Vec<OutgoingMessage>,
) -> Result<Vec<SendResult>, ApiError> {
    let request = SendRequest {
        queue: named(name),
        messages,
        atomic: true,
        ..SendRequest::default()
    };
    let sent = gateway.send(&WHO, request).await;
    sent.map(|sent| sent.results)
}

fn keyed(key: &str) -> OutgoingMessage {
    OutgoingMessage {
        ordering_key: key.to_owned(),
        ..message("x")
    }
}

#[tokio::test]
async fn an_atomic_batch_lies_in_one_partition() {
    let (_cluster, gateway) = start().await;
    // More than an entry of the log takes of what is not atomic.
    let large = message(&"x".repeat(200_000));
    let results = send_atomic(&gateway, "a", vec![large; 20]).await.unwrap();
    let partition = results[0].partition;
    assert!(
        results
            .iter()
            .all(|r| r.error.is_none() && r.partition == partition)
    );
    let numbers: Vec<u64> = results.iter().map(|r| r.sequence).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());

    let same = send_atomic(&gateway, "a", vec![keyed("k"), keyed("k")]).await;
    assert!(same.unwrap().iter().all(|result| result.error.is_none()));
    let keys = (0..8).map(|n| keyed(&n.to_string())).collect();
    let error = send_atomic(&gateway, "a", keys).await.unwrap_err();
    assert_eq!(
        (error.code, error.detail.field.as_str()),
        (Code::InvalidArgument, "atomic")
    );
    assert!(
        error.message.contains("send one batch for each"),
        "{error:?}"
    );
    assert_eq!(stats(&gateway, "a").await.0, 22);
}

#[tokio::test]
async fn what_is_refused_takes_the_others_with_it() {
    let (_cluster, gateway) = start().await;
    let later = OutgoingMessage {
        not_before: Some(prost_types::Timestamp {
            seconds: 9_999_999_999,
            nanos: 0,
        }),
        ..message("late")
    };
    let results = send_atomic(&gateway, "one", vec![message("a"), later, message("b")])
        .await
        .unwrap();
    let errors: Vec<_> = results
        .iter()
        .filter_map(|result| result.error.as_ref())
        .map(|error| (Code::from(error.code), error.retryable))
        .collect();
    let with_it = (Code::Aborted, false);
    assert_eq!(errors, [with_it, (Code::InvalidArgument, false), with_it]);
    assert!(receive(&gateway, "one", 10, 0).await.is_empty());
}
