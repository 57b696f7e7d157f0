//! Three `roadstead-node` processes. They end with the test, also when that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, read_to_string};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use roadstead_proto::v1::admin_service_client::AdminServiceClient;
use roadstead_proto::v1::cluster_service_client::ClusterServiceClient;
use roadstead_proto::v1::peer_service_client::PeerServiceClient;
use roadstead_proto::v1::queue_service_client::QueueServiceClient;
use roadstead_proto::v1::{
    BootstrapRequest, CreateQueueRequest, Founder, GetClusterStatusRequest,
    GetClusterStatusResponse, GetNodeRequest, GetQueueStatsRequest, QueueRef, QueueSpec,
    ReplaceMemberRequest,
};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::certificates;

const CLUSTER: &str = "5f9d2e31-0000-4000-8000-00000000fa11";
const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(50);

struct Node {
    /// Of the client, the peer and the HTTP listener.
    ports: [u16; 3],
    child: Option<Child>,
}

/// The processes and their data.
pub struct Cluster {
    folder: TempDir,
    nodes: Vec<Node>,
    flags: &'static [&'static str],
}

impl Cluster {
    /// Starts the nodes with `flags` beside the usual ones, and founds the cluster.
    pub async fn start(flags: &'static [&'static str]) -> Self {
        // Another test of this process may have chosen it already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        certificates::issue(folder.path(), CLUSTER);
        let ports = free_ports();
        let nodes = ports.chunks(3).map(|ports| Node {
            ports: ports.try_into().unwrap(),
            child: None,
        });
        let nodes = nodes.collect();
        let mut cluster = Self {
            folder,
            nodes,
            flags,
        };
        for index in 0..NODES {
            cluster.start_node(index);
        }
        cluster.found().await;
        cluster
    }

    /// Starts one node on the data that it had.
    pub fn start_node(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let name = format!("node-{}", index + 1);
        let [client, peer, http] = node.ports.map(|port| format!("127.0.0.1:{port}"));
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.folder.path().join(format!("{name}.log")))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_roadstead-node"))
            .arg("--data-dir")
            .arg(self.folder.path().join(&name))
            .args(["--name", &name, "--client-auth", "anonymous"])
            .args(["--client-listen", &client, "--peer-listen", &peer])
            .args(["--http-listen", &http, "--memory-limit", "512Mi"])
            .args(self.flags)
            .arg("--tls-dir")
            .arg(self.folder.path().join("node"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        node.child = Some(child);
    }

    /// The data of one node.
    pub fn data(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("node-{}", index + 1))
    }

    /// The id of one node, as soon as it answers.
    pub async fn node_id(&self, index: usize) -> u64 {
        let node = self
            .until("a node answers", async || {
                let node = self.admin(index).get_node(GetNodeRequest {}).await;
                node.map_err(|status| status.to_string())
            })
            .await;
        node.into_inner().node_id
    }

    /// The ids of all members.
    pub async fn members(&self) -> BTreeSet<u64> {
        let status = self.until("a node answers", async || self.status().await);
        let members = status.await.members;
        members.into_iter().map(|member| member.node_id).collect()
    }

    /// Waits for a line in the log of one node that holds `text`; gives what it logged.
    pub async fn logged(&self, index: usize, text: &str) -> String {
        let log = self.folder.path().join(format!("node-{}.log", index + 1));
        self.until(text, async || {
            let log = read_to_string(&log).unwrap_or_default();
            log.contains(text).then_some(log).ok_or(String::new())
        })
        .await
    }

    /// Waits until a node has ended by itself; whether it said that all was well.
    pub async fn ended(&mut self, index: usize) -> bool {
        let began = Instant::now();
        loop {
            let child = self.nodes[index].child.as_mut().unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                self.nodes[index].child = None;
                return status.success();
            }
            assert!(began.elapsed() < PATIENCE, "it goes on\n{}", self.logs());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.nodes[index].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the orderly end.
    pub async fn terminate(&mut self, index: usize) {
        let child = self.nodes[index].child.as_mut().unwrap();
        let mut kill = Command::new("kill");
        let sent = kill.args(["-TERM", &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let began = Instant::now();
        while self.nodes[index]
            .child
            .as_mut()
            .unwrap()
            .try_wait()
            .unwrap()
            .is_none()
        {
            assert!(
                began.elapsed() < PATIENCE,
                "it does not stop\n{}",
                self.logs()
            );
            tokio::time::sleep(PAUSE).await;
        }
        self.nodes[index].child = None;
    }

    /// Connections to the client listeners, one per node.
    pub fn channels(&self) -> Vec<Channel> {
        let channel = |node: &Node| {
            let url = format!("http://127.0.0.1:{}", node.ports[0]);
            let endpoint = Endpoint::from_shared(url).unwrap();
            endpoint
                .connect_timeout(Duration::from_millis(200))
                .tcp_nodelay(true)
                .connect_lazy()
        };
        self.nodes.iter().map(channel).collect()
    }

    async fn found(&self) {
        let mut founders = Vec::new();
        for index in 0..NODES {
            let node = self
                .until("a node answers", async || {
                    let node = self.admin(index).get_node(GetNodeRequest {}).await;
                    node.map_err(|status| status.to_string())
                })
                .await
                .into_inner();
            founders.push(Founder {
                node_id: node.node_id,
                name: node.name,
                peer_address: node.peer_address,
                client_address: node.client_address,
                zone: String::new(),
            });
        }
        let request = BootstrapRequest {
            cluster_id: CLUSTER.to_owned(),
            founders,
            shards: 8,
            replication_factor: 3,
        };
        let orders = (0..NODES).map(|index| {
            let (mut admin, request) = (self.admin(index), request.clone());
            tokio::spawn(async move { admin.bootstrap(request).await })
        });
        for order in orders.collect::<Vec<_>>() {
            order.await.unwrap().unwrap();
        }
    }

    /// A queue `default/probes`.
    pub async fn create_queue(&self, partitions: u32) {
        let request = CreateQueueRequest {
            queue: Some(probes()),
            spec: Some(QueueSpec {
                partitions,
                ..QueueSpec::default()
            }),
        };
        self.until("a queue is made", async || {
            let mut queues = QueueServiceClient::new(self.channels().swap_remove(0));
            let made = queues.create_queue(request.clone()).await;
            made.map(drop).map_err(|status| status.to_string())
        })
        .await;
    }

    /// Messages that the queue holds, as soon as every partition is counted.
    pub async fn ready_messages(&self) -> u64 {
        let request = GetQueueStatsRequest {
            queue: Some(probes()),
            ..GetQueueStatsRequest::default()
        };
        self.until("every partition is counted", async || {
            let mut queues = QueueServiceClient::new(self.channels().swap_remove(0));
            let answer = queues.get_queue_stats(request.clone()).await;
            let answer = answer.map_err(|status| status.to_string())?.into_inner();
            match answer.stats {
                Some(stats) if stats.partitions_unavailable == 0 => Ok(stats.ready),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Waits until every node serves and has all that it should have.
    pub async fn wait_until_redundant(&self) {
        self.until("every node has caught up", async || {
            for index in 0..NODES {
                let node = self.admin(index).get_node(GetNodeRequest {}).await;
                let node = node.map_err(|status| status.to_string())?.into_inner();
                if !node.ready {
                    return Err(format!("{}: {}", node.name, node.reason));
                }
            }
            let status = self.status().await?;
            let up = status.members.iter().filter(|member| member.caught_up);
            let led = status.shards.iter().all(|shard| shard.leader != 0);
            if up.count() == NODES && status.members.len() == NODES && led {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await;
    }

    /// The node that leads most shards.
    pub async fn busiest(&self) -> usize {
        self.until("somebody leads", async || {
            let status = self.status().await?;
            let mut led = BTreeMap::<u64, usize>::new();
            for shard in status.shards.iter().filter(|shard| shard.shard != 0) {
                *led.entry(shard.leader).or_default() += 1;
            }
            let most = led.into_iter().max_by_key(|(_, shards)| *shards);
            let leader = most.map_or(0, |(leader, _)| leader);
            let member = status
                .members
                .iter()
                .find(|member| member.node_id == leader);
            let name = member.map_or("", |member| &member.name);
            let number = name.trim_start_matches("node-").parse::<usize>();
            number
                .map(|number| number - 1)
                .map_err(|_| format!("{status:?}"))
        })
        .await
    }

    async fn status(&self) -> Result<GetClusterStatusResponse, String> {
        let mut last = String::new();
        for channel in self.channels() {
            let mut cluster = ClusterServiceClient::new(channel);
            match cluster.get_cluster_status(GetClusterStatusRequest {}).await {
                Ok(status) => return Ok(status.into_inner()),
                Err(status) => last = status.to_string(),
            }
        }
        Err(last)
    }

    /// Has the cluster give up the data of a node that is away.
    pub async fn give_up(&self, former: u64) {
        let request = ReplaceMemberRequest {
            cluster_id: CLUSTER.to_owned(),
            former,
            successor: None,
        };
        self.until("the node is given up", async || {
            let mut last = String::new();
            for index in 0..NODES {
                let mut peer = PeerServiceClient::new(self.peer(index, "node"));
                match peer.replace_member(request.clone()).await {
                    Ok(_) => return Ok(()),
                    Err(status) => last = status.to_string(),
                }
            }
            Err(last)
        })
        .await;
    }

    fn admin(&self, index: usize) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.peer(index, "operator"))
    }

    /// A connection to the peer listener with the certificate of this role.
    fn peer(&self, index: usize, role: &str) -> Channel {
        let read = |name: &str| read_to_string(self.folder.path().join(role).join(name)).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.crt")))
            .identity(Identity::from_pem(read("tls.crt"), read("tls.key")))
            .domain_name(CLUSTER);
        let url = format!("https://127.0.0.1:{}", self.nodes[index].ports[1]);
        let endpoint = Endpoint::from_shared(url).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    }

    async fn until<T>(&self, what: &str, mut check: impl AsyncFnMut() -> Result<T, String>) -> T {
        let begin = Instant::now();
        loop {
            match check().await {
                Ok(found) => return found,
                Err(why) if begin.elapsed() > PATIENCE => panic!("{what}: {why}\n{}", self.logs()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn logs(&self) -> String {
        let log = |number| {
            let path = self.folder.path().join(format!("node-{number}.log"));
            read_to_string(path).unwrap_or_default()
        };
        (1..=NODES).map(log).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in 0..NODES {
            self.kill(index);
        }
    }
}

/// The queue.
pub fn probes() -> QueueRef {
    QueueRef {
        namespace: "default".to_owned(),
        name: "probes".to_owned(),
    }
}

fn free_ports() -> Vec<u16> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners: Vec<_> = (0..NODES * 3).map(bind).collect();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    listeners.iter().map(port).collect()
}
