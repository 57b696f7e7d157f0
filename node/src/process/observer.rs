//! What the HTTP listener shows of a node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use openraft_rt_tokio::TokioRuntime;

use super::clock::SystemClock;
use crate::api::ConnectionCounts;
use crate::http::{Observation, Observe};
use crate::node::{Node, report_group};
use crate::scope::Clock;
use crate::tls::{ClientTls, PeerTls, Reloader};

/// A node from the outside, from before it has started until it has stopped.
pub struct Observer {
    node: OnceLock<Arc<Node<TokioRuntime>>>,
    stopping: AtomicBool,
    clock: SystemClock,
    connections: Vec<(&'static str, ConnectionCounts)>,
    peer_tls: Arc<Reloader<PeerTls>>,
    client_tls: Option<Arc<Reloader<ClientTls>>>,
}

impl Observer {
    /// Shows these listeners, and a node once there is one.
    pub fn new(
        connections: Vec<(&'static str, ConnectionCounts)>,
        peer_tls: Arc<Reloader<PeerTls>>,
        client_tls: Option<Arc<Reloader<ClientTls>>>,
    ) -> Self {
        Self {
            node: OnceLock::new(),
            stopping: AtomicBool::new(false),
            clock: SystemClock::default(),
            connections,
            peer_tls,
            client_tls,
        }
    }

    /// The node has started.
    pub fn watch(&self, node: &Arc<Node<TokioRuntime>>) {
        // Called once; a second node would be a second process.
        let _ = self.node.set(Arc::clone(node));
    }

    /// The node is not ready any more, whatever it says.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

impl Observe for Observer {
    fn readiness(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("it is stopping".to_owned());
        }
        match self.node.get() {
            None => Err("it is starting: the data directory is being read".to_owned()),
            Some(node) => node.readiness(),
        }
    }

    fn observe(&self) -> Observation {
        let mut certificates = vec![("peer", self.peer_tls.current().not_after)];
        certificates.extend(
            self.client_tls
                .iter()
                .map(|tls| ("client", tls.current().not_after)),
        );
        let mut seen = Observation {
            now_ms: self.clock.wall_ms(),
            connections: self
                .connections
                .iter()
                .map(|(name, c)| (*name, c.read()))
                .collect(),
            certificates,
            ..Observation::default()
        };
        if let Some(node) = self.node.get() {
            seen.node_id = node.node_id();
            seen.groups = node
                .groups()
                .all()
                .iter()
                .map(|group| report_group(group))
                .collect();
            seen.digests = node.digest_counts();
            let shards = node.shards();
            seen.loads = shards.iter().flat_map(|shard| shard.load()).collect();
            for shard in &shards {
                seen.commits.add(&shard.commit_latency());
            }
            seen.store = node.store().metrics().read();
            seen.room_for_sends = node.store().room_for_sends();
        }
        seen
    }
}
