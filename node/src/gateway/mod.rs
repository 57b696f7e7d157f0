//! What clients can ask of a node, whichever node leads.
//!
//! Every call is checked ([`validate`]), authorized, and routed to the leaders of the shards that
//! hold the queue's partitions ([`route`]); answers are put together here. A client that never
//! reads costs only itself: every channel to it is bounded.

#[cfg(test)]
mod atomic_tests;
mod by_hand;
#[cfg(test)]
mod by_hand_groups_tests;
#[cfg(test)]
mod by_hand_tests;
mod cache;
mod cluster;
mod complete;
#[cfg(test)]
mod complete_tests;
mod consumers;
#[cfg(test)]
mod consumers_tests;
#[cfg(test)]
mod deduplication_tests;
mod error;
mod groups;
#[cfg(test)]
mod groups_tests;
#[cfg(test)]
mod grown_tests;
mod held;
#[cfg(test)]
mod logged_tests;
mod messages;
mod pages;
mod queues;
mod receive;
mod receive_stream;
#[cfg(test)]
mod receive_stream_tests;
#[cfg(test)]
mod receive_tests;
#[cfg(test)]
mod redrive_one_tests;
#[cfg(test)]
mod redrive_tests;
mod refused;
#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod retry_tests;
pub mod route;
mod seek;
mod send_stream;
#[cfg(test)]
mod send_stream_tests;
pub mod shards;
mod sources;
#[cfg(test)]
mod tests;
pub mod validate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use roadstead_proto::v1::QueueRef;

use self::route::Router;
use self::shards::{Cluster, QueueInfo, Queues, Shards};
use crate::auth::{Action, Principal, authorize};
use crate::raft::types::NodeId;
use crate::runtime::Runtime;
use crate::scope::NodeScope;

pub use cache::QueueCache;
pub use error::ApiError;

/// How long a call may look for a leader.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a call waits for this node's catalog to catch up before a queue is unknown.
const BARRIER: Duration = Duration::from_secs(2);

/// Everything a client may ask.
pub struct Gateway<R: Runtime> {
    shards: Arc<dyn Shards>,
    queues: Arc<dyn Queues>,
    cluster: Arc<dyn Cluster>,
    router: Arc<Router<R>>,
    scope: NodeScope<R>,
    turn: AtomicU32,
}

impl<R: Runtime> Gateway<R> {
    /// A gateway of the node `node_id`; its streams run in `scope`.
    pub fn new(
        node_id: NodeId,
        shards: Arc<dyn Shards>,
        queues: Arc<dyn Queues>,
        cluster: Arc<dyn Cluster>,
        scope: NodeScope<R>,
    ) -> Arc<Self> {
        let router = Arc::new(Router::new(node_id, shards.clone(), queues.clone()));
        let turn = AtomicU32::new(node_id as u32);
        Arc::new(Self {
            shards,
            queues,
            cluster,
            router,
            scope,
            turn,
        })
    }

    /// Calls to leaders.
    pub fn router(&self) -> &Arc<Router<R>> {
        &self.router
    }

    /// The queue that a request names, once the caller may do `action` with it.
    async fn queue(
        &self,
        principal: &Principal,
        action: Action,
        queue: Option<&QueueRef>,
    ) -> Result<Arc<QueueInfo>, ApiError> {
        let queue = validate::queue(queue)?;
        authorize(principal, action, Some(queue))?;
        if let Some(info) = self.queues.find(queue) {
            return Ok(info);
        }
        // It may have been created by way of another node a moment ago.
        self.queues.barrier(BARRIER).await?;
        self.queues
            .find(queue)
            .ok_or_else(|| ApiError::queue_not_found(queue))
    }

    /// Turns, so that work without a key is spread.
    fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}
