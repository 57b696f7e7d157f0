//! A stand-in for a cluster: real gRPC services on loopback over a queue in memory, made to fail on
//! request.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod queue;
mod services;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use roadstead_client::Client;
use roadstead_client::proto::cluster_service_server::ClusterServiceServer;
use roadstead_client::proto::message_service_server::MessageServiceServer;
use roadstead_client::proto::queue_service_server::QueueServiceServer;
use roadstead_client::proto::{
    GetTopologyResponse, NodeAddress, PeekMessagesRequest, PeekMessagesResponse,
    RedriveMessagesRequest, RedriveMessagesResponse, ShardLeader,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;

use self::queue::Queue;

/// What goes wrong next, each once per unit.
#[derive(Debug, Default)]
pub struct Faults {
    /// Send batches to refuse for now.
    pub refuse_sends: u32,
    /// Send batches to accept without an answer: the stream breaks instead.
    pub lose_answers: u32,
    /// Settle batches to carry out without an answer: the stream breaks instead.
    pub lose_settles: u32,
    /// Unary calls to answer with UNAVAILABLE.
    pub refuse_calls: u32,
    /// Time before each answer to a send batch.
    pub delay: Duration,
    /// A node that accepts batches and answers none, as if it hung.
    pub mute: Option<usize>,
}

#[derive(Debug, Default)]
pub struct State {
    pub queues: BTreeMap<String, Queue>,
    pub faults: Faults,
    /// Node by shard; shards are numbered from 1, as partitions are from 0.
    pub leaders: BTreeMap<u32, usize>,
    pub term: u64,
    pub addresses: Vec<SocketAddr>,
    /// Batches that came to a node that does not lead their partition.
    pub forwarded: u32,
    /// Messages per batch, in order of arrival.
    pub batches: Vec<usize>,
    /// What a walk is answered with, page by page, and what it asked.
    pub pages: VecDeque<PeekMessagesResponse>,
    pub peeks: Vec<PeekMessagesRequest>,
    /// The same of a redrive.
    pub pieces: VecDeque<RedriveMessagesResponse>,
    pub redrives: Vec<RedriveMessagesRequest>,
}

impl State {
    pub fn queue(&mut self) -> &mut Queue {
        self.queues
            .get_mut("default/q")
            .expect("every test has the queue default/q")
    }
}

#[derive(Debug, Clone, Default)]
pub struct Shared {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// The cluster; stops with its value.
pub struct Cluster {
    pub shared: Shared,
    nodes: Vec<Option<Runtime>>,
    holes: Vec<std::net::TcpListener>,
}

impl Cluster {
    /// `nodes` nodes and the queue `default/q`, whose partitions are led by the nodes in turn.
    pub fn start(nodes: usize, queue: Queue) -> Self {
        let shared = Shared::default();
        {
            let mut state = shared.lock();
            state.leaders = (0..queue.partitions)
                .map(|p| (p + 1, p as usize % nodes))
                .collect();
            state.term = 1;
            state.queues.insert("default/q".into(), queue);
        }
        let mut cluster = Self {
            shared,
            nodes: Vec::new(),
            holes: Vec::new(),
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        for number in 0..nodes {
            let (runtime, address) = serve(number, any, cluster.shared.clone());
            cluster.nodes.push(Some(runtime));
            cluster.shared.lock().addresses.push(address);
        }
        cluster
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.shared
            .lock()
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    pub async fn client(&self) -> Client {
        Client::builder()
            .endpoints(self.endpoints())
            .connect()
            .await
            .unwrap()
    }

    /// Ends a node at once, with all its connections; what it led goes to its neighbour.
    pub fn kill(&mut self, node: usize) {
        if let Some(runtime) = self.nodes[node].take() {
            runtime.shutdown_background();
        }
        let count = self.nodes.len();
        let mut state = self.shared.lock();
        state.term += 1;
        for leader in state.leaders.values_mut().filter(|leader| **leader == node) {
            *leader = (node + 1) % count;
        }
    }

    /// Ends a node; its address takes connections from then on and says nothing. It leads what it
    /// led.
    pub fn silence(&mut self, node: usize) {
        if let Some(runtime) = self.nodes[node].take() {
            runtime.shutdown_background();
        }
        let address = self.shared.lock().addresses[node];
        self.holes.push(bind(address));
    }

    /// Starts a killed node on its old address.
    pub fn restart(&mut self, node: usize) {
        let address = self.shared.lock().addresses[node];
        let (runtime, _) = serve(node, address, self.shared.clone());
        self.nodes[node] = Some(runtime);
    }

    /// Gives the lead of every shard to one node.
    pub fn lead(&self, node: usize) {
        let mut state = self.shared.lock();
        state.term += 1;
        state.leaders.values_mut().for_each(|leader| *leader = node);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes
            .drain(..)
            .flatten()
            .for_each(Runtime::shutdown_background);
    }
}

fn serve(number: usize, address: SocketAddr, shared: Shared) -> (Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = bind(address);
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        let node = services::Node { number, shared };
        let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
        tonic::transport::Server::builder()
            .add_service(QueueServiceServer::new(node.clone()))
            .add_service(ClusterServiceServer::new(node.clone()))
            .add_service(MessageServiceServer::new(node))
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
    (runtime, address)
}

/// The address may still be held by what was ended a moment ago.
fn bind(address: SocketAddr) -> std::net::TcpListener {
    for _ in 0..200 {
        if let Ok(listener) = std::net::TcpListener::bind(address) {
            return listener;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{address} stays in use");
}

fn topology(state: &State) -> GetTopologyResponse {
    let nodes = (1..)
        .zip(&state.addresses)
        .map(|(node_id, address)| NodeAddress {
            node_id,
            name: format!("node-{node_id}"),
            client_address: address.to_string(),
        });
    let shards = state.leaders.iter().map(|(&shard, &node)| ShardLeader {
        shard,
        leader: node as u64 + 1,
        term: state.term,
    });
    GetTopologyResponse {
        cluster_id: "stand-in".into(),
        version: state.term,
        nodes: nodes.collect(),
        shards: shards.collect(),
    }
}
