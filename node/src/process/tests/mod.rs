//! One real node over TCP: founded, used, misused, stopped and started again.

mod admin;
mod misuse;

use std::path::Path;
use std::time::{Duration, Instant};

use prost_types::Duration as WireDuration;
use roadstead_proto::v1::admin_service_client::AdminServiceClient;
use roadstead_proto::v1::message_service_client::MessageServiceClient;
use roadstead_proto::v1::queue_service_client::QueueServiceClient;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    Ack, BootstrapRequest, CreateQueueRequest, Founder, GetNodeRequest, GetQueueRequest,
    OutgoingMessage, QueueRef, QueueSpec, ReceiveCredit, ReceiveRequest, ReceiveResponse,
    ReceiveStreamOpen, ReceiveStreamRequest, SendRequest, SettleRequest, Settlement,
    receive_stream_request,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as PemIdentity};
use tonic::{Code, Status};

use super::*;
use crate::config::{ClientAuth, LogFormat};
use crate::controls::Controls;
use crate::tls::testing::TestCa;

const CLUSTER: &str = "0f3a6b1c-0000-4000-8000-000000000001";
/// Beyond this something hangs.
const LIMIT: Duration = Duration::from_mins(1);

fn config(directory: &Path, ca: &TestCa) -> NodeConfig {
    NodeConfig {
        data_dir: directory.to_owned(),
        name: "node-0".to_owned(),
        client_listen: ([127, 0, 0, 1], 0).into(),
        peer_listen: ([127, 0, 0, 1], 0).into(),
        http_listen: ([127, 0, 0, 1], 0).into(),
        advertise_client: None,
        advertise_peer: None,
        tls_dir: None,
        tls: Some(ca.node(CLUSTER)),
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
        scrub_rate: 8 << 20,
        scrub_interval: Duration::from_hours(24),
        shutdown_grace: Duration::from_secs(5),
        log_format: LogFormat::Text,
        log: "info".to_owned(),
        controls: Controls::default(),
    }
}

async fn start(directory: &Path, ca: &TestCa) -> NodeProcess {
    tokio::time::timeout(LIMIT, NodeProcess::start(config(directory, ca)))
        .await
        .unwrap()
        .unwrap()
}

/// To the peer and admin listener, as the operator.
async fn as_operator(process: &NodeProcess, ca: &TestCa) -> Channel {
    let pems = ca.operator(CLUSTER);
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca.pem()))
        .identity(PemIdentity::from_pem(&pems.certificate, &pems.key))
        .domain_name(CLUSTER);
    let address = format!("https://{}", process.peer_address());
    let endpoint = Endpoint::from_shared(address)
        .unwrap()
        .tls_config(tls)
        .unwrap();
    endpoint.connect().await.unwrap()
}

async fn found(process: &NodeProcess, ca: &TestCa) {
    let mut admin = AdminServiceClient::new(as_operator(process, ca).await);
    let node = admin
        .get_node(GetNodeRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (node.cluster_id.as_str(), node.ready),
        ("", false),
        "{node:?}"
    );
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
        shards: 2,
        replication_factor: 1,
    };
    assert!(admin.bootstrap(request).await.unwrap().into_inner().founded);
}

async fn get(process: &NodeProcess, path: &str) -> String {
    let mut stream = TcpStream::connect(process.http_address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn until_ready(process: &NodeProcess) {
    let start = Instant::now();
    loop {
        let answer = get(process, "/readyz").await;
        if answer.starts_with("HTTP/1.1 200 ") {
            return;
        }
        assert!(start.elapsed() < LIMIT, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn orders() -> QueueRef {
    QueueRef {
        namespace: "default".to_owned(),
        name: "orders".to_owned(),
    }
}

fn message(body: impl Into<bytes::Bytes>) -> OutgoingMessage {
    OutgoingMessage {
        body: body.into(),
        ..OutgoingMessage::default()
    }
}

fn send(messages: Vec<OutgoingMessage>) -> SendRequest {
    SendRequest {
        queue: Some(orders()),
        messages,
        ..SendRequest::default()
    }
}

struct Client {
    channel: Channel,
    queues: QueueServiceClient<Channel>,
    messages: MessageServiceClient<Channel>,
}

impl Client {
    async fn connect(process: &NodeProcess) -> Self {
        let address = format!("http://{}", process.client_address());
        let channel = Endpoint::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self {
            queues: QueueServiceClient::new(channel.clone()),
            messages: MessageServiceClient::new(channel.clone()),
            channel,
        }
    }

    async fn create(&mut self) {
        let spec = Some(QueueSpec {
            partitions: 2,
            ..QueueSpec::default()
        });
        let request = CreateQueueRequest {
            queue: Some(orders()),
            spec,
        };
        self.queues.create_queue(request).await.unwrap();
    }

    async fn send(&mut self, messages: Vec<OutgoingMessage>) -> Result<(), Status> {
        let results = self
            .messages
            .send(send(messages))
            .await?
            .into_inner()
            .results;
        for result in results {
            if let Some(error) = result.error {
                return Err(Status::new(Code::from_i32(error.code), error.message));
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> ReceiveResponse {
        let request = ReceiveRequest {
            queue: Some(orders()),
            max_messages: 10,
            wait: Some(WireDuration {
                seconds: 10,
                nanos: 0,
            }),
            ..ReceiveRequest::default()
        };
        self.messages.receive(request).await.unwrap().into_inner()
    }

    async fn ack(&mut self, receipt: bytes::Bytes) -> Option<(Code, String)> {
        let settlements = vec![Settlement {
            receipt,
            action: Some(Action::Ack(Ack {})),
        }];
        let request = SettleRequest {
            queue: Some(orders()),
            settlements,
        };
        let results = match self.messages.settle(request).await {
            Ok(response) => response.into_inner().results,
            Err(status) => return Some((status.code(), status.message().to_owned())),
        };
        results[0]
            .error
            .as_ref()
            .map(|e| (Code::from_i32(e.code), e.message.clone()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_founded_used_stopped_and_started_again() {
    let (ca, directory) = (TestCa::new(), tempfile::tempdir().unwrap());
    let process = start(directory.path(), &ca).await;
    assert!(
        get(&process, "/readyz")
            .await
            .contains("belongs to no cluster")
    );
    found(&process, &ca).await;
    until_ready(&process).await;

    let mut client = Client::connect(&process).await;
    client.create().await;
    client
        .send(vec![message("first"), message("second")])
        .await
        .unwrap();
    let deliveries = client.receive().await.deliveries;
    let first = deliveries
        .iter()
        .find(|delivery| &delivery.body[..] == b"first")
        .unwrap();
    assert_eq!(client.ack(first.receipt.clone()).await, None);
    let stale = client.ack(first.receipt.clone()).await.unwrap();
    assert_eq!(stale.0, Code::NotFound, "{stale:?}");
    client.send(vec![message("third")]).await.unwrap();

    let metrics = get(&process, "/metrics").await;
    for moved in [
        "queue_lag{",
        "queue_sent_total{",
        "queue_delivered_total{",
        "queue_acked_total{",
        "raft_applied_index{",
        "commit_latency_seconds_count",
        "journal_fsync_seconds_count",
        "journal_written_bytes_total",
        "lmdb_bytes",
    ] {
        let start = format!("roadstead_{moved}");
        let of = |line: &&str| line.starts_with(&start) && !line.ends_with(" 0");
        assert!(
            metrics.lines().any(|line| of(&line)),
            "{moved} in\n{metrics}"
        );
    }

    let stopping = Instant::now();
    process.shutdown(Duration::from_secs(5)).await;
    assert!(
        stopping.elapsed() < Duration::from_secs(20),
        "{:?}",
        stopping.elapsed()
    );

    let process = start(directory.path(), &ca).await;
    until_ready(&process).await;
    let mut client = Client::connect(&process).await;
    let again = client.receive().await.deliveries;
    assert!(
        again.iter().any(|delivery| &delivery.body[..] == b"third"),
        "{again:?}"
    );
    process.kill().await;
}
