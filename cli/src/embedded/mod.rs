//! A cluster inside of this process: for development and demonstrations.

mod certificates;
pub mod manifests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use roadstead_client::proto::{BootstrapRequest, Founder};
use roadstead_node::config::{ClientAuth, LogFormat, NodeConfig};
use roadstead_node::controls::Controls;
use roadstead_node::process::NodeProcess;
use tempfile::TempDir;
use tokio::time::sleep;

const READY: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(10);
/// Shards of a cluster for which nobody says how many.
const SHARDS: u32 = 8;

/// What kind of cluster.
#[derive(Debug)]
pub struct Options {
    /// 1, or at least 3.
    pub nodes: u16,
    /// `None`: those that the data has, else 8.
    pub shards: Option<u32>,
    /// Where data is kept; `None`: in a temporary folder that goes with the cluster.
    pub data_dir: Option<PathBuf>,
    /// Port of the first node's client listener; 0: any.
    pub port: u16,
}

/// One node.
pub struct EmbeddedNode {
    /// `node-1` and so on.
    pub name: String,
    pub id: u64,
    pub client: SocketAddr,
    pub peer: SocketAddr,
    pub http: SocketAddr,
    /// `None` once it was killed.
    process: Option<NodeProcess>,
}

/// Nodes on loopback, with anonymous clients.
pub struct Cluster {
    pub id: String,
    pub nodes: Vec<EmbeddedNode>,
    /// What an administrator shows to the admin listeners: ca.crt, tls.crt, tls.key.
    pub admin_tls: PathBuf,
    /// Goes with the cluster.
    temporary: Option<TempDir>,
}

impl Cluster {
    /// Starts the nodes, founds the cluster unless it exists, and waits until every node can serve.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let (directory, temporary) = if let Some(directory) = &options.data_dir {
            (directory.clone(), None)
        } else {
            let temporary = TempDir::with_prefix("roadstead-")?;
            (temporary.path().to_owned(), Some(temporary))
        };
        let held = nodes_in(&directory);
        if held > 0 && held != usize::from(options.nodes) {
            bail!(
                "{} holds the data of {held} nodes, not of {}: say --nodes {held}, or name another \
                 folder",
                directory.display(),
                options.nodes
            );
        }
        let id = certificates::prepare(&directory)?;
        let mut nodes = Vec::new();
        for number in 1..=options.nodes {
            let port = if number == 1 { options.port } else { 0 };
            nodes.push(start_node(&directory, number, port).await?);
        }
        let admin_tls = directory.join("admin");
        let cluster = Self {
            id,
            nodes,
            admin_tls,
            temporary,
        };
        cluster.found(options.shards.unwrap_or(SHARDS)).await?;
        if let Err(refused) = cluster.check_shards(options, &directory) {
            cluster.stop().await;
            return Err(refused);
        }
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    /// Data keeps its shards: another number of them cannot be had.
    fn check_shards(&self, options: &Options, directory: &Path) -> anyhow::Result<()> {
        let process = self.nodes.iter().find_map(|node| node.process.as_ref());
        let held = process.and_then(|process| {
            let catalog = process.node().catalog();
            catalog.read(|catalog| catalog.cluster().map(|cluster| cluster.shards))
        });
        let (Some(held), Some(asked)) = (held.map(u32::from), options.shards) else {
            return Ok(());
        };
        if held != asked {
            bail!(
                "{} holds the data of {held} shards, not of {asked}: say --shards {held}, or name \
                 another folder",
                directory.display()
            );
        }
        Ok(())
    }

    /// host:port of every client listener.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.client.to_string())
            .collect()
    }

    async fn found(&self, shards: u32) -> anyhow::Result<()> {
        let founder = |node: &EmbeddedNode| Founder {
            node_id: node.id,
            name: node.name.clone(),
            peer_address: node.peer.to_string(),
            client_address: node.client.to_string(),
            zone: String::new(),
        };
        let request = BootstrapRequest {
            cluster_id: self.id.clone(),
            founders: self.nodes.iter().map(founder).collect(),
            shards,
            replication_factor: if self.nodes.len() >= 3 { 3 } else { 1 },
        };
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        // Each waits for a majority of the others.
        let orders = processes.map(|process| tokio::spawn(process.bootstrap(request.clone())));
        for order in orders.collect::<Vec<_>>() {
            order.await?.context("cannot found the cluster")?;
        }
        Ok(())
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        for node in &self.nodes {
            let Some(process) = &node.process else {
                continue;
            };
            while let Err(reason) = process.node().readiness() {
                if started.elapsed() > READY {
                    bail!("{} is not ready after {READY:?}: {reason}", node.name);
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Stops one node at once, as a crash would: nothing is handed over.
    pub async fn kill(&mut self, id: u64) {
        let node = self.nodes.iter_mut().find(|node| node.id == id);
        if let Some(process) = node.and_then(|node| node.process.take()) {
            process.kill().await;
        }
    }

    /// Waits until a node cannot go on by itself, and says which and why.
    pub async fn failed(&mut self) -> String {
        let running = self.nodes.iter_mut();
        let running = running.filter_map(|node| Some((&node.name, node.process.as_mut()?)));
        let failures = running.map(|(name, process)| {
            Box::pin(async move { format!("{name} stopped: {}", process.failed().await.why) })
        });
        futures_util::future::select_all(failures).await.0
    }

    /// Stops all nodes: in order where the data is kept, at once where it goes with the cluster.
    pub async fn stop(mut self) {
        let kept = self.temporary.is_none();
        let processes = self.nodes.iter_mut().filter_map(|node| node.process.take());
        let stops = processes.map(|process| {
            tokio::spawn(async move {
                if kept {
                    // Where all stop at once, nobody is there to take leaderships over.
                    process.shutdown(Duration::ZERO).await;
                } else {
                    process.kill().await;
                }
            })
        });
        for stop in stops.collect::<Vec<_>>() {
            // A node that could not stop in order is found out at its next start.
            let _ = stop.await;
        }
    }
}

/// Nodes whose data a folder holds.
fn nodes_in(directory: &Path) -> usize {
    let is_there = |number: &u16| directory.join(format!("node-{number}")).is_dir();
    (1..=u16::MAX).take_while(is_there).count()
}

async fn start_node(directory: &Path, number: u16, port: u16) -> anyhow::Result<EmbeddedNode> {
    let name = format!("node-{number}");
    let listen = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let config = NodeConfig {
        data_dir: directory.join(&name),
        name: name.clone(),
        client_listen: listen(port),
        peer_listen: listen(0),
        http_listen: listen(0),
        advertise_client: None,
        advertise_peer: None,
        tls_dir: Some(directory.join("node")),
        tls: None,
        client_tls_dir: None,
        client_auth: ClientAuth::Anonymous,
        client_max_connections: 2_000,
        client_max_connections_per_account: None,
        zone: String::new(),
        worker_threads: None,
        memory_limit: Some(512 << 20),
        reserve: None,
        segment_size: 64 << 20,
        journal_window: None,
        scrub_rate: 8 << 20,
        scrub_interval: Duration::from_hours(24),
        shutdown_grace: GRACE,
        log_format: LogFormat::Text,
        log: "off".into(),
        controls: Controls::default(),
    };
    let process = NodeProcess::start(config).await;
    let process = process.with_context(|| format!("cannot start {name}"))?;
    Ok(EmbeddedNode {
        name,
        id: process.node().node_id(),
        client: process.client_address(),
        peer: process.peer_address(),
        http: process.http_address(),
        process: Some(process),
    })
}
