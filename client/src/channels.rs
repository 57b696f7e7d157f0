//! Connections to nodes: few per node, shared by everything, opened on first use.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::token::Auth;

/// A connection to one node, with the client's credentials.
pub(crate) type Service = InterceptedService<Channel, Auth>;

/// Largest request: bodies and attributes.
pub(crate) const MAX_REQUEST_BYTES: usize = 16 << 20;
/// Largest message that travels: 16 MiB of bodies and what comes with them.
pub(crate) const MAX_FRAME_BYTES: usize = 18 << 20;

const DOWN_FIRST: Duration = Duration::from_secs(1);
const DOWN_MAX: Duration = Duration::from_secs(30);

/// How to reach nodes.
#[derive(Debug, Clone)]
pub(crate) struct Dialing {
    pub tls: Option<ClientTlsConfig>,
    pub auth: Auth,
    pub connections_per_node: usize,
    pub connect_timeout: Duration,
}

/// All connections of one client.
#[derive(Debug)]
pub(crate) struct Channels {
    dialing: Dialing,
    nodes: Mutex<BTreeMap<String, Node>>,
}

#[derive(Debug, Default)]
struct Node {
    channels: Vec<Channel>,
    next: usize,
    down_until: Option<Instant>,
    failures: u32,
}

impl Channels {
    pub fn new(dialing: Dialing) -> Self {
        Self {
            dialing,
            nodes: Mutex::default(),
        }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to `address` (host:port); it is made when it is first used and again after it
    /// broke.
    ///
    /// # Errors
    /// A text that says why the address is none.
    pub fn get(&self, address: &str) -> Result<Service, String> {
        let mut nodes = self.nodes();
        let node = nodes.entry(address.to_owned()).or_default();
        if node.channels.len() < self.dialing.connections_per_node {
            node.channels.push(dial(address, &self.dialing)?);
        }
        node.next = (node.next + 1) % node.channels.len();
        let channel = node.channels[node.next].clone();
        Ok(InterceptedService::new(channel, self.dialing.auth.clone()))
    }

    /// Notes that `address` did not answer: it is avoided for a while, longer each time.
    pub fn mark_down(&self, address: &str) {
        let mut nodes = self.nodes();
        let node = nodes.entry(address.to_owned()).or_default();
        let pause = DOWN_FIRST
            .saturating_mul(1 << node.failures.min(8))
            .min(DOWN_MAX);
        node.failures += 1;
        node.down_until = Some(Instant::now() + pause);
    }

    /// Notes that `address` answered.
    pub fn mark_up(&self, address: &str) {
        if let Some(node) = self.nodes().get_mut(address) {
            node.down_until = None;
            node.failures = 0;
        }
    }

    /// Whether `address` failed a moment ago.
    pub fn is_down(&self, address: &str) -> bool {
        let nodes = self.nodes();
        let until = nodes.get(address).and_then(|node| node.down_until);
        until.is_some_and(|until| until > Instant::now())
    }
}

fn dial(address: &str, dialing: &Dialing) -> Result<Channel, String> {
    let scheme = if dialing.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|error| format!("{address:?} is not host:port: {error}"))?
        .connect_timeout(dialing.connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keep_alive_interval(Duration::from_secs(3))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true);
    if let Some(tls) = &dialing.tls {
        let tls = endpoint.tls_config(tls.clone());
        endpoint = tls.map_err(|error| format!("the TLS settings are wrong: {error}"))?;
    }
    Ok(endpoint.connect_lazy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels() -> Channels {
        Channels::new(Dialing {
            tls: None,
            auth: Auth::default(),
            connections_per_node: 2,
            connect_timeout: Duration::from_secs(1),
        })
    }

    #[tokio::test]
    async fn an_address_is_avoided_until_it_answers() {
        let channels = channels();
        assert!(channels.get("127.0.0.1:1").is_ok());
        assert!(!channels.is_down("127.0.0.1:1"));
        channels.mark_down("127.0.0.1:1");
        assert!(channels.is_down("127.0.0.1:1"));
        assert!(!channels.is_down("127.0.0.1:2"));
        channels.mark_up("127.0.0.1:1");
        assert!(!channels.is_down("127.0.0.1:1"));
    }

    #[tokio::test]
    async fn a_bad_address_is_named() {
        let error = channels().get("no spaces allowed").unwrap_err();
        assert!(error.contains("no spaces allowed"), "{error}");
    }
}
