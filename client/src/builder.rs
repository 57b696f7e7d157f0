//! How to reach a cluster and who one is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::channels::Dialing;
use crate::client::Client;
use crate::error::ConnectError;
use crate::token::Auth;

/// The settings of a [`Client`]; made by [`Client::builder`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    namespace: String,
    ca_file: Option<PathBuf>,
    server_name: Option<String>,
    identity_files: Option<(PathBuf, PathBuf)>,
    token_file: Option<PathBuf>,
    connections_per_node: usize,
    connect_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) direct: bool,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            namespace: "default".into(),
            ca_file: None,
            server_name: None,
            identity_files: None,
            token_file: None,
            connections_per_node: 2,
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            direct: true,
        }
    }
}

impl ClientBuilder {
    /// Addresses (host:port) of client listeners to begin with; one that answers is enough.
    /// `http://` and `https://` in front are taken off; the latter needs [`Self::ca_file`].
    #[must_use]
    pub fn endpoints<S: Into<String>>(mut self, endpoints: impl IntoIterator<Item = S>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// The namespace of queues that are named without one. Default: `default`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Speaks TLS and trusts the certificates in this PEM file, and no others.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// The name that the server's certificate must carry, where it is not the host in the
    /// address: behind a port-forward, or on the admin listener (the cluster's id).
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// A client certificate and its key (PEM), for the admin listener.
    #[must_use]
    pub fn identity_files(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity_files = Some((cert.into(), key.into()));
        self
    }

    /// Sends the `ServiceAccount` token in this file with every call; it is read again, since the
    /// kubelet rewrites it.
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// Connections per node, 1..16. Default 2: one connection keeps about one core busy.
    #[must_use]
    pub fn connections_per_node(mut self, connections: usize) -> Self {
        self.connections_per_node = connections.clamp(1, 16);
        self
    }

    /// How long to look for a node that answers. Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take with its retries. Default 10 s.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Whether producers and consumers go to the nodes that lead (the default), or to the given
    /// endpoints only, which then forward. Unreachable leaders are gone around either way.
    #[must_use]
    pub fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// Takes from the environment what is set there: `ROADSTEAD_ENDPOINT` (comma-separated),
    /// `ROADSTEAD_NAMESPACE`, `ROADSTEAD_CA_FILE`, `ROADSTEAD_SERVER_NAME`,
    /// `ROADSTEAD_TOKEN_FILE`.
    #[must_use]
    pub fn from_env(mut self) -> Self {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(endpoints) = get("ROADSTEAD_ENDPOINT") {
            self.endpoints = endpoints
                .split(',')
                .map(|one| one.trim().to_owned())
                .collect();
        }
        if let Some(namespace) = get("ROADSTEAD_NAMESPACE") {
            self.namespace = namespace;
        }
        self.ca_file = get("ROADSTEAD_CA_FILE").map(Into::into).or(self.ca_file);
        self.server_name = get("ROADSTEAD_SERVER_NAME").or(self.server_name);
        self.token_file = get("ROADSTEAD_TOKEN_FILE")
            .map(Into::into)
            .or(self.token_file);
        self
    }

    /// Connects and learns the topology.
    ///
    /// # Errors
    /// Says which option is wrong, which file cannot be read, or that no endpoint answered.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let seeds = self.seeds()?;
        let dialing = Dialing {
            tls: self.tls()?,
            auth: Auth::new(self.token_file.clone()),
            connections_per_node: self.connections_per_node,
            connect_timeout: Duration::from_secs(2),
        };
        Client::start(&self, seeds, dialing).await
    }

    pub(crate) fn namespace_name(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn connect_patience(&self) -> Duration {
        self.connect_timeout
    }

    fn seeds(&self) -> Result<Vec<String>, ConnectError> {
        let wrong = |reason: String| ConnectError::Option {
            option: "endpoints",
            reason,
        };
        let mut seeds = Vec::new();
        for endpoint in &self.endpoints {
            let bare = if let Some(bare) = endpoint.strip_prefix("https://") {
                if self.ca_file.is_none() {
                    return Err(wrong(format!(
                        "{endpoint} needs a CA file (ROADSTEAD_CA_FILE)"
                    )));
                }
                bare
            } else {
                endpoint.strip_prefix("http://").unwrap_or(endpoint)
            };
            let bare = bare.trim_end_matches('/');
            if !bare.contains(':') {
                return Err(wrong(format!("{endpoint:?} has no port; write host:port")));
            }
            seeds.push(bare.to_owned());
        }
        if seeds.is_empty() {
            let reason = "none is given; name one as host:port (ROADSTEAD_ENDPOINT)";
            return Err(wrong(reason.into()));
        }
        Ok(seeds)
    }

    fn tls(&self) -> Result<Option<ClientTlsConfig>, ConnectError> {
        let Some(ca_file) = &self.ca_file else {
            if self.identity_files.is_some() {
                return Err(ConnectError::Option {
                    option: "identity_files",
                    reason: "a client certificate needs a CA file too".into(),
                });
            }
            return Ok(None);
        };
        let ca = read("CA certificates", ca_file)?;
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name.clone());
        }
        if let Some((cert, key)) = &self.identity_files {
            let cert = read("client certificate", cert)?;
            let key = read("key of the client certificate", key)?;
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        Ok(Some(tls))
    }
}

fn read(what: &'static str, path: &Path) -> Result<String, ConnectError> {
    std::fs::read_to_string(path).map_err(|error| ConnectError::File {
        what,
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(builder: &ClientBuilder) -> String {
        builder.seeds().unwrap_err().to_string()
    }

    #[test]
    fn endpoints_are_checked() {
        assert!(refused(&ClientBuilder::default()).contains("none is given"));
        let builder = ClientBuilder::default();
        assert!(refused(&builder.clone().endpoints(["main"])).contains("no port"));
        let secure = builder.clone().endpoints(["https://main:7701"]);
        assert!(refused(&secure).contains("CA file"));
        assert_eq!(secure.ca_file("ca.crt").seeds().unwrap(), ["main:7701"]);
        let plain = builder.endpoints(["http://a:1/", "b:2"]);
        assert_eq!(plain.seeds().unwrap(), ["a:1", "b:2"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let builder = ClientBuilder::default().ca_file("/nowhere/ca.crt");
        let error = builder.tls().unwrap_err().to_string();
        assert!(error.contains("CA certificates /nowhere/ca.crt"), "{error}");
    }
}
