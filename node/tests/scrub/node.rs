//! A whole node: it stops serving.

use std::time::{Duration, Instant};

use roadstead_node::config::{ClientAuth, LogFormat, NodeConfig};
use roadstead_node::controls::Controls;
use roadstead_node::process::NodeProcess;
use roadstead_proto::v1::admin_service_client::AdminServiceClient;
use roadstead_proto::v1::message_service_client::MessageServiceClient;
use roadstead_proto::v1::queue_service_client::QueueServiceClient;
use roadstead_proto::v1::{
    BootstrapRequest, CreateQueueRequest, Founder, GetNodeRequest, OutgoingMessage, QueueRef,
    QueueSpec, SendRequest,
};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::{PATIENCE, certificates, flip};

const CLUSTER: &str = "5f9d2e31-0000-4000-8000-00000000fa12";

fn config(folder: &TempDir) -> NodeConfig {
    NodeConfig {
        data_dir: folder.path().join("data"),
        name: "node-0".to_owned(),
        client_listen: ([127, 0, 0, 1], 0).into(),
        peer_listen: ([127, 0, 0, 1], 0).into(),
        http_listen: ([127, 0, 0, 1], 0).into(),
        advertise_client: None,
        advertise_peer: None,
        tls_dir: Some(folder.path().join("node")),
        tls: None,
        client_tls_dir: None,
        client_auth: ClientAuth::Anonymous,
        client_max_connections: 100,
        client_max_connections_per_account: None,
        zone: String::new(),
        memory_limit: Some(256 << 20),
        worker_threads: None,
        reserve: Some(1 << 20),
        segment_size: 1 << 20,
        journal_window: None,
        scrub_rate: 64 << 20,
        scrub_interval: Duration::from_secs(1),
        shutdown_grace: Duration::from_secs(5),
        log_format: LogFormat::Text,
        log: "info".to_owned(),
        controls: Controls::default(),
    }
}

async fn found(process: &NodeProcess, folder: &TempDir) {
    let read =
        |name: &str| std::fs::read_to_string(folder.path().join("operator").join(name)).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.crt")))
        .identity(Identity::from_pem(read("tls.crt"), read("tls.key")))
        .domain_name(CLUSTER);
    let url = format!("https://{}", process.peer_address());
    let endpoint = Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap();
    let mut admin = AdminServiceClient::new(endpoint.connect_lazy());
    let node = admin
        .get_node(GetNodeRequest {})
        .await
        .unwrap()
        .into_inner();
    let founder = Founder {
        node_id: node.node_id,
        name: node.name,
        peer_address: node.peer_address,
        client_address: node.client_address,
        zone: String::new(),
    };
    let request = BootstrapRequest {
        cluster_id: CLUSTER.to_owned(),
        founders: vec![founder],
        shards: 1,
        replication_factor: 1,
    };
    admin.bootstrap(request).await.unwrap();
}

/// Sends 4 MiB, so that the first segment of 1 MiB is full.
async fn fill(process: &NodeProcess) {
    let url = format!("http://{}", process.client_address());
    let channel = Endpoint::from_shared(url).unwrap().connect_lazy();
    let queue = Some(QueueRef {
        namespace: "default".to_owned(),
        name: "orders".to_owned(),
    });
    let request = CreateQueueRequest {
        queue: queue.clone(),
        spec: Some(QueueSpec {
            partitions: 1,
            ..QueueSpec::default()
        }),
    };
    let mut queues = QueueServiceClient::new(channel.clone());
    let begun = Instant::now();
    while let Err(status) = queues.create_queue(request.clone()).await {
        assert!(begun.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut messages = MessageServiceClient::new(channel);
    for _ in 0..40 {
        let request = SendRequest {
            queue: queue.clone(),
            messages: vec![OutgoingMessage {
                body: vec![7; 100 << 10].into(),
                ..OutgoingMessage::default()
            }],
            ..SendRequest::default()
        };
        messages.send(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_journal_rots_stops_serving_and_says_where() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let folder = tempfile::tempdir().unwrap();
    certificates::issue(folder.path(), CLUSTER);
    let walker = Some(env!("CARGO_BIN_EXE_roadstead-node").into());
    let mut process = NodeProcess::start_with(config(&folder), walker)
        .await
        .unwrap();
    found(&process, &folder).await;
    fill(&process).await;
    let metrics = process.node().store().metrics();
    let begun = Instant::now();
    while metrics.read().scrubs < 2 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", metrics.read());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sound = tokio::time::timeout(Duration::ZERO, process.failed()).await;
    assert!(sound.is_err(), "nothing is wrong yet");

    flip(&folder.path().join("data/journal/00000000"), 500_000);
    let ending = tokio::time::timeout(PATIENCE, process.failed()).await;
    let why = ending.expect("the node stops serving").why;
    println!("{why}");
    let (_, place) = why
        .split_once("journal/00000000 is damaged at byte ")
        .unwrap();
    let offset: u64 = place.split(':').next().unwrap().parse().unwrap();
    assert!((390_000..=500_000).contains(&offset), "{why}");
    assert!(process.node().readiness().is_err());
    process.kill().await;
}
