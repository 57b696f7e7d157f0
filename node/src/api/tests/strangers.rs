//! Connections whose other end never proves who it is.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use super::*;
use crate::auth::Principal;
use crate::auth::token::{Reviewer, TokenAuthenticator, Verdict};

/// What every connection of HTTP/2 begins with.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Knows one token.
struct OneOnly;

impl Reviewer for OneOnly {
    fn review(self: Arc<Self>, token: String) -> BoxFuture<'static, Verdict> {
        let account = Principal::ServiceAccount {
            namespace: "shop".to_owned(),
            name: "worker".to_owned(),
        };
        std::future::ready(Ok((token == "good").then_some(account))).boxed()
    }
}

/// With room for eight strangers among twelve, and for three connections of one account.
async fn by_token() -> Listener {
    let tokens = TokenAuthenticator::with_reviewer(Arc::new(OneOnly), Duration::from_secs(5));
    let by_token = Authenticator::Tokens(Arc::new(tokens), Accounts::new(3));
    listen(Security::Plain, by_token, 12).await
}

async fn call_with(channel: &Channel, token: &str) -> Result<(), Status> {
    let mut request = Request::new(GetTopologyRequest {});
    let token = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    let mut client = ClusterServiceClient::new(channel.clone());
    client.get_topology(request).await.map(drop)
}

async fn until_open(listener: &Listener, expected: u64) {
    let reached = async {
        while listener.counts.read().open != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(10), reached).await;
    assert!(reached.is_ok(), "{:?}", listener.counts.read());
}

#[tokio::test]
async fn whoever_makes_no_call_that_is_admitted_leaves_room_for_friends() {
    let listener = by_token().await;
    let friend = connect(listener.address).await;
    call_with(&friend, "good").await.unwrap();
    let mut strangers = Vec::new();
    for number in 0..30 {
        let stranger = connect(listener.address).await;
        match number % 3 {
            0 => {}
            1 => {
                let status = call_with(&stranger, "made-up").await.unwrap_err();
                assert_eq!(status.code(), Code::Unauthenticated, "{status}");
            }
            _ => {
                let mut client = ServerReflectionClient::new(stranger.clone());
                let ask = tokio_stream::once(ServerReflectionRequest::default());
                client.server_reflection_info(ask).await.unwrap();
            }
        }
        strangers.push(stranger);
    }
    let other = connect(listener.address).await;
    call_with(&other, "good").await.unwrap();
    until_open(&listener, 2 + 7).await;
    let numbers = listener.counts.read();
    // None of the friends came twice.
    call_with(&friend, "good").await.unwrap();
    assert_eq!(numbers.accepted, 32);
    assert_eq!(listener.counts.read().accepted, 32);
    assert_eq!(numbers.refused, 23, "those that made room are counted");
}

#[tokio::test]
async fn a_certificate_of_the_cluster_is_proof_enough() {
    let ca = TestCa::new();
    let listener = mutual(&ca).await;
    let tls = peer_tls(ca.node(CLUSTER)).current();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let tcp = TcpStream::connect(listener.address).await.unwrap();
        let connector = TlsConnector::from(Arc::clone(&tls.client));
        let peer = connector.connect(tls.server_name.clone(), tcp).await;
        let mut peer = peer.unwrap();
        peer.write_all(BEGIN).await.unwrap();
        peers.push(peer);
        // One after the other, so that none is gone before it is counted.
        until_open(&listener, peers.len() as u64).await;
    }
    assert_eq!(listener.counts.read().refused, 0);
}

#[tokio::test]
async fn an_account_that_leaks_connections_leaves_room_for_others() {
    let listener = by_token().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let channel = connect(listener.address).await;
        call_with(&channel, "good").await.unwrap();
        open.push(channel);
    }
    let fourth = connect(listener.address).await;
    let status = call_with(&fourth, "good").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("3 connections"), "{status}");
    // Those that it has go on, and what it closes makes room.
    call_with(&open[0], "good").await.unwrap();
    open.pop();
    until_open(&listener, 3).await;
    call_with(&fourth, "good").await.unwrap();
}
