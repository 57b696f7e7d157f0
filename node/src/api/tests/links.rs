//! Links between nodes, and who may open them.

use roadstead_proto::v1::PeerMessage;
use roadstead_proto::v1::peer_service_client::PeerServiceClient;

use super::*;
use crate::transport::grpc::GrpcTransport;
use crate::transport::{Lane, Transport};

fn frame(id: u64) -> PeerFrame {
    PeerFrame {
        messages: vec![PeerMessage {
            id,
            ..PeerMessage::default()
        }],
    }
}

#[tokio::test]
async fn links_carry_frames_in_order_and_break_when_one_end_is_gone() {
    let ca = TestCa::new();
    let listener = mutual(&ca).await;
    let transport = GrpcTransport::new(peer_tls(ca.node(CLUSTER)));
    for lane in [Lane::Urgent, Lane::Bulk] {
        let mut link = transport
            .dial(&listener.address.to_string(), lane)
            .await
            .unwrap();
        for id in 0..100 {
            link.sender.send(frame(id)).await.unwrap();
            assert_eq!(link.receiver.recv().await.unwrap(), frame(id));
        }
    }
    let mut link = transport
        .dial(&listener.address.to_string(), Lane::Bulk)
        .await
        .unwrap();
    listener.stop.cancel();
    assert_eq!(link.receiver.recv().await, None);
    let closed = tokio::time::timeout(Duration::from_secs(5), link.sender.closed()).await;
    closed.expect("the sender learns that the link is broken");
}

#[tokio::test]
async fn links_need_a_nodes_certificate_of_the_cluster() {
    let ca = TestCa::new();
    let listener = mutual(&ca).await;
    let address = listener.address.to_string();

    let mut foreign = TestCa::new().node(CLUSTER);
    foreign.ca = ca.pem().as_bytes().to_vec();
    let transport = GrpcTransport::new(peer_tls(foreign));
    let error = transport.dial(&address, Lane::Bulk).await.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");

    let other = GrpcTransport::new(peer_tls(ca.node("0f3a6b1c-0000-4000-8000-000000000002")));
    let error = other.dial(&address, Lane::Bulk).await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");

    let plain = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await;
    match plain {
        Err(_) => {}
        Ok(channel) => assert!(caller(channel).await.is_err()),
    }
    let operator = operator_channel(&ca, listener.address).await;
    assert_eq!(caller(operator.clone()).await.unwrap(), "operator");
    let mut peer = PeerServiceClient::new(operator);
    let status = peer.exchange(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(listener.counts.read().failed_handshakes >= 2);
}

/// As the operator connects: tonic's own TLS, the cluster id as server name.
async fn operator_channel(ca: &TestCa, address: SocketAddr) -> Channel {
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};
    let pems = ca.operator(CLUSTER);
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca.pem()))
        .identity(Identity::from_pem(&pems.certificate, &pems.key))
        .domain_name(CLUSTER);
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn a_peer_that_does_not_answer_costs_a_bounded_time() {
    let ca = TestCa::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let transport = GrpcTransport::new(peer_tls(ca.node(CLUSTER)));
    let dial = transport.dial(&address, Lane::Urgent);
    let error = tokio::time::timeout(Duration::from_secs(20), dial)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
