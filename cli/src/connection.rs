//! Which cluster, and who asks.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use roadstead_client::{Client, ClientBuilder, ConnectError};

/// Where the cluster is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Addresses (host:port) of client listeners; one that answers is enough
    #[arg(
        long,
        global = true,
        env = "ROADSTEAD_ENDPOINT",
        value_delimiter = ',',
        default_value = "localhost:7701"
    )]
    pub endpoint: Vec<String>,
    /// Namespace of queues that are named without one
    #[arg(
        long,
        short,
        global = true,
        env = "ROADSTEAD_NAMESPACE",
        default_value = "default",
        value_parser = crate::names::namespace
    )]
    pub namespace: String,
    /// Speak TLS and trust the certificates in this PEM file
    #[arg(long, global = true, env = "ROADSTEAD_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Name in the server's certificate, where it is not the host in the address
    #[arg(long, global = true, env = "ROADSTEAD_SERVER_NAME")]
    pub server_name: Option<String>,
    /// File with a `ServiceAccount` token for the audience roadstead
    #[arg(long, global = true, env = "ROADSTEAD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Client certificate (PEM) for the admin listener
    #[arg(
        long,
        global = true,
        env = "ROADSTEAD_CERT_FILE",
        requires = "key_file"
    )]
    pub cert_file: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(
        long,
        global = true,
        env = "ROADSTEAD_KEY_FILE",
        requires = "cert_file"
    )]
    pub key_file: Option<PathBuf>,
    /// How long to look for a node that answers
    #[arg(
        long,
        global = true,
        env = "ROADSTEAD_TIMEOUT",
        default_value = "5s",
        value_parser = crate::units::some_duration
    )]
    pub timeout: Duration,
    /// Use the given endpoints only, and let them forward
    #[arg(long, global = true)]
    pub no_direct: bool,
}

impl Connection {
    fn builder(&self) -> ClientBuilder {
        let mut builder = Client::builder()
            .endpoints(self.endpoint.iter().cloned())
            .namespace(&self.namespace)
            .connect_timeout(self.timeout)
            .direct(!self.no_direct);
        if let Some(file) = &self.ca_file {
            builder = builder.ca_file(file);
        }
        if let Some(name) = &self.server_name {
            builder = builder.server_name(name);
        }
        if let Some(file) = &self.token_file {
            builder = builder.token_file(file);
        }
        if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
            builder = builder.identity_files(cert, key);
        }
        builder
    }

    /// A client of the cluster.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        self.builder().connect().await
    }

    /// A client that stays with the given endpoints, as the admin listener needs it, and has one
    /// stream where others have one to each leader.
    pub async fn connect_indirect(&self) -> Result<Client, ConnectError> {
        self.builder().direct(false).connect().await
    }
}
