//! Acks with outputs, over shards.

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::{CompleteRequest, Delivery, OutgoingMessage, Output};
use tonic::Code;

use super::tests::{LONG, WHO, message, named, receive, send, start, stats};
use super::{ApiError, Gateway};

async fn complete(
    gateway: &Gateway<TokioRuntime>,
    queue: &str,
    deliveries: &[&Delivery],
    outputs: Vec<(&str, OutgoingMessage)>,
) -> Result<Vec<String>, ApiError> {
    let output = |(queue, message): (&str, OutgoingMessage)| Output {
        queue: named(queue),
        message: Some(message),
    };
    let request = CompleteRequest {
        queue: named(queue),
        receipts: deliveries.iter().map(|it| it.receipt.clone()).collect(),
        outputs: outputs.into_iter().map(output).collect(),
    };
    let completed = gateway.complete(&WHO, request).await;
    completed.map(|completed| completed.message_ids)
}

#[tokio::test]
async fn an_ack_brings_its_outputs_to_queues_of_other_shards() {
    let (_cluster, gateway) = start().await;
    send(&gateway, "one", vec![message("order")]).await;
    let orders = receive(&gateway, "one", 1, 0).await;
    // Eight outputs to eight partitions on four shards.
    let outputs = (0..8).map(|n| ("a", message(&format!("bill-{n}"))));
    let ids = complete(&gateway, "one", &[&orders[0]], outputs.collect()).await;
    let mut ids = ids.expect("it is completed");
    assert_eq!(stats(&gateway, "one").await, (0, 0, 1));
    let (mut bills, begin) = (Vec::new(), std::time::Instant::now());
    while bills.len() < 8 {
        let wait = u64::try_from(LONG.as_millis()).unwrap();
        bills.extend(receive(&gateway, "a", 8, wait).await);
    }
    // The courier is told, it does not wait for its next round, which is a minute away.
    assert!(begin.elapsed() < LONG);
    let mut arrived: Vec<_> = bills.iter().map(|bill| bill.message_id.clone()).collect();
    arrived.sort();
    ids.sort();
    assert_eq!(arrived, ids, "under the ids that were told");
    assert!(bills.iter().all(|bill| bill.dead_letter.is_none()));
}

#[tokio::test]
async fn a_stale_receipt_or_a_bad_output_leaves_everything_as_it_was() {
    let (_cluster, gateway) = start().await;
    send(&gateway, "one", vec![message("x"), message("y")]).await;
    let held = receive(&gateway, "one", 2, 0).await;
    let empty = OutgoingMessage::default();
    let cases = [
        (vec![("a", empty)], Code::InvalidArgument),
        (vec![("missing", message("z"))], Code::NotFound),
    ];
    for (outputs, code) in cases {
        let error = complete(&gateway, "one", &[&held[0]], outputs).await;
        assert_eq!(error.expect_err("it is refused").code, code);
    }
    let twice = complete(&gateway, "one", &[&held[0], &held[0]], Vec::new()).await;
    assert_eq!(twice.expect_err("it is refused").code, Code::NotFound);
    let foreign = complete(&gateway, "a", &[&held[0]], Vec::new()).await;
    assert_eq!(foreign.expect_err("it is refused").code, Code::NotFound);
    let none = complete(&gateway, "one", &[], Vec::new()).await;
    let none = none.expect_err("it is refused");
    assert_eq!(
        (none.code, none.detail.field.as_str()),
        (Code::InvalidArgument, "receipts")
    );
    assert_eq!(stats(&gateway, "one").await, (0, 2, 0));

    let done = complete(&gateway, "one", &[&held[0]], vec![("a", message("z"))]).await;
    assert_eq!(done.expect("it is completed").len(), 1);
    let both = complete(
        &gateway,
        "one",
        &[&held[0], &held[1]],
        vec![("a", message("z"))],
    )
    .await;
    let both = both.expect_err("one of the two is stale");
    assert_eq!(both.code, Code::NotFound);
    assert!(both.message.contains("nothing was acked"), "{both:?}");
    assert_eq!(
        stats(&gateway, "one").await,
        (0, 1, 1),
        "the other is still leased"
    );
}
