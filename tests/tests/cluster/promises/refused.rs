//! Messages that are not valid, among others that are.

use roadstead_client::proto::{Ordering, QueueSpec};
use roadstead_client::{Message, SendError};
use roadstead_node::auth::Principal;
use roadstead_proto::v1::{OutgoingMessage, Producer, SendRequest, SendResult};
use roadstead_tests::live::LiveCluster;
use roadstead_tests::live::cluster::queue_ref;

use super::{Scene, body, next, rest};

const TOO_LARGE: usize = (256 << 10) + 1;

fn strict() -> QueueSpec {
    let mut spec = QueueSpec::default();
    spec.set_ordering(Ordering::Strict);
    spec
}

/// Sends the numbers 1 to 5 of a producer, of which the second is too large, by way of any node.
async fn send_five(cluster: &LiveCluster) -> Vec<SendResult> {
    let message = |number: usize| OutgoingMessage {
        body: match number {
            2 => vec![0; TOO_LARGE].into(),
            _ => number.to_string().into(),
        },
        ..OutgoingMessage::default()
    };
    let request = SendRequest {
        queue: Some(queue_ref("line")),
        messages: (1..=5).map(message).collect(),
        producer: Some(Producer {
            id: "p".to_owned(),
            first_sequence: 1,
        }),
        partition: Some(0),
        atomic: false,
    };
    let host = cluster.some_host().expect("one runs");
    let call = host.run(|node| async move {
        let gateway = node.gateway();
        gateway.send(&Principal::Anonymous, request).await
    });
    let sent = call.await.expect("the host runs");
    sent.expect("a leader answers").results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_not_valid_fails_alone_and_a_repeat_stores_nothing_twice() {
    let scene = Scene::start().await;
    scene.queue("line", strict()).await;
    let first = send_five(&scene.cluster).await;
    let refused: Vec<_> = first.iter().map(|one| one.error.is_some()).collect();
    assert_eq!(refused, [false, true, false, false, false], "{first:?}");
    scene.kill_leader_of("line").await;
    let shard = scene.client.queue("line").await.expect("it exists").shards[0];
    let shard = u16::try_from(shard).expect("a shard");
    scene.cluster.until_led(shard).await.expect("it is led");
    let again = send_five(&scene.cluster).await;
    for (before, now) in first.iter().zip(&again) {
        assert_eq!(before.error, now.error);
        assert_eq!(before.message_id, now.message_id);
        assert_eq!(now.duplicate, now.error.is_none());
    }

    // One at a time is on its way, so that all behind the first are joined.
    let producer = scene.producer("line").await;
    let message = |number: usize| match number {
        8 => Message::new(vec![0; TOO_LARGE]),
        _ => Message::new(number.to_string()),
    };
    let sent = producer.send_all((6..=11).map(message)).await;
    for (number, sent) in (6..).zip(sent) {
        match sent {
            Ok(_) => assert_ne!(number, 8),
            Err(SendError::Refused(fault)) if number == 8 => {
                assert!(fault.message.contains("at most 262144"), "{fault}");
            }
            Err(error) => panic!("message {number}: {error}"),
        }
    }
    let consumer = scene.consumer("line").await;
    for expected in [1, 3, 4, 5, 6, 7, 9, 10, 11] {
        let delivery = next(&consumer).await;
        assert_eq!(body(&delivery), expected.to_string());
        delivery.ack().await.expect("it is leased");
    }
    assert!(rest(&consumer).await.is_empty());
}
