//! Queues are created, changed and deleted.

use std::collections::BTreeSet;

use roadstead_core::catalog::{
    CreateQueue, DeleteQueue, FinishDelete, Op, Queue, QueueState, Reply, UpdateQueue,
};
use roadstead_proto::v1::{
    CreateQueueRequest, CreateQueueResponse, DeletePolicy, DeleteQueueRequest, DeleteQueueResponse,
    QueueStats, ShardCall, ShardDrop, ShardDropped, ShardStats, UpdateQueueRequest,
    UpdateQueueResponse, shard_call::Call, shard_reply,
};
use tonic::Code;

use super::convert::{name_from_wire, name_to_wire, queue_to_wire, spec_from_wire};
use super::service::{CatalogService, STEP_PATIENCE};
use crate::auth::{Action, Principal, authorize};
use crate::gateway::ApiError;
use crate::gateway::route::Again;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;

impl<R: Runtime> CatalogService<R> {
    pub(super) async fn create_queue(
        &self,
        principal: &Principal,
        request: CreateQueueRequest,
    ) -> Result<CreateQueueResponse, ApiError> {
        authorize(principal, Action::CreateQueue, request.queue.as_ref())?;
        let name = name_from_wire(request.queue.as_ref());
        let spec = spec_from_wire(&request.spec.unwrap_or_default())?;
        let (queue, created) =
            self.change(Op::CreateQueue(CreateQueue { name, spec })).await?;
        Ok(CreateQueueResponse { queue: Some(queue_to_wire(&queue)), created })
    }

    pub(super) async fn update_queue(
        &self,
        principal: &Principal,
        request: UpdateQueueRequest,
    ) -> Result<UpdateQueueResponse, ApiError> {
        authorize(principal, Action::UpdateQueue, request.queue.as_ref())?;
        let op = UpdateQueue {
            name: name_from_wire(request.queue.as_ref()),
            spec: spec_from_wire(&request.spec.unwrap_or_default())?,
            expected_generation: request.expected_generation,
        };
        let (queue, _) = self.change(Op::UpdateQueue(op)).await?;
        Ok(UpdateQueueResponse { queue: Some(queue_to_wire(&queue)) })
    }

    pub(super) async fn delete_queue(
        &self,
        principal: &Principal,
        request: DeleteQueueRequest,
    ) -> Result<DeleteQueueResponse, ApiError> {
        authorize(principal, Action::DeleteQueue, request.queue.as_ref())?;
        let name = name_from_wire(request.queue.as_ref());
        let if_empty = request.policy() != DeletePolicy::Always;
        let found = self.view.read(|catalog| catalog.queue(&name).cloned());
        let queue = found.ok_or_else(|| ApiError::queue_not_found(&name_to_wire(&name)))?;
        if if_empty {
            let messages = self.messages_of(&queue).await?;
            if messages > 0 {
                return Err(holds_messages(&queue, messages));
            }
        }
        self.change(Op::DeleteQueue(DeleteQueue { name })).await?;
        let dropped = self.finish_delete(&queue, if_empty).await?;
        if dropped.kept > 0 {
            return Err(holds_messages(&queue, dropped.kept));
        }
        Ok(DeleteQueueResponse { messages: dropped.messages })
    }

    /// Ends a deletion that was begun: drops the partitions, then forgets the queue, or lets it
    /// serve again where `if_empty` is asked for and it is not.
    pub(super) async fn finish_delete(
        &self,
        queue: &Queue,
        if_empty: bool,
    ) -> Result<ShardDropped, ApiError> {
        let mut total = ShardDropped::default();
        for shard in shards_of(queue) {
            let call = Call::Drop(ShardDrop { queue_id: queue.id, if_empty });
            match self.ask_shard(shard, call).await? {
                shard_reply::Reply::Dropped(dropped) => {
                    total.messages += dropped.messages;
                    total.kept += dropped.kept;
                }
                _ => return Err(ApiError::unavailable("a shard answered another way")),
            }
            if total.kept > 0 {
                break;
            }
        }
        let undo = total.kept > 0;
        self.propose(Op::FinishDelete(FinishDelete { queue: queue.id, undo })).await?;
        Ok(total)
    }

    /// Ends the deletions that a leader before this one left half done. Their policy is not known
    /// any more, so messages are kept: the queue serves again where it holds some.
    pub(super) async fn finish_deletions(&self) {
        let deleting: Vec<Queue> = self.view.read(|catalog| {
            catalog.queues().filter(|queue| queue.state == QueueState::Deleting).cloned().collect()
        });
        for queue in deleting {
            if let Err(error) = self.finish_delete(&queue, true).await {
                tracing::warn!(queue = %queue.name, %error, "queue is not deleted yet");
            }
        }
    }

    async fn messages_of(&self, queue: &Queue) -> Result<u64, ApiError> {
        let mut messages = 0;
        for shard in shards_of(queue) {
            let queue_ref = Some(name_to_wire(&queue.name));
            let call = Call::Stats(ShardStats { queue_id: queue.id, queue: queue_ref });
            if let shard_reply::Reply::Stats(stats) = self.ask_shard(shard, call).await? {
                messages += live(&stats);
            }
        }
        Ok(messages)
    }

    async fn ask_shard(&self, shard: GroupId, call: Call) -> Result<shard_reply::Reply, ApiError> {
        let principal = match call {
            Call::Drop(_) => Principal::Node(self.group().node_id()),
            _ => Principal::Operator,
        };
        let call = ShardCall { principal: Some(principal.to_info()), call: Some(call) };
        let reply = self.router.call(shard, call, STEP_PATIENCE, Again::Safe).await?;
        reply.reply.ok_or_else(|| ApiError::unavailable("a shard gave an empty answer"))
    }

    async fn change(&self, op: Op) -> Result<(Queue, bool), ApiError> {
        match self.propose(op).await? {
            Reply::Queue { queue, changed } => Ok((*queue, changed)),
            _ => Err(ApiError::unavailable("the catalog answered another way")),
        }
    }
}

fn shards_of(queue: &Queue) -> BTreeSet<GroupId> {
    queue.shards.iter().copied().collect()
}

fn live(stats: &QueueStats) -> u64 {
    stats.ready + stats.in_flight + stats.delayed + stats.blocked + stats.outbox
}

fn holds_messages(queue: &Queue, messages: u64) -> ApiError {
    ApiError::new(
        Code::FailedPrecondition,
        format!(
            "queue {} holds {messages} messages and was not deleted; consume or purge them first, \
             or delete it with policy ALWAYS",
            queue.name
        ),
    )
    .about(&name_to_wire(&queue.name))
}
