//! Sends to queues with order by key whose partitions have grown in number: to the partition where
//! the key of each message lives.
//!
//! The leader of the partition that a sender names does it, for the sender may not know that there
//! are more. It asks the homes of a key one after the other; each decides in its log. So a key
//! stays where it lives, whoever sends.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_core::shard::PartitionId;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{SendResponse, SendResult, ShardCall, ShardPlaced, ShardSend};
use tonic::Code;

use self::plan::{Part, Plan};
use super::belongs;
use super::desk::Desk;
use super::refusal::entry_error;
use super::replica::Replica;
use super::send;
use crate::auth::Principal;
use crate::gateway::ApiError;
use crate::gateway::route::{Again, Router};
use crate::gateway::shards::{QueueInfo, Queues};
use crate::runtime::Runtime;

/// For another partition to answer: shorter than a try of another node takes (`gateway::route`).
const PATIENCE: Duration = Duration::from_millis(1_500);
/// To learn of a change of the queue that a partition knows already.
const BARRIER: Duration = Duration::from_secs(1);

/// Partitions of a queue that need not be asked any more, and among how many that was found.
type Left = (u32, BTreeSet<u32>);

/// Finds where keys live, for one shard.
pub(super) struct Homes<R: Runtime, P> {
    desk: Arc<Desk<R, P>>,
    queues: Arc<dyn Queues>,
    router: Arc<Router<R>>,
    /// By the queue's id.
    left: Mutex<BTreeMap<u64, Left>>,
}

impl<R: Runtime, P: Replica> Homes<R, P> {
    pub fn new(desk: Arc<Desk<R, P>>, queues: Arc<dyn Queues>, router: Arc<Router<R>>) -> Self {
        Self {
            desk,
            queues,
            router,
            left: Mutex::default(),
        }
    }

    /// Sends what came for a partition of this shard.
    pub async fn send(&self, queue: &QueueInfo, call: ShardSend) -> Result<SendResponse, ApiError> {
        belongs::check(&call.messages, queue, call.partition)?;
        if !queue.config.has_grown() {
            let placed = self.place(queue, call).await?;
            return Ok(self.answer(queue, placed.results, &placed.moved).await);
        }
        let (here, atomic) = (call.partition, call.atomic);
        let mut plan = Plan::new(&queue.config, call, &self.left(queue));
        loop {
            let parts = plan.parts();
            if parts.is_empty() {
                break;
            }
            if atomic && parts.len() > 1 {
                return Err(apart(queue));
            }
            let asked = parts.into_iter().map(|part| async move {
                let Part { members, send } = part;
                (members, self.ask(queue, here, send).await)
            });
            for (members, answer) in join_all(asked).await {
                match answer {
                    Err(error) if members.len() == plan.len() => return Err(error),
                    Err(error) => plan.fail(&members, &error),
                    Ok(placed) => plan.take(&members, placed),
                }
            }
        }
        let (results, nowhere) = plan.results();
        Ok(self.answer(queue, results, &nowhere).await)
    }

    /// What a sender is told whose keys have moved on to partitions that this node does not know.
    async fn answer(
        &self,
        queue: &QueueInfo,
        mut results: Vec<SendResult>,
        moved: &[u32],
    ) -> SendResponse {
        if !moved.is_empty() {
            // The next try knows better. Where not, it fails for now in the same way.
            let _ = self.queues.barrier(BARRIER).await;
        }
        for place in moved {
            let error = entry_error(&changed(queue));
            results[*place as usize].error = Some(error);
        }
        SendResponse { results }
    }

    /// Asks a partition of the queue, from the leader of the partition `here`.
    async fn ask(
        &self,
        queue: &QueueInfo,
        here: u32,
        send: ShardSend,
    ) -> Result<ShardPlaced, ApiError> {
        let (partition, atomic, count) = (send.partition, send.atomic, send.messages.len());
        let placed = if partition == here {
            self.place(queue, send).await?
        } else {
            self.ask_elsewhere(queue, send).await?
        };
        if placed.results.len() != count {
            return Err(send::odd_reply(self.desk.replica.id()));
        }
        if placed.left_among == queue.config.partitions {
            self.note_left(queue, partition);
        }
        let refused = placed.results.iter().any(|result| result.error.is_some());
        if atomic && refused && !placed.moved.is_empty() {
            return Err(apart(queue));
        }
        Ok(placed)
    }

    async fn ask_elsewhere(
        &self,
        queue: &QueueInfo,
        send: ShardSend,
    ) -> Result<ShardPlaced, ApiError> {
        let shard = queue.shard(send.partition).ok_or_else(|| changed(queue))?;
        let again = match send.producer {
            Some(_) => Again::Safe,
            None => Again::Unsafe,
        };
        let call = ShardCall {
            principal: Some(Principal::Node(self.router.node_id()).to_info()),
            call: Some(Call::Place(send)),
        };
        match self.router.call(shard, call, PATIENCE, again).await?.reply {
            Some(Reply::Placed(placed)) => Ok(placed),
            _ => Err(send::odd_reply(shard)),
        }
    }

    /// Adds messages to a partition of this shard, but for those whose keys live here no more.
    pub async fn place(&self, queue: &QueueInfo, call: ShardSend) -> Result<ShardPlaced, ApiError> {
        let partition = PartitionId {
            queue: queue.id(),
            partition: call.partition,
        };
        let sent = send::send(&self.desk, call, queue.config.deduplication).await?;
        let replica = &self.desk.replica;
        Ok(ShardPlaced {
            results: sent.results,
            moved: sent.moved,
            left_among: replica.read(|machine, _| machine.left_among(partition)),
        })
    }

    fn left(&self, queue: &QueueInfo) -> BTreeSet<u32> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let known = left.get(&queue.id());
        let known = known.filter(|(among, _)| *among == queue.config.partitions);
        known.map(|(_, left)| left.clone()).unwrap_or_default()
    }

    fn note_left(&self, queue: &QueueInfo, partition: u32) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|id, _| self.queues.by_id(*id).is_some());
        let known = left.entry(queue.id()).or_default();
        if known.0 != queue.config.partitions {
            *known = (queue.config.partitions, BTreeSet::new());
        }
        known.1.insert(partition);
    }
}

fn changed(queue: &QueueInfo) -> ApiError {
    let message = format!(
        "the number of partitions of queue {} has changed; nothing was done: try again",
        queue.reference()
    );
    ApiError::unavailable(message).about(queue.reference())
}

fn apart(queue: &QueueInfo) -> ApiError {
    let message = format!(
        "an atomic batch lies in one partition, and the keys of this one live in several of queue \
         {}, whose partitions have grown in number: give its messages one key",
        queue.reference()
    );
    ApiError::new(Code::FailedPrecondition, message).about(queue.reference())
}
