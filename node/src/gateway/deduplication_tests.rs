//! Messages that are sent again, over shards without Raft.

use roadstead_core::shard::{DeduplicateBy, Deduplication, DeduplicationScope};
use roadstead_proto::v1::{
    self, OutgoingMessage, SendBatch, SendRequest, SendResponse, SendStreamRequest,
    send_stream_request, send_stream_response,
};
use tokio::time::timeout;
use tonic::Code;

use super::send_stream_tests::send_stream;
use super::tests::{LONG, WHO, message, named, receive, start};
use super::{ApiError, Gateway};
use crate::runtime::Runtime;
use crate::shard::twin::{TwinCluster, queue_info};

fn with_id(id: &str) -> OutgoingMessage {
    OutgoingMessage {
        deduplication_id: id.to_owned(),
        ..message("x")
    }
}

/// Queue `a` deduplicates from now on; each of its eight partitions remembers two ids.
fn deduplicate(cluster: &TwinCluster, by: DeduplicateBy) {
    let mut info = queue_info(7, "a", &[1, 2, 3, 4, 1, 2, 3, 4]);
    info.config.revision = 2;
    info.config.deduplication = Some(Deduplication {
        by,
        scope: DeduplicationScope::Queue,
        window_ms: 60_000,
        max_ids: 2,
    });
    let by = match by {
        DeduplicateBy::Id => v1::DeduplicateBy::Id,
        DeduplicateBy::Content => v1::DeduplicateBy::Content,
    };
    if let Some(spec) = &mut info.queue.spec {
        spec.deduplication = Some(v1::Deduplication {
            by: by.into(),
            ..v1::Deduplication::default()
        });
    }
    cluster.queues.set(info);
}

async fn send<R: Runtime>(
    gateway: &Gateway<R>,
    partition: Option<u32>,
    messages: Vec<OutgoingMessage>,
) -> Result<SendResponse, ApiError> {
    let request = SendRequest {
        queue: named("a"),
        messages,
        partition,
        ..SendRequest::default()
    };
    gateway.send(&WHO, request).await
}

#[tokio::test]
async fn a_message_goes_to_where_it_is_remembered_and_nowhere_else() {
    let (cluster, gateway) = start().await;
    deduplicate(&cluster, DeduplicateBy::Content);
    let both = vec![with_id("a"), with_id("customer-3"), with_id("a")];
    let sent = send(&gateway, None, both).await.unwrap().results;
    let seen: Vec<_> = sent.iter().map(|it| (it.partition, it.duplicate)).collect();
    // They go to the partitions of keys that are the same.
    assert_eq!(seen, [(1, false), (3, false), (1, true)]);
    assert_eq!(sent[2].message_id, sent[0].message_id);
    let by_content = vec![message("x"), message("x"), message("y")];
    let sent = send(&gateway, None, by_content).await.unwrap().results;
    let duplicates: Vec<_> = sent.iter().map(|result| result.duplicate).collect();
    assert_eq!(duplicates, [false, true, false]);
    let error = send(&gateway, Some(3), vec![with_id("a")]).await;
    let error = error.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert_eq!(error.detail.field, "partition");
    let said = &error.message;
    assert!(said.contains("belongs to partition 1, not to 3"), "{said}");
    let mut ids: Vec<_> = receive(&gateway, "a", 10, 0)
        .await
        .into_iter()
        .map(|delivery| delivery.deduplication_id)
        .collect();
    ids.sort();
    assert_eq!(ids, ["", "", "a", "customer-3"]);
}

#[tokio::test]
async fn an_id_that_nobody_would_remember_is_refused_with_the_reason() {
    let (cluster, gateway) = start().await;
    let refused = async |id: &str| {
        let sent = send(&gateway, None, vec![with_id(id)]).await.unwrap();
        let error = sent.results[0].error.clone().expect("it is refused");
        assert_eq!(Code::from(error.code), Code::InvalidArgument);
        error.message
    };
    let said = refused("a").await;
    assert!(said.contains("deduplication_id is set"), "{said}");
    deduplicate(&cluster, DeduplicateBy::Id);
    let said = refused(&"a".repeat(129)).await;
    assert!(said.contains("129 bytes, at most 128"), "{said}");
    // As many ids as are remembered at one time, and one more.
    let here = |id: &String| roadstead_proto::partition_of_key(id, 8) == 7;
    let ids = (0..).map(|n| n.to_string()).filter(here).take(3);
    let messages = ids.map(|id| with_id(&id)).chain([message("without")]);
    let sent = send(&gateway, Some(7), messages.collect()).await.unwrap();
    let refused = sent.results[2].error.clone().expect("it is one too many");
    assert_eq!(Code::from(refused.code), Code::ResourceExhausted);
    assert!(refused.retryable, "a window ends");
    assert!(refused.message.contains("max_ids"), "{}", refused.message);
    for place in [0, 1, 3] {
        assert_eq!(sent.results[place].error, None);
    }
}

#[tokio::test]
async fn a_stream_that_was_open_before_follows_the_new_setting() {
    let (cluster, gateway) = start().await;
    let (up, mut down) = send_stream(&gateway, "a").await;
    let credit = timeout(LONG, down.recv()).await.unwrap();
    assert!(credit.is_some(), "it is served");
    deduplicate(&cluster, DeduplicateBy::Id);
    let batch = SendBatch {
        batch_id: 1,
        messages: vec![with_id("a"), with_id("a")],
        ..SendBatch::default()
    };
    let frame = Some(send_stream_request::Frame::Batch(batch));
    up.send(SendStreamRequest { frame }).await.unwrap();
    let frame = timeout(LONG, down.recv()).await.unwrap().unwrap();
    let Some(send_stream_response::Frame::Result(result)) = frame.unwrap().frame else {
        panic!("no result");
    };
    let seen = result.results.iter().map(|it| (it.partition, it.duplicate));
    assert_eq!(seen.collect::<Vec<_>>(), [(1, false), (1, true)]);
}
