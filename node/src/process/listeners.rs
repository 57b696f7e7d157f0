//! The three listeners of a node: bound first, served as soon as there is something behind them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use openraft_rt_tokio::TokioRuntime;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::observer::Observer;
use super::{Stages, memory};
use crate::api::{
    Acceptor, Accounts, Authenticator, Budget, ClientListener, ConnectionCounts, Limits,
    PeerListener, Security, Streams,
};
use crate::auth::token::{ApiServer, TokenAuthenticator};
use crate::config::{ClientAuth, NodeConfig};
use crate::http;
use crate::node::Node;
use crate::tls::{ClientTls, PeerTls, RELOAD_INTERVAL, Reloader, Source};

/// Nodes, operators and people with admin certificates: more than any cluster has.
const MAX_PEER_CONNECTIONS: usize = 1_024;
/// How often the health service is told whether the node can serve.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);

/// Services whose health is told by name; the empty name is the node as a whole.
const HEALTH_NAMES: [&str; 4] = [
    "",
    "roadstead.v1.QueueService",
    "roadstead.v1.MessageService",
    "roadstead.v1.ClusterService",
];

type Servers = JoinSet<anyhow::Result<()>>;

/// Bound listeners and what they need to know their callers.
pub struct Listeners {
    pub client_address: SocketAddr,
    pub peer_address: SocketAddr,
    pub http_address: SocketAddr,
    http: TcpListener,
    rest: Waiting,
}

/// The gRPC listeners before there is a node behind them; connections wait in the backlog.
pub struct Waiting {
    client: TcpListener,
    peer: TcpListener,
    peer_tls: Arc<Reloader<PeerTls>>,
    client_tls: Option<Arc<Reloader<ClientTls>>>,
    authenticator: Authenticator,
    client_counts: ConnectionCounts,
    peer_counts: ConnectionCounts,
    max_connections: usize,
    /// Of requests, and of answers.
    listener_bytes: usize,
    streams: Streams,
}

impl Listeners {
    /// Reads certificates and binds the addresses.
    pub async fn open(config: &NodeConfig) -> anyhow::Result<Self> {
        let peer_tls = Arc::new(PeerTls::open(peer_source(config))?);
        let client_tls = match &config.client_tls_dir {
            None => None,
            Some(directory) => {
                let source = Source::Directory(directory.clone());
                Some(Arc::new(
                    ClientTls::open(source).context("--client-tls-dir")?,
                ))
            }
        };
        let authenticator = match config.client_auth {
            ClientAuth::Anonymous => {
                tracing::warn!(
                    "clients are anonymous: whoever reaches {} may do everything with every queue",
                    config.client_listen
                );
                Authenticator::Anonymous
            }
            ClientAuth::ServiceAccount => {
                let server = ApiServer::in_cluster()?;
                let accounts = Accounts::new(config.connections_per_account());
                Authenticator::Tokens(Arc::new(TokenAuthenticator::new(server)), accounts)
            }
        };
        let memory = memory::limit(config.memory_limit);
        let client = bind("--client-listen", config.client_listen).await?;
        let peer = bind("--peer-listen", config.peer_listen).await?;
        let http = bind("--http-listen", config.http_listen).await?;
        Ok(Self {
            client_address: client.local_addr()?,
            peer_address: peer.local_addr()?,
            http_address: http.local_addr()?,
            http,
            rest: Waiting {
                client,
                peer,
                peer_tls,
                client_tls,
                authenticator,
                client_counts: ConnectionCounts::default(),
                peer_counts: ConnectionCounts::default(),
                max_connections: config.client_max_connections as usize,
                listener_bytes: memory::listener_bytes(memory),
                streams: Streams::new(memory::streams(memory)),
            },
        })
    }

    /// Who will show what the listeners count.
    pub fn observer(&self) -> Observer {
        let rest = &self.rest;
        let connections = vec![
            ("client", rest.client_counts.clone()),
            ("peer", rest.peer_counts.clone()),
        ];
        Observer::new(
            connections,
            Arc::clone(&rest.peer_tls),
            rest.client_tls.clone(),
        )
    }

    /// Serves health and metrics; the other listeners wait for a node.
    pub fn serve_http(
        self,
        servers: &mut Servers,
        observer: &Arc<Observer>,
        stop: &CancellationToken,
    ) -> Waiting {
        let (observer, stop) = (Arc::clone(observer), stop.clone());
        servers.spawn(async move {
            http::serve(self.http, observer, stop)
                .await
                .context("the HTTP listener failed")
        });
        self.rest
    }
}

impl Waiting {
    /// Certificates for connecting to peers.
    pub fn peer_tls(&self) -> Arc<Reloader<PeerTls>> {
        Arc::clone(&self.peer_tls)
    }

    /// Serves the node until it is told to end.
    pub fn serve(self, servers: &mut Servers, node: &Arc<Node<TokioRuntime>>, stages: &Stages) {
        let stop = &stages.stop;
        let health = HealthReporter::new();
        spawn_until(servers, stop, tell_health(health.clone(), Arc::clone(node)));
        let peer_tls = Arc::clone(&self.peer_tls);
        spawn_until(servers, stop, async move {
            peer_tls.watch(RELOAD_INTERVAL).await;
        });
        let security = match self.client_tls {
            None => Security::Plain,
            Some(tls) => {
                let watched = Arc::clone(&tls);
                spawn_until(servers, stop, async move {
                    watched.watch(RELOAD_INTERVAL).await;
                });
                Security::Tls(tls)
            }
        };
        let client = ClientListener {
            acceptor: Acceptor {
                listener: self.client,
                security,
                limits: Limits::of(self.max_connections),
                requests: Budget::new(self.listener_bytes),
                answers: Budget::new(self.listener_bytes),
                counts: self.client_counts,
                stop: stop.clone(),
            },
            authenticator: self.authenticator,
            gateway: Arc::clone(node.gateway()),
            streams: self.streams,
            health: health.clone(),
        };
        let peer = PeerListener {
            acceptor: Acceptor {
                listener: self.peer,
                security: Security::Mutual(self.peer_tls),
                limits: Limits::of(MAX_PEER_CONNECTIONS),
                requests: Budget::new(0),
                answers: Budget::new(0),
                counts: self.peer_counts,
                stop: stop.clone(),
            },
            gateway: Arc::clone(node.gateway()),
            node: Arc::clone(node),
            health,
        };
        let (drain, drained) = (stages.drain.clone(), stages.drained.clone());
        servers.spawn(async move {
            let _drained = drained.drop_guard();
            client
                .serve(drain)
                .await
                .context("the client listener failed")
        });
        let stop = stop.clone();
        servers.spawn(async move {
            peer.serve(stop)
                .await
                .context("the peer and admin listener failed")
        });
    }
}

fn spawn_until(
    servers: &mut Servers,
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let task = stop.clone().run_until_cancelled_owned(task);
    servers.spawn(async move {
        task.await;
        Ok(())
    });
}

/// Tells load balancers and clients whether this node can serve.
async fn tell_health(health: HealthReporter, node: Arc<Node<TokioRuntime>>) {
    loop {
        let status = match node.readiness() {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        for name in HEALTH_NAMES {
            health.set_service_status(name, status).await;
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

fn peer_source(config: &NodeConfig) -> Source {
    match (&config.tls_dir, &config.tls) {
        (None, Some(pems)) => Source::Memory(pems.clone()),
        (directory, _) => Source::Directory(directory.clone().unwrap_or_default()),
    }
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{flag} {address} cannot be listened on; is another node running there?")
    })
}
