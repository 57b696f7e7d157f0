//! Handshakes in memory: who gets in and who does not.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::testing::TestCa;
use super::*;

const CLUSTER: &str = "0f3a6b1c-0000-4000-8000-000000000001";
const OTHER: &str = "0f3a6b1c-0000-4000-8000-000000000002";

fn peer_tls(pems: Pems) -> Arc<PeerTls> {
    PeerTls::open(Source::Memory(pems)).unwrap().current()
}

/// One handshake and one byte each way; what each side says of it, and who the server saw.
async fn meet(
    server: &PeerTls,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> (io::Result<PeerIdentity>, io::Result<()>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accept = async {
        let mut stream = TlsAcceptor::from(Arc::clone(&server.server))
            .accept(near)
            .await?;
        stream.write_all(b"a").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        PeerIdentity::of(&certificates[0]).map_err(io::Error::other)
    };
    let connect = async {
        let mut stream = TlsConnector::from(client).connect(name, far).await?;
        stream.write_all(b"b").await?;
        stream.flush().await?;
        stream.read_u8().await.map(|_| ())
    };
    tokio::join!(accept, connect)
}

async fn meet_peers(server: Pems, client: Pems) -> (io::Result<PeerIdentity>, io::Result<()>) {
    let (server, client) = (peer_tls(server), peer_tls(client));
    meet(
        &server,
        Arc::clone(&client.client),
        client.server_name.clone(),
    )
    .await
}

#[tokio::test]
async fn nodes_of_one_cluster_know_each_other() {
    let ca = TestCa::new();
    let (accepted, connected) = meet_peers(ca.node(CLUSTER), ca.node(CLUSTER)).await;
    assert_eq!(
        accepted.unwrap().to_string(),
        format!("roadstead://{CLUSTER}/node")
    );
    connected.unwrap();
}

#[tokio::test]
async fn a_foreign_ca_is_refused() {
    let (ca, foreign) = (TestCa::new(), TestCa::new());
    let mut client = foreign.node(CLUSTER);
    client.ca = ca.pem().as_bytes().to_vec();
    let (accepted, connected) = meet_peers(ca.node(CLUSTER), client).await;
    let error = accepted.unwrap_err().to_string();
    assert!(
        error.contains("UnknownIssuer") || error.contains("BadSignature"),
        "{error}"
    );
    assert!(connected.is_err());

    let mut server = foreign.node(CLUSTER);
    server.ca = ca.pem().as_bytes().to_vec();
    let (_, connected) = meet_peers(server, ca.node(CLUSTER)).await;
    connected.unwrap_err();
}

#[tokio::test]
async fn another_cluster_of_the_same_ca_is_refused_by_both_sides() {
    let ca = TestCa::new();
    // The name is right, so that only the identity in the certificate is wrong.
    let forged = ca.issue(CLUSTER, &format!("roadstead://{OTHER}/node"));
    let client = peer_tls(ca.node(CLUSTER));
    let (_, connected) = meet(
        &peer_tls(forged.clone()),
        Arc::clone(&client.client),
        client.server_name.clone(),
    )
    .await;
    let error = connected.unwrap_err().to_string();
    assert!(error.contains("of another cluster"), "{error}");

    let (accepted, connected) =
        meet(&client, unchecking(&forged), client.server_name.clone()).await;
    let error = accepted.unwrap_err().to_string();
    assert!(error.contains("of another cluster"), "{error}");
    assert!(connected.is_err());
}

#[tokio::test]
async fn an_operator_gets_in_and_cannot_play_a_node() {
    let ca = TestCa::new();
    let server = peer_tls(ca.node(CLUSTER));
    let operator = ca.operator(CLUSTER);
    let (accepted, connected) =
        meet(&server, unchecking(&operator), server.server_name.clone()).await;
    assert_eq!(accepted.unwrap().role, Role::Operator);
    connected.unwrap();

    assert!(PeerTls::open(Source::Memory(operator)).is_err());
}

#[tokio::test]
async fn expired_nameless_and_absent_certificates_are_refused() {
    let ca = TestCa::new();
    let server = peer_tls(ca.node(CLUSTER));
    let name = server.server_name.clone();
    for (pems, expected) in [
        (ca.expired_node(CLUSTER), "certificate expired"),
        (ca.issue(CLUSTER, ""), "0 subject alternative names"),
        (
            ca.issue(CLUSTER, "roadstead://x/king"),
            "is not roadstead://",
        ),
    ] {
        let (accepted, _) = meet(&server, unchecking(&pems), name.clone()).await;
        let error = accepted.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let bare = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots_of(&ca))
        .with_no_client_auth();
    let (accepted, connected) = meet(&server, Arc::new(bare), name).await;
    assert!(
        accepted
            .unwrap_err()
            .to_string()
            .contains("no certificates")
    );
    assert!(connected.is_err());
}

#[tokio::test]
async fn a_server_that_answers_to_another_name_is_refused() {
    let ca = TestCa::new();
    let server = ca.issue("elsewhere.example", &format!("roadstead://{CLUSTER}/node"));
    let (_, connected) = meet_peers(server, ca.node(CLUSTER)).await;
    assert!(
        connected
            .unwrap_err()
            .to_string()
            .contains("not valid for name")
    );
}

#[test]
fn certificates_are_reloaded_when_they_change_and_kept_when_they_break() {
    let ca = TestCa::new();
    let directory = tempfile::tempdir().unwrap();
    let write = |pems: &Pems| {
        std::fs::write(directory.path().join("ca.crt"), &pems.ca).unwrap();
        std::fs::write(directory.path().join("tls.crt"), &pems.certificate).unwrap();
        std::fs::write(directory.path().join("tls.key"), &pems.key).unwrap();
    };
    write(&ca.node(CLUSTER));
    let tls = PeerTls::open(Source::Directory(directory.path().to_owned())).unwrap();
    let first = tls.current();
    assert!(!tls.reload().unwrap());

    std::fs::write(directory.path().join("tls.key"), ca.node(CLUSTER).key).unwrap();
    assert!(tls.reload().is_err(), "a key of another certificate");
    assert!(Arc::ptr_eq(&first, &tls.current()));

    write(&ca.node(CLUSTER));
    assert!(tls.reload().unwrap());
    assert!(!Arc::ptr_eq(&first, &tls.current()));
}

#[test]
fn a_missing_file_is_named() {
    let error = PeerTls::open(Source::Directory("/nowhere".into()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("/nowhere/ca.crt"), "{error}");
}

fn roots_of(ca: &TestCa) -> Arc<rustls::RootCertStore> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    let pem = rustls::pki_types::CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap();
    roots.add(pem).unwrap();
    Arc::new(roots)
}

/// A client that shows these certificates and checks only the server's chain.
fn unchecking(pems: &Pems) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for ca in pems.cas().unwrap() {
        roots.add(ca).unwrap();
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(pems.chain().unwrap(), pems.private_key().unwrap())
        .unwrap();
    Arc::new(config)
}
