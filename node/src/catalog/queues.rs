//! Queues are created, changed and deleted.

use std::collections::BTreeSet;

use roadstead_core::catalog::{
    CreateQueue, DeleteQueue, FinishDelete, Op, Queue, QueueState, Reply, UpdateQueue,
};
use roadstead_proto::v1::{
    CreateQueueRequest, CreateQueueResponse, DeletePolicy, DeleteQueueRequest, DeleteQueueResponse,
    ShardCall, ShardDrop, ShardDropped, UpdateQueueRequest, UpdateQueueResponse, shard_call::Call,
    shard_reply,
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
        let (queue, created) = self
            .change(Op::CreateQueue(CreateQueue { name, spec }))
            .await?;
        Ok(CreateQueueResponse {
            queue: Some(queue_to_wire(&queue)),
            created,
        })
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
        Ok(UpdateQueueResponse {
            queue: Some(queue_to_wire(&queue)),
        })
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
        if queue.state == QueueState::Active {
            self.change(Op::DeleteQueue(DeleteQueue { name })).await?;
            if if_empty {
                self.refuse_if_it_holds_messages(&queue).await?;
            }
        }
        let dropped = self.drop_partitions(&queue, if_empty).await?;
        if dropped.kept > 0 {
            return Err(holds_messages(&queue, dropped.kept));
        }
        self.propose(Op::FinishDelete(FinishDelete {
            queue: queue.id,
            undo: false,
        }))
        .await?;
        Ok(DeleteQueueResponse {
            messages: dropped.messages,
        })
    }

    /// Nothing is sent to a queue that is being deleted, so what is counted now is what it holds.
    /// It serves again when that is not nothing; no partition has been dropped yet.
    async fn refuse_if_it_holds_messages(&self, queue: &Queue) -> Result<(), ApiError> {
        let order = ShardDrop {
            queue_id: queue.id,
            if_empty: true,
            only_count: true,
        };
        let counted = self.order_shards(queue, order).await;
        let held = counted.as_ref().map_or(0, |counted| counted.kept);
        if counted.is_err() || held > 0 {
            self.propose(Op::FinishDelete(FinishDelete {
                queue: queue.id,
                undo: true,
            }))
            .await?;
        }
        counted?;
        if held > 0 {
            Err(holds_messages(queue, held))
        } else {
            Ok(())
        }
    }

    async fn drop_partitions(
        &self,
        queue: &Queue,
        if_empty: bool,
    ) -> Result<ShardDropped, ApiError> {
        let order = ShardDrop {
            queue_id: queue.id,
            if_empty,
            only_count: false,
        };
        self.order_shards(queue, order).await
    }

    /// Gives one order to every shard that holds a partition of the queue and adds up the answers.
    async fn order_shards(
        &self,
        queue: &Queue,
        order: ShardDrop,
    ) -> Result<ShardDropped, ApiError> {
        let mut total = ShardDropped::default();
        for shard in shards_of(queue) {
            match self.ask_shard(shard, Call::Drop(order)).await? {
                shard_reply::Reply::Dropped(dropped) => {
                    total.messages += dropped.messages;
                    total.kept += dropped.kept;
                }
                _ => return Err(ApiError::unavailable("a shard answered another way")),
            }
        }
        Ok(total)
    }

    /// Ends the deletions that a leader before this one left half done. Whether their messages may
    /// go is not known any more: a queue that holds some waits to be deleted again.
    pub(super) async fn finish_deletions(&self) {
        let deleting: Vec<Queue> = self.view.read(|catalog| {
            catalog
                .queues()
                .filter(|queue| queue.state == QueueState::Deleting)
                .cloned()
                .collect()
        });
        for queue in deleting {
            let finish = Op::FinishDelete(FinishDelete {
                queue: queue.id,
                undo: false,
            });
            let finished = match self.drop_partitions(&queue, true).await {
                Ok(dropped) if dropped.kept > 0 => Err(holds_messages(&queue, dropped.kept)),
                Ok(_) => self.propose(finish).await.map(|_| ()),
                Err(error) => Err(error),
            };
            if let Err(error) = finished {
                tracing::warn!(queue = %queue.name, %error, "queue is not deleted yet");
            }
        }
    }

    async fn ask_shard(&self, shard: GroupId, call: Call) -> Result<shard_reply::Reply, ApiError> {
        let principal = Principal::Node(self.group().node_id());
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(call),
        };
        let reply = self
            .router
            .call(shard, call, STEP_PATIENCE, Again::Safe)
            .await?;
        reply
            .reply
            .ok_or_else(|| ApiError::unavailable("a shard gave an empty answer"))
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
