//! Sends and settles of which some entries are refused, over shards without Raft.

use bytes::Bytes;
use openraft_rt_tokio::TokioRuntime;
use roadstead_core::shard::Ordering;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    self, Ack, EntryError, Nack, OutgoingMessage, PeekMessagesRequest, Producer, SendRequest,
    SendResult, SettleRequest, Settlement,
};
use tonic::Code;

use super::Gateway;
use super::tests::{WHO, message, named, receive, send, start, stats};
use crate::shard::twin::{TwinCluster, queue_info};
use crate::shard::wire::duration_ms;

/// Queue `line` has one partition and keeps the order of all.
fn strict(cluster: &TwinCluster) {
    let mut info = queue_info(10, "line", &[3]);
    info.config.ordering = Ordering::Strict;
    if let Some(spec) = &mut info.queue.spec {
        spec.ordering = v1::Ordering::Strict.into();
    }
    cluster.queues.set(info);
}

fn too_large() -> OutgoingMessage {
    OutgoingMessage {
        body: Bytes::from(vec![0; (256 << 10) + 1]),
        ..OutgoingMessage::default()
    }
}

/// Sends messages with these numbers of a producer.
async fn numbered(
    gateway: &Gateway<TokioRuntime>,
    name: &str,
    first_sequence: u64,
    messages: Vec<OutgoingMessage>,
) -> Vec<SendResult> {
    let request = SendRequest {
        queue: named(name),
        messages,
        partition: Some(0),
        producer: Some(Producer {
            id: "p".to_owned(),
            first_sequence,
        }),
        atomic: false,
    };
    gateway.send(&WHO, request).await.unwrap().results
}

fn code(error: Option<&EntryError>) -> Option<(Code, bool)> {
    error.map(|error| (Code::from(error.code), error.retryable))
}

/// Sequences, and 0 with the code of what is refused.
fn outcomes(results: &[SendResult]) -> Vec<(u64, bool, Option<Code>)> {
    let outcome = |result: &SendResult| {
        let error = code(result.error.as_ref());
        assert!(error.is_none_or(|(_, retryable)| !retryable), "{result:?}");
        (
            result.sequence,
            result.duplicate,
            error.map(|(code, _)| code),
        )
    };
    results.iter().map(outcome).collect()
}

#[tokio::test]
async fn a_message_that_is_not_valid_fails_alone_and_its_number_is_not_used() {
    let (cluster, gateway) = start().await;
    strict(&cluster);
    for queue in ["one", "line"] {
        let batch = || {
            let [a, c, d, e] = ["a", "c", "d", "e"].map(message);
            vec![a, too_large(), c, d, e]
        };
        let results = numbered(&gateway, queue, 1, batch()).await;
        let refused = (0, false, Some(Code::InvalidArgument));
        let new = |sequence| (sequence, false, None);
        assert_eq!(
            outcomes(&results),
            [new(1), refused, new(2), new(3), new(4)]
        );
        let said = &results[1].error.as_ref().unwrap().message;
        let name = format!("queue default/{queue}: body ");
        assert!(said.starts_with(&name) && said.contains("262145"), "{said}");

        let again = numbered(&gateway, queue, 1, batch()).await;
        let known = |sequence| (sequence, true, None);
        assert_eq!(
            outcomes(&again),
            [known(1), refused, known(2), known(3), known(4)]
        );
        assert_eq!(again[1].error, results[1].error);
        let next = numbered(&gateway, queue, 6, vec![message("f")]).await;
        assert_eq!(outcomes(&next), [new(5)]);
        // What comes under the number now is no duplicate, and overtakes nothing.
        let late = numbered(&gateway, queue, 2, vec![message("b")]).await;
        let expected = match queue {
            "one" => new(6),
            _ => (0, false, Some(Code::Aborted)),
        };
        assert_eq!(outcomes(&late), [expected]);
    }
    let request = PeekMessagesRequest {
        queue: named("line"),
        ..PeekMessagesRequest::default()
    };
    let stored = gateway.peek_messages(&WHO, request).await.unwrap().messages;
    let stored: Vec<_> = stored.iter().map(|one| &one.body[..]).collect();
    assert_eq!(stored, [b"a", b"c", b"d", b"e", b"f"]);
}

#[tokio::test]
async fn refused_messages_lie_anywhere_and_the_others_go_to_their_partitions() {
    let (_cluster, gateway) = start().await;
    let keyed = |key: &str| OutgoingMessage {
        ordering_key: key.to_owned(),
        ..message("x")
    };
    let no_year = OutgoingMessage {
        delay: Some(duration_ms(366 * 86_400_000)),
        ..message("x")
    };
    let request = |messages| SendRequest {
        queue: named("a"),
        messages,
        ..SendRequest::default()
    };
    let messages = vec![
        message(""),
        keyed("a"),
        no_year,
        keyed("customer-3"),
        too_large(),
    ];
    let sent = gateway.send(&WHO, request(messages)).await.unwrap();
    let invalid = Some(Code::InvalidArgument);
    let errors: Vec<_> = outcomes(&sent.results).iter().map(|it| it.2).collect();
    assert_eq!(errors, [invalid, None, invalid, None, invalid]);
    assert_eq!(
        (sent.results[1].partition, sent.results[3].partition),
        (1, 3)
    );
    let sent = gateway.send(&WHO, request(vec![message(""); 2])).await;
    let errors: Vec<_> = outcomes(&sent.unwrap().results)
        .iter()
        .map(|it| it.2)
        .collect();
    assert_eq!(errors, [invalid; 2]);
    assert_eq!(stats(&gateway, "a").await.0, 2);
}

#[tokio::test]
async fn what_is_wrong_with_the_request_as_a_whole_fails_the_call() {
    let (_cluster, gateway) = start().await;
    let field = async |messages, partition| {
        let request = SendRequest {
            queue: named("one"),
            messages,
            partition,
            ..SendRequest::default()
        };
        let error = gateway.send(&WHO, request).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        error.detail.field
    };
    assert_eq!(field(vec![], None).await, "messages");
    assert_eq!(field(vec![message("x"); 1_001], None).await, "messages");
    assert_eq!(field(vec![too_large(); 64], None).await, "messages");
    assert_eq!(field(vec![message("")], Some(1)).await, "partition");
}

#[tokio::test]
async fn a_message_that_is_not_valid_takes_an_atomic_batch_with_it() {
    let (_cluster, gateway) = start().await;
    let request = SendRequest {
        queue: named("one"),
        messages: vec![message("a"), too_large(), message("b")],
        atomic: true,
        ..SendRequest::default()
    };
    let results = gateway.send(&WHO, request).await.unwrap().results;
    let errors: Vec<_> = results.iter().map(|it| code(it.error.as_ref())).collect();
    let with_it = Some((Code::Aborted, false));
    assert_eq!(
        errors,
        [with_it, Some((Code::InvalidArgument, false)), with_it]
    );
    assert!(receive(&gateway, "one", 10, 0).await.is_empty());
}

#[tokio::test]
async fn a_settlement_that_is_not_valid_fails_alone() {
    let (_cluster, gateway) = start().await;
    send(&gateway, "one", vec![message("x"), message("y")]).await;
    let held = receive(&gateway, "one", 2, 0).await;
    let nack = Nack {
        delay: Some(duration_ms(13 * 3_600_000)),
        ..Nack::default()
    };
    let settle = |place: usize, action| Settlement {
        receipt: held[place].receipt.clone(),
        action,
    };
    let request = SettleRequest {
        queue: named("one"),
        settlements: vec![
            settle(0, Some(Action::Nack(nack))),
            settle(0, None),
            settle(1, Some(Action::Ack(Ack {}))),
        ],
    };
    let settled = gateway.settle(&WHO, request).await.unwrap().results;
    let errors: Vec<_> = settled.iter().map(|it| code(it.error.as_ref())).collect();
    let invalid = Some((Code::InvalidArgument, false));
    assert_eq!(errors, [invalid, invalid, None]);
    let said = &settled[0].error.as_ref().unwrap().message;
    assert!(said.starts_with("nack.delay is "), "{said}");
    assert_eq!(stats(&gateway, "one").await, (0, 1, 1));
}
