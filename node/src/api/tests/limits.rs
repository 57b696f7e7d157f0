//! Garbage, sizes, connections and the end of a node.

use roadstead_proto::v1::OutgoingMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::api::testing::{Raw, send_raw};
use crate::transport::grpc::GrpcTransport;
use crate::transport::{Lane, Transport};

#[tokio::test]
async fn garbage_gets_an_error_and_harms_nobody_else() {
    let listener = anonymous().await;
    let good = connect(listener.address).await;

    let mut raw = TcpStream::connect(listener.address).await.unwrap();
    // The server may close before everything is written.
    let _ = raw.write_all(&vec![0; 1 << 20]).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), raw.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection is closed");

    let zeros = Raw(vec![0; 1 << 20].into());
    let status = send_raw(good.clone(), zeros).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(!detail_of(&status).expect("who asks is at fault").retryable);

    assert_eq!(caller(good).await.unwrap(), "anonymous");
}

#[tokio::test]
async fn sixteen_mib_pass_and_much_more_do_not() {
    let listener = anonymous().await;
    let channel = connect(listener.address).await;
    let mut client = MessageServiceClient::new(channel.clone());
    let request = |bytes: usize| {
        let message = OutgoingMessage {
            body: vec![1; bytes].into(),
            ..OutgoingMessage::default()
        };
        SendRequest {
            messages: vec![message],
            ..SendRequest::default()
        }
    };
    client.send(request(16 << 20)).await.unwrap();
    for bytes in [17 << 20, 18 << 20] {
        let status = client.send(request(bytes)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("16 MiB"), "{status}");
        assert!(!detail_of(&status).expect("it never fits").retryable);
    }
    let zeros = send_raw(channel.clone(), Raw(vec![0; 17 << 20].into()));
    let status = zeros.await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(caller(channel).await.unwrap(), "anonymous");
}

#[tokio::test]
async fn connections_are_bounded_and_idle_ones_do_not_stay() {
    let listener = listen(Security::Plain, Authenticator::Anonymous, 2).await;
    let mut idle = TcpStream::connect(listener.address).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(connect(listener.address).await);
        assert!(caller(held[held.len() - 1].clone()).await.is_ok());
    }
    let mut refused = TcpStream::connect(listener.address).await.unwrap();
    refused.write_all(b"PRI * HTTP/2.0").await.unwrap();
    for closed in [&mut refused, &mut idle] {
        let mut nothing = [0; 64];
        let closed = closed.read(&mut nothing);
        let closed = tokio::time::timeout(Duration::from_secs(5), closed).await;
        assert_eq!(closed.unwrap().unwrap_or(0), 0);
    }
    drop(held.pop());
    while listener.counts.read().open > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(caller(connect(listener.address).await).await.is_ok());
    assert_eq!(listener.counts.read().refused, 1);
}

/// Connections that say nothing, of which the listener keeps only some.
async fn strangers(listener: &Listener) -> Vec<TcpStream> {
    let mut strangers = Vec::new();
    for _ in 0..50 {
        strangers.push(TcpStream::connect(listener.address).await.unwrap());
    }
    strangers
}

#[tokio::test]
async fn strangers_who_say_nothing_keep_nobody_out() {
    let listener = listen(Security::Plain, Authenticator::Anonymous, 2).await;
    let mut strangers = strangers(&listener).await;
    let mut nothing = [0; 64];
    let first = strangers[0].read(&mut nothing);
    let first = tokio::time::timeout(Duration::from_millis(200), first).await;
    assert_eq!(
        first.unwrap().unwrap_or(0),
        0,
        "the oldest makes room at once"
    );
    assert!(caller(connect(listener.address).await).await.is_ok());
    assert_eq!(listener.counts.read().refused, 0);
}

#[tokio::test]
async fn strangers_without_a_handshake_keep_no_peer_out() {
    let ca = TestCa::new();
    let security = Security::Mutual(peer_tls(ca.node(CLUSTER)));
    let listener = listen(security, Authenticator::Certificates, 2).await;
    let _strangers = strangers(&listener).await;
    let transport = GrpcTransport::new(peer_tls(ca.node(CLUSTER)));
    let dialled = transport.dial(&listener.address.to_string(), Lane::Urgent);
    let dialled = tokio::time::timeout(Duration::from_secs(5), dialled).await;
    assert!(dialled.unwrap().is_ok());
}

/// What the end of a stream looks like when `end` is done to its listener.
async fn end_of_a_stream(
    end: impl FnOnce(&Listener),
) -> Result<Option<SendStreamResponse>, Status> {
    let listener = anonymous().await;
    let mut client = MessageServiceClient::new(connect(listener.address).await);
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(SendStreamRequest::default()).await.unwrap();
    let requests = ReceiverStream::new(requests);
    let mut replies = client.send_stream(requests).await.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());
    end(&listener);
    tokio::time::timeout(Duration::from_secs(5), replies.message())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_stream_ends_in_order_when_its_node_drains() {
    let ended = end_of_a_stream(|listener| listener.drain.cancel()).await;
    assert!(matches!(ended, Ok(None)), "{ended:?}");
}

#[tokio::test]
async fn a_stream_breaks_when_its_node_stops() {
    let ended = end_of_a_stream(|listener| listener.stop.cancel()).await;
    assert!(ended.is_err(), "{ended:?}");
}
