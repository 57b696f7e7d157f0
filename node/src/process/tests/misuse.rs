//! Bad input, and clients that behave badly: a clear error, and harm to nobody else.

use super::*;
use futures_util::future::join_all;
use prost::Message;
use roadstead_proto::v1::PeekMessagesRequest;
use tonic::body::Body;

use crate::api::testing::{Answer, Raw, call, end_of, half_sent, send_raw, stream_raw};

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
    assert_eq!(garbage.0, Code::InvalidArgument, "{garbage:?}");
    assert!(garbage.1.contains("malformed"), "{garbage:?}");

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

/// 128 is what the memory of this node allows, 64 of them by one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded_and_where_all_are_open_calls_are_served() {
    let (_directory, process, mut client) = serving().await;
    let mut open = Vec::new();
    for connection in 0..2 {
        let mut other = Client::connect(&process).await;
        for stream in 0..64 {
            open.push(
                idle(&mut other, &format!("{connection}-{stream}"))
                    .await
                    .unwrap(),
            );
        }
    }
    let refused = idle(&mut client, "one more").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("128 streams"), "{refused:?}");
    client.send(vec![message("still served")]).await.unwrap();
    open.pop();
    let start = Instant::now();
    while let Err(status) = idle(&mut client, "in its place").await {
        assert!(start.elapsed() < LIMIT, "{status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(open);
    process.kill().await;
}

type Idle = (
    tonic::Streaming<roadstead_proto::v1::ReceiveStreamResponse>,
    tokio::sync::mpsc::Sender<ReceiveStreamRequest>,
);

/// A stream of deliveries without credit.
async fn idle(client: &mut Client, session: &str) -> Result<Idle, Status> {
    let (sender, frames) = tokio::sync::mpsc::channel(4);
    let open = ReceiveStreamOpen {
        queue: Some(orders()),
        session_id: session.to_owned(),
        ..ReceiveStreamOpen::default()
    };
    let frame = Some(receive_stream_request::Frame::Open(open));
    sender.send(ReceiveStreamRequest { frame }).await.unwrap();
    let frames = ReceiverStream::new(frames);
    let stream = client.messages.receive_stream(frames).await?;
    Ok((stream.into_inner(), sender))
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

/// Peak of this process's resident memory in bytes since it was reset.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() << 10
}

fn reset_peak() -> usize {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millions_of_empty_messages_are_refused_before_they_are_made() {
    let (_directory, process, mut client) = serving().await;
    let channel = client.channel.clone();
    let empties = |bytes: usize| bytes::Bytes::from([0x12, 0].repeat(bytes / 2));
    let bomb = empties(16 << 20);
    // One frame: field 2 of a SendStreamRequest is a batch.
    let open = Raw(bytes::Bytes::from_static(
        b"\x0a\x13\x0a\x11\x0a\x07default\x12\x06orders",
    ));
    let mut frame = vec![0x12];
    prost::encoding::encode_varint(bomb.len() as u64, &mut frame);
    frame.extend_from_slice(&bomb);
    let frame = Raw(frame.into());

    let before = reset_peak();
    for _ in 0..3 {
        let status = send_raw(channel.clone(), Raw(bomb.clone()))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("send fewer entries"), "{status}");
        let frames = vec![open.clone(), frame.clone()];
        let status = stream_raw(channel.clone(), frames).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        client.send(vec![message("fine")]).await.unwrap();
    }
    // Decoded it would have been more than 1 GB. Other tests run beside this one.
    let grown = peak().saturating_sub(before);
    assert!(grown < 300 << 20, "{} MiB", grown >> 20);

    // What is in proportion is decoded, and counted.
    let fewer = Raw([&[0x12, 0x84, 0x28][..], &empties(5_124)].concat().into());
    let many = stream_raw(channel, vec![open, fewer]).await.unwrap_err();
    assert!(many.message().contains("2562 entries"), "{many}");
    assert_eq!(&client.receive().await.deliveries[0].body[..], b"fine");
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_hold_a_bounded_part_of_the_memory() {
    const LARGE: u32 = 16 << 20;
    let (_directory, process, mut client) = serving().await;
    for (connections, each) in [(1, 48), (8, 6)] {
        let before = reset_peak();
        let mut halves = JoinSet::new();
        for _ in 0..connections {
            let channel = Client::connect(&process).await.channel;
            for _ in 0..each {
                halves.spawn(half_sent(
                    channel.clone(),
                    "Send",
                    LARGE,
                    LARGE as usize - 1,
                ));
            }
        }
        // What is not refused stays for the half of a minute.
        let held = 4.min(connections);
        while halves.len() > held {
            let end = tokio::time::timeout(LIMIT, halves.join_next())
                .await
                .unwrap();
            let status = end.unwrap().unwrap().unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(
                crate::api::detail_of(&status).unwrap().retryable,
                "{status}"
            );
            client.send(vec![message("fine")]).await.unwrap();
            client.receive().await;
        }
        // They would have been 768 MB. Other tests run beside this one.
        let grown = peak().saturating_sub(before);
        assert!(grown < 400 << 20, "{connections}: {} MiB", grown >> 20);
    }
    process.kill().await;
}

/// Asks for all messages of the queue, up to a hundred, and reads nothing of the answer but its
/// head.
async fn peek_and_read_nothing(channel: &Channel) -> Result<Answer, Status> {
    let request = PeekMessagesRequest {
        queue: Some(orders()),
        max_messages: 100,
        ..PeekMessagesRequest::default()
    };
    let request = request.encode_to_vec();
    let length = u32::try_from(request.len()).unwrap().to_be_bytes();
    let frame = bytes::Bytes::from([&[0][..], &length, &request].concat());
    let body = Body::new(http_body_util::Full::new(frame));
    let path = "/roadstead.v1.QueueService/PeekMessages";
    call(channel.clone(), path, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_hold_a_bounded_part_of_the_memory() {
    let (_directory, process, mut client) = serving().await;
    for _ in 0..5 {
        let messages = vec![message(vec![7; 200 << 10]); 16];
        client.send(messages).await.unwrap();
    }
    let deaf = Client::connect(&process).await.channel;
    let before = reset_peak();
    let mut unread = Vec::new();
    for _ in 0..60 {
        unread.push(peek_and_read_nothing(&deaf).await.unwrap());
    }
    // They would have been 960 MB. Other tests run beside this one.
    let grown = peak().saturating_sub(before);
    assert!(grown < 400 << 20, "{} MiB", grown >> 20);
    end_of(peek_and_read_nothing(&client.channel).await.unwrap())
        .await
        .unwrap();
    assert!(!client.receive().await.deliveries.is_empty());

    let ends = join_all(unread.into_iter().map(end_of)).await;
    let refused: Vec<_> = ends.into_iter().filter_map(Result::err).collect();
    assert!(refused.len() >= 50, "{}", refused.len());
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(crate::api::detail_of(&status).unwrap().retryable);
    }
    // What was read counts no more.
    end_of(peek_and_read_nothing(&deaf).await.unwrap())
        .await
        .unwrap();
    process.kill().await;
}
