//! What the operator is told at start.
use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use roadstead_operator_core::controls::Controls;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// Everything the operator is told at start.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Namespace of the operator: its Lease and the CA keys of all clusters are here
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: String,

    /// Name of this instance, shown as holder of the Lease
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: String,

    /// Image of the nodes where a QueueCluster names none
    #[arg(long, env = "ROADSTEAD_NODE_IMAGE", value_name = "IMAGE")]
    pub node_image: String,

    /// ClusterRole that lets nodes review tokens
    #[arg(long, env = "ROADSTEAD_TOKEN_REVIEW_ROLE", value_name = "NAME")]
    #[arg(default_value = "roadstead-node-tokenreview")]
    pub token_review_role: String,

    /// Name of the Lease
    #[arg(long, env = "ROADSTEAD_LEASE", value_name = "NAME")]
    #[arg(default_value = "roadstead-operator")]
    pub lease: String,

    /// Address of the HTTP listener for /livez, /readyz and /metrics
    #[arg(long, env = "ROADSTEAD_HTTP_LISTEN", value_name = "ADDRESS:PORT")]
    #[arg(default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,

    /// Objects of one kind that are worked on at the same time: 1..1,000
    #[arg(
        long,
        env = "ROADSTEAD_CONCURRENCY",
        value_name = "N",
        default_value_t = 16
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub concurrency: u16,

    /// How log lines look
    #[arg(long, env = "ROADSTEAD_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// The protection that this operator does without, for control runs: catch-up-gate
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
