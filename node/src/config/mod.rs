//! What a node is told at start: flags and `ROADSTEAD_*` variables, checked as a whole.

pub mod check;
pub mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::controls::Controls;
use crate::tls::Pems;

pub use check::ConfigError;

/// Who may use the client listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientAuth {
    /// Anybody who can connect, with every right on every queue. For development.
    Anonymous,
    /// Kubernetes `ServiceAccounts`, by a token for the audience `roadstead`.
    ServiceAccount,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// openraft warns of a peer that is away at each beat of each group; this node says it once.
const DEFAULT_LOG: &str = "info,openraft=error";

/// Everything a node is told at start. Sizes are bytes.
#[derive(Debug, Clone, Args)]
pub struct NodeConfig {
    /// Directory of this node's data; made when it is missing. Never share it between nodes
    #[arg(long, env = "ROADSTEAD_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Name of this node, shown to people (the pod's name on Kubernetes)
    #[arg(long, env = "ROADSTEAD_NAME", value_name = "NAME")]
    pub name: String,

    /// Address of the client listener
    #[arg(long, env = "ROADSTEAD_CLIENT_LISTEN", value_name = "ADDRESS:PORT")]
    #[arg(default_value = "127.0.0.1:7701")]
    pub client_listen: SocketAddr,

    /// Address of the peer and admin listener
    #[arg(long, env = "ROADSTEAD_PEER_LISTEN", value_name = "ADDRESS:PORT")]
    #[arg(default_value = "127.0.0.1:7702")]
    pub peer_listen: SocketAddr,

    /// Address of the HTTP listener for /livez, /readyz and /metrics
    #[arg(long, env = "ROADSTEAD_HTTP_LISTEN", value_name = "ADDRESS:PORT")]
    #[arg(default_value = "127.0.0.1:7703")]
    pub http_listen: SocketAddr,

    /// Where clients reach this node [default: the client listener's address]
    #[arg(long, env = "ROADSTEAD_ADVERTISE_CLIENT", value_name = "HOST:PORT")]
    pub advertise_client: Option<String>,

    /// Where other nodes reach this node [default: the peer listener's address]
    #[arg(long, env = "ROADSTEAD_ADVERTISE_PEER", value_name = "HOST:PORT")]
    pub advertise_peer: Option<String>,

    /// Directory with ca.crt, tls.crt and tls.key for the peer and admin listener
    #[arg(long, env = "ROADSTEAD_TLS_DIR", value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,

    /// Certificates for the peer and admin listener, where no directory is given (embedded nodes).
    #[arg(skip)]
    pub tls: Option<Pems>,

    /// Directory with tls.crt and tls.key for the client listener [default: no TLS there]
    #[arg(long, env = "ROADSTEAD_CLIENT_TLS_DIR", value_name = "DIR")]
    pub client_tls_dir: Option<PathBuf>,

    /// Who may use the client listener
    #[arg(long, env = "ROADSTEAD_CLIENT_AUTH", value_name = "WHO")]
    #[arg(default_value = "service-account")]
    pub client_auth: ClientAuth,

    /// Connections that the client listener takes at the same time: 1..100,000
    #[arg(long, env = "ROADSTEAD_CLIENT_MAX_CONNECTIONS", value_name = "N")]
    #[arg(default_value_t = 2_000)]
    pub client_max_connections: u32,

    /// And of one `ServiceAccount`: 1..100,000 [default: three quarters]
    #[arg(
        long,
        env = "ROADSTEAD_CLIENT_MAX_CONNECTIONS_PER_ACCOUNT",
        value_name = "N"
    )]
    pub client_max_connections_per_account: Option<u32>,

    /// Failure zone of this node [default: what it was given when it joined]
    #[arg(long, env = "ROADSTEAD_ZONE", value_name = "ZONE", default_value = "")]
    pub zone: String,

    /// Memory that this node may use, in bytes or like 2Gi [default: the cgroup's limit]
    #[arg(long, env = "ROADSTEAD_MEMORY_LIMIT", value_name = "SIZE", value_parser = units::bytes)]
    pub memory_limit: Option<u64>,

    /// Threads that serve calls: 1..64 [default: one per core]
    #[arg(long, env = "ROADSTEAD_WORKER_THREADS", value_name = "N")]
    pub worker_threads: Option<usize>,

    /// Disk space that sends may not use [default: 5 % of the volume, at least 256Mi]
    #[arg(long, env = "ROADSTEAD_RESERVE", value_name = "SIZE", value_parser = units::bytes)]
    pub reserve: Option<u64>,

    /// Size of one journal segment: 1Mi..1Gi
    #[arg(long, env = "ROADSTEAD_SEGMENT_SIZE", value_name = "SIZE", value_parser = units::bytes)]
    #[arg(default_value = "64Mi")]
    pub segment_size: u64,

    /// Journal that is kept for members that were away: at least two segments [default: an eighth
    /// of the volume, at most 1Gi]
    #[arg(long, env = "ROADSTEAD_JOURNAL_WINDOW", value_name = "SIZE", value_parser = units::bytes)]
    pub journal_window: Option<u64>,

    /// Bytes a second at which data on disk is read again, to find damage; 0 to never do it
    #[arg(long, env = "ROADSTEAD_SCRUB_RATE", value_name = "SIZE", value_parser = units::bytes)]
    #[arg(default_value = "8Mi")]
    pub scrub_rate: u64,

    /// Time between the end of such a pass and the beginning of the next: 1s..720h
    #[arg(long, env = "ROADSTEAD_SCRUB_INTERVAL", value_name = "DURATION")]
    #[arg(value_parser = units::duration, default_value = "24h")]
    pub scrub_interval: Duration,

    /// How long a stopping node may take to hand over and finish: 1s..10m
    #[arg(long, env = "ROADSTEAD_SHUTDOWN_GRACE", value_name = "DURATION")]
    #[arg(value_parser = units::duration, default_value = "25s")]
    pub shutdown_grace: Duration,

    /// How log lines look
    #[arg(
        long,
        env = "ROADSTEAD_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// What is logged, as in `info` or `info,roadstead_node::raft=debug`
    #[arg(
        long,
        env = "ROADSTEAD_LOG",
        value_name = "FILTER",
        default_value = DEFAULT_LOG
    )]
    pub log: String,

    /// The protection that this node does without, for control runs: append or hand-over
    #[cfg_attr(not(feature = "controls"), arg(skip))]
    #[cfg_attr(
        feature = "controls",
        arg(
            long = "without",
            env = "ROADSTEAD_WITHOUT",
            value_name = "PROTECTION",
            default_value = "nothing"
        )
    )]
    pub controls: Controls,
}

impl NodeConfig {
    /// Fills in the addresses that were left to the listeners, once these are bound.
    pub fn fill_addresses(&mut self, client: SocketAddr, peer: SocketAddr) {
        self.advertise_client
            .get_or_insert_with(|| client.to_string());
        self.advertise_peer.get_or_insert_with(|| peer.to_string());
    }

    /// Connections that one `ServiceAccount` may have.
    pub fn connections_per_account(&self) -> usize {
        let all = self.client_max_connections;
        let most = self.client_max_connections_per_account;
        most.unwrap_or((all - all / 4).max(1)) as usize
    }

    /// host:port where clients reach this node; empty before the listeners are bound.
    pub fn client_address(&self) -> &str {
        self.advertise_client.as_deref().unwrap_or_default()
    }

    /// host:port where other nodes reach this node; empty before the listeners are bound.
    pub fn peer_address(&self) -> &str {
        self.advertise_peer.as_deref().unwrap_or_default()
    }
}
