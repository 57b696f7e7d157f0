//! Who leads what, and how to ask it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use roadstead_proto::v1::{GroupReport, ShardCall, ShardReply, SubscriptionOpen};
use tokio::sync::mpsc;

use super::Node;
use super::groups::Groups;
use crate::gateway::ApiError;
use crate::gateway::shards::{Shards, Subscription};
use crate::peers::Peers;
use crate::raft::types::{GroupId, NodeId};
use crate::runtime::Runtime;
use crate::scope::Clock;

/// The leaders of all groups, as far as this node knows; clones are the same.
pub struct Directory<R: Runtime> {
    inner: Arc<Inner<R>>,
}

struct Inner<R: Runtime> {
    node_id: NodeId,
    groups: Groups<R>,
    peers: Peers<R>,
    clock: Arc<dyn Clock>,
    /// Leaders of groups that do not run here, as the catalog's leader told them.
    heard: Mutex<BTreeMap<GroupId, (u64, NodeId)>>,
    node: OnceLock<Weak<Node<R>>>,
}

impl<R: Runtime> Clone for Directory<R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<R: Runtime> Directory<R> {
    /// Of the node `node_id` with these groups and peers.
    pub fn new(node_id: NodeId, groups: Groups<R>, peers: Peers<R>, clock: Arc<dyn Clock>) -> Self {
        let heard = Mutex::default();
        let inner = Inner {
            node_id,
            groups,
            peers,
            clock,
            heard,
            node: OnceLock::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Calls for groups that this node leads go to `node`.
    pub(super) fn set_node(&self, node: &Arc<Node<R>>) {
        let _ = self.inner.node.set(Arc::downgrade(node));
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.inner.node_id
    }

    /// This node's monotonic clock in ms.
    pub fn monotonic_ms(&self) -> u64 {
        self.inner.clock.monotonic_ns() / 1_000_000
    }

    /// Term and leader of a group, if one is known.
    pub fn leader_of(&self, group: GroupId) -> Option<(u64, NodeId)> {
        if let Some(group) = self.inner.groups.get(group) {
            let leadership = group.leadership();
            return leadership.leader.map(|leader| (leadership.term, leader));
        }
        self.lock().get(&group).copied()
    }

    /// Notes what the catalog's leader told.
    pub fn heard(&self, reports: &[GroupReport]) {
        let mut heard = self.lock();
        for report in reports {
            let Ok(group) = GroupId::try_from(report.group) else {
                continue;
            };
            let known = heard.entry(group).or_default();
            if report.leader != 0 && report.term >= known.0 {
                *known = (report.term, report.leader);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<GroupId, (u64, NodeId)>> {
        self.inner
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames that may wait between this node's gateway and a shard that it leads itself.
const LOCAL_BUFFER: usize = 64;

#[async_trait]
impl<R: Runtime> Shards for Directory<R> {
    fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.leader_of(group).map(|(_, leader)| leader)
    }

    async fn call(
        &self,
        node: NodeId,
        group: GroupId,
        call: ShardCall,
        timeout: Duration,
    ) -> Result<ShardReply, ApiError> {
        if node != self.node_id() {
            return self.inner.peers.call(node, group, call, timeout).await;
        }
        let Some(here) = self.inner.node.get().and_then(Weak::upgrade) else {
            return Err(ApiError::unavailable(
                "this node is starting or stopping; try again",
            ));
        };
        here.serve_call(group, call).await
    }

    fn subscribe(&self, node: NodeId, group: GroupId, open: SubscriptionOpen) -> Subscription {
        if node != self.node_id() {
            let (up, down) = self.inner.peers.subscribe(node, group, open);
            return Subscription { up, down };
        }
        let (up, ups) = mpsc::channel(LOCAL_BUFFER);
        let (downs, down) = mpsc::channel(LOCAL_BUFFER);
        if let Some(here) = self.inner.node.get().and_then(Weak::upgrade) {
            here.serve_subscription(group, open, ups, downs);
        }
        Subscription { up, down }
    }
}
