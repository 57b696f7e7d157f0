//! Bad input, and clients that behave badly: a clear error, and harm to nobody else.

use super::*;

/// A node of a cluster of its own, and a client; the queue is there.
async fn serving() -> (tempfile::TempDir, NodeProcess, Client) {
    let (ca, directory) = (TestCa::new(), tempfile::tempdir().unwrap());
    let process = start(directory.path(), &ca).await;
    found(&process, &ca).await;
    until_ready(&process).await;
    let mut client = Client::connect(&process).await;
    client.create().await;
    (directory, process, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_gets_a_clear_error_and_harms_nobody_else() {
    let (_directory, process, mut client) = serving().await;

    let delay = Some(WireDuration {
        seconds: -1,
        nanos: 0,
    });
    let negative = OutgoingMessage {
        delay,
        ..message("x")
    };
    let table = [
        (vec![], "messages"),
        (vec![message("")], "body"),
        (vec![message(vec![0; 300 * 1024])], "bytes"),
        (vec![negative], "delay"),
        (vec![message("x"); 1_001], "1001"),
    ];
    for (messages, expected) in table {
        let status = client.send(messages).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{expected}: {status:?}"
        );
        assert!(
            status.message().contains(expected),
            "{expected}: {}",
            status.message()
        );
    }
    let nowhere = Some(QueueRef {
        namespace: "default".to_owned(),
        name: "nowhere".to_owned(),
    });
    let status = client
        .queues
        .get_queue(GetQueueRequest { queue: nowhere })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    let garbage = client
        .ack(bytes::Bytes::from_static(b"garbage"))
        .await
        .unwrap();
    assert!(
        matches!(garbage.0, Code::NotFound | Code::InvalidArgument),
        "{garbage:?}"
    );

    client.send(vec![message("fine")]).await.unwrap();
    assert_eq!(&client.receive().await.deliveries[0].body[..], b"fine");
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_costs_only_itself() {
    let (_directory, process, mut client) = serving().await;
    let _deaf = never_reads(&process).await;
    // It has credit for 200 of these 320.
    for _ in 0..20 {
        client
            .send(vec![message(vec![7; 64 << 10]); 16])
            .await
            .unwrap();
    }
    let taken = tokio::time::timeout(LIMIT, async {
        let mut taken = 0;
        while taken < 10 {
            let deliveries = client.receive().await.deliveries;
            for delivery in &deliveries {
                assert_eq!(client.ack(delivery.receipt.clone()).await, None);
            }
            taken += deliveries.len();
            client.send(vec![message("more")]).await.unwrap();
        }
    });
    taken.await.unwrap();
    process.kill().await;
}

/// Grants credit for more than fits into all windows on the way, and never looks at the answers.
async fn never_reads(process: &NodeProcess) -> impl Send + use<> {
    let mut client = Client::connect(process).await;
    let (sender, frames) = tokio::sync::mpsc::channel(4);
    let open = ReceiveStreamOpen {
        queue: Some(orders()),
        session_id: "deaf".to_owned(),
        ..ReceiveStreamOpen::default()
    };
    for frame in [
        receive_stream_request::Frame::Open(open),
        receive_stream_request::Frame::Credit(ReceiveCredit { messages: 200 }),
    ] {
        sender
            .send(ReceiveStreamRequest { frame: Some(frame) })
            .await
            .unwrap();
    }
    let stream = client
        .messages
        .receive_stream(ReceiverStream::new(frames))
        .await
        .unwrap();
    (stream, sender, client)
}
