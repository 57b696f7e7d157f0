//! A node as a process runs it: storage, listeners, signals. Several fit into one process.

mod clock;
mod listeners;
pub mod logging;
mod members;
mod memory;
mod observer;
mod rebuild;
mod replacement;
pub mod scrub;
pub mod storage;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::{BootstrapRequest, BootstrapResponse};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use clock::SystemClock;

use self::listeners::Listeners;
use self::members::Members;
use self::observer::Observer;
use self::storage::{Opened, Storage};
use crate::auth::Principal;
use crate::config::NodeConfig;
use crate::gateway::ApiError;
use crate::node::{Ending, Identity, Node, NodeParts};
use crate::raft::timing::Timing;
use crate::scope::NodeScope;
use crate::shard::ShardOptions;
use crate::store::StoreFailure;
use crate::store::drivers::StoreThreads;
use crate::tls::{PeerTls, Reloader};
use crate::transport::grpc::GrpcTransport;

/// How long open calls may take once the node has handed over.
const CLOSING: Duration = Duration::from_secs(2);

/// A running node with its three listeners.
///
/// Its futures are boxed, so that what a node is made of is compiled into this crate, and not again
/// into each program that starts one.
pub struct NodeProcess {
    node: Arc<Node<TokioRuntime>>,
    scope: NodeScope<TokioRuntime>,
    threads: StoreThreads,
    observer: Arc<Observer>,
    servers: JoinSet<anyhow::Result<()>>,
    stages: Stages,
    addresses: [SocketAddr; 3],
}

/// How the listeners end.
#[derive(Clone, Default)]
struct Stages {
    /// Cancelled: clients are taken in no more, and their connections end when their calls have.
    drain: CancellationToken,
    /// Cancelled when they all have.
    drained: CancellationToken,
    /// Cancelled: connections break.
    stop: CancellationToken,
}

impl NodeProcess {
    /// Opens the listeners and the data directory and starts the node.
    ///
    /// Liveness is answered at once, readiness when the node can serve.
    ///
    /// # Errors
    /// When the configuration, the certificates, an address or the data cannot be used.
    pub fn start(config: NodeConfig) -> BoxFuture<'static, anyhow::Result<Self>> {
        Self::start_with(config, None)
    }

    /// As [`start`](Self::start); `walker` (the `roadstead-node` binary) reads every row of the
    /// data in a process of its own: first, after a crash, and then now and then.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with(
        config: NodeConfig,
        walker: Option<PathBuf>,
    ) -> BoxFuture<'static, anyhow::Result<Self>> {
        Self::open(config, walker).boxed()
    }

    async fn open(mut config: NodeConfig, walker: Option<PathBuf>) -> anyhow::Result<Self> {
        config.validate()?;
        let listeners = Listeners::open(&config).await?;
        config.fill_addresses(listeners.client_address, listeners.peer_address);
        let addresses = [
            listeners.client_address,
            listeners.peer_address,
            listeners.http_address,
        ];
        let stages = Stages::default();
        let observer = Arc::new(listeners.observer());
        let mut servers = JoinSet::new();
        let serving = listeners.serve_http(&mut servers, &observer, &stages.stop);

        let limit = memory::limit(config.memory_limit);
        let peer_tls = serving.peer_tls();
        let Storage {
            data_dir,
            store,
            threads,
        } = open(&config, limit, walker, &peer_tls).await?;
        let members = Members::new(data_dir.members(), Arc::clone(&peer_tls));
        let cluster = data_dir.cluster_id().unwrap_or_default();
        rebuild::run(&store, cluster, &members).await?;
        let former = data_dir.replaces();
        let scope = NodeScope::default();
        let parts = NodeParts {
            identity: identity(&config),
            timing: Timing::default(),
            data_dir,
            store,
            transport: Arc::new(GrpcTransport::new(peer_tls)),
            clock: Arc::new(SystemClock::default()),
            scope: scope.clone(),
            controls: config.controls,
            shard_options: ShardOptions {
                intake_bytes: memory::intake_bytes(limit),
                unread_bytes: memory::unread_bytes(limit),
                ..ShardOptions::default()
            },
        };
        let node = Node::start(parts).await.context("the node cannot start")?;
        observer.watch(&node);
        if let Some(former) = former {
            scope.spawn(replacement::take_place(Arc::clone(&node), members, former));
        }
        serving.serve(&mut servers, &node, &stages);
        tracing::info!(
            node = %format_args!("{:016x}", node.node_id()),
            name = config.name,
            client = %addresses[0],
            peer = %addresses[1],
            http = %addresses[2],
            memory = limit,
            "node started"
        );
        Ok(Self {
            node,
            scope,
            threads,
            observer,
            servers,
            stages,
            addresses,
        })
    }

    /// Address of the client listener.
    pub fn client_address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Address of the peer and admin listener.
    pub fn peer_address(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// Address of the HTTP listener.
    pub fn http_address(&self) -> SocketAddr {
        self.addresses[2]
    }

    /// The node itself.
    pub fn node(&self) -> &Arc<Node<TokioRuntime>> {
        &self.node
    }

    /// Whether its data was found damaged: started anew, it mends it or gives it up.
    pub fn is_damaged(&self) -> bool {
        matches!(
            self.node.store().failure().get(),
            Some(StoreFailure::Damage(_))
        )
    }

    /// Forms the cluster of these founders, or hears that it is formed.
    ///
    /// # Errors
    /// As for `AdminService.Bootstrap`.
    pub fn bootstrap(
        &self,
        request: BootstrapRequest,
    ) -> BoxFuture<'static, Result<BootstrapResponse, ApiError>> {
        let admin = self.node.admin();
        async move { admin.bootstrap(&Principal::Operator, request).await }.boxed()
    }

    /// Waits until the node cannot go on by itself, and says why.
    pub fn failed(&mut self) -> BoxFuture<'_, Ending> {
        let node = Arc::clone(&self.node);
        let failed = async move {
            loop {
                tokio::select! {
                    biased;
                    ending = node.ending() => return ending,
                    Some(ended) = self.servers.join_next() => {
                        let why = match ended {
                            Ok(Ok(())) => continue,
                            Ok(Err(error)) => format!("{error:#}"),
                            Err(error) => format!("a listener ended: {error}"),
                        };
                        return Ending { why, in_order: true };
                    }
                }
            }
        };
        failed.boxed()
    }

    /// Stops in order: moves leaderships away within `grace`, finishes what clients have begun,
    /// then closes connections and files.
    pub fn shutdown(self, grace: Duration) -> BoxFuture<'static, ()> {
        self.close(grace).boxed()
    }

    async fn close(self, grace: Duration) {
        self.observer.stopping();
        self.node.store().stop_scrubbing();
        self.node.retire(grace).await;
        self.stages.drain.cancel();
        let drained = self.stages.drained.cancelled();
        if tokio::time::timeout(CLOSING, drained).await.is_err() {
            tracing::info!("calls that were still open are broken off");
        }
        self.node.stop().await;
        self.stages.stop.cancel();
        let (node, threads) = (self.node, self.threads);
        let closed = tokio::task::spawn_blocking(move || {
            threads.join();
            node.mark_clean();
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the store did not close in order");
        }
    }

    /// Stops at once, as if the process had been killed: nothing is handed over or finished, and
    /// the next start takes the data directory for one of a crash.
    pub fn kill(self) -> BoxFuture<'static, ()> {
        self.stages.stop.cancel();
        self.scope.stop();
        self.node.store().close();
        let threads = self.threads;
        let joined = async move {
            if let Err(error) = tokio::task::spawn_blocking(move || threads.join()).await {
                tracing::warn!(%error, "the store did not close in order");
            }
        };
        joined.boxed()
    }
}

/// Opens the data directory; where that is damaged and the cluster can do without it, an empty
/// one in its place.
async fn open(
    config: &NodeConfig,
    memory: u64,
    walker: Option<PathBuf>,
    tls: &Arc<Reloader<PeerTls>>,
) -> anyhow::Result<Storage> {
    let config = Arc::new(config.clone());
    let open = || {
        let (config, walker) = (Arc::clone(&config), walker.clone());
        tokio::task::spawn_blocking(move || Storage::open(&config, memory, walker.as_deref()))
    };
    let damaged = match open().await?? {
        Opened::Sound(storage) => return Ok(storage),
        Opened::Damaged(damaged) => damaged,
    };
    tracing::error!(damage = %damaged.damage, "the data is damaged; the cluster is asked");
    let members = Members::new(damaged.data_dir.members(), Arc::clone(tls));
    let cluster = damaged.data_dir.cluster_id().unwrap_or_default();
    let node = damaged.data_dir.node_id();
    let given_up = replacement::give_up(&members, cluster, node).await;
    given_up.map_err(|why| damaged.why_it_stays(&why))?;
    let kept = tokio::task::spawn_blocking(|| damaged.set_aside()).await??;
    tracing::warn!(kept = %kept.display(), "the data is set aside; this is a new node");
    match open().await?? {
        Opened::Sound(storage) => Ok(storage),
        Opened::Damaged(again) => bail!(again.damage),
    }
}

fn identity(config: &NodeConfig) -> Identity {
    Identity {
        name: config.name.clone(),
        zone: config.zone.clone(),
        peer_address: config.peer_address().to_owned(),
        client_address: config.client_address().to_owned(),
    }
}
