//! Peers that were refused, for those who read the log.

use std::collections::BTreeMap;
use std::sync::Mutex;

use roadstead_proto::v1::PeerHello;

use super::lock;
use crate::raft::types::NodeId;

/// Peers that are remembered; one beyond is told again.
const KNOWN: usize = 256;

/// Why each peer was refused last. A refused peer dials again ten times a second.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<NodeId, String>>);

impl Refusals {
    /// Tells it, once until the peer is taken in or refused for something else.
    pub(super) fn refused(&self, hello: &PeerHello, why: &str) {
        let mut known = lock(&self.0);
        if known.get(&hello.node_id).is_some_and(|known| known == why) {
            return;
        }
        if known.len() >= KNOWN {
            known.pop_first();
        }
        known.insert(hello.node_id, why.to_owned());
        let peer = format_args!("{:016x}", hello.node_id);
        tracing::warn!(%peer, cluster = hello.cluster_id, why, "peer refused; it will try on");
    }

    pub(super) fn taken_in(&self, peer: NodeId) {
        lock(&self.0).remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::logged::log_of;

    #[test]
    fn a_refusal_is_told_once_until_something_changes() {
        let refusals = Refusals::default();
        let hello = |node_id| PeerHello {
            node_id,
            ..PeerHello::default()
        };
        let log = log_of(|| {
            for _ in 0..10 {
                refusals.refused(&hello(1), "another is meant");
                refusals.refused(&hello(2), "another is meant");
            }
            refusals.refused(&hello(1), "another cluster");
            refusals.taken_in(2);
            refusals.refused(&hello(2), "another is meant");
        });
        assert_eq!(log.matches("peer refused").count(), 4, "{log}");
        let many = log_of(|| (0..1_000).for_each(|node| refusals.refused(&hello(node), "no")));
        assert_eq!(many.matches("peer refused").count(), 1_000);
        assert!(lock(&refusals.0).len() <= KNOWN);
    }
}
