//! Creates, changes, lists and inspects queues.

use std::time::Duration;

use futures_util::future::join_all;
use roadstead_core::shard::DEFAULT_GROUP;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    CreateQueueRequest, CreateQueueResponse, DeletePolicy, DeleteQueueRequest, DeleteQueueResponse,
    GetQueueRequest, GetQueueResponse, GetQueueStatsRequest, GetQueueStatsResponse,
    ListQueuesRequest, ListQueuesResponse, PurgeQueueRequest, PurgeQueueResponse, QueueRef,
    QueueStats, ShardCall, ShardPurge, ShardStats, UpdateQueueRequest, UpdateQueueResponse,
};
use tonic::Code;

use super::groups::Named;
use super::route::Again;
use super::shards::QueueInfo;
use super::{ApiError, BARRIER, Gateway, PATIENCE, validate};
use crate::auth::{Action, Principal, authorize};
use crate::raft::types::{CATALOG, GroupId};
use crate::runtime::Runtime;
use crate::shard::add_stats;

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// A shard that does not answer is left out of counts after this.
const STATS_PATIENCE: Duration = Duration::from_secs(2);
const PURGE_PATIENCE: Duration = Duration::from_mins(1);

impl<R: Runtime> Gateway<R> {
    /// Creates a queue; this node knows it when the call returns.
    pub async fn create_queue(
        &self,
        principal: &Principal,
        request: CreateQueueRequest,
    ) -> Result<CreateQueueResponse, ApiError> {
        let queue = validate::queue(request.queue.as_ref())?;
        authorize(principal, Action::CreateQueue, Some(queue))?;
        let reply = self
            .catalog(principal, Call::CreateQueue(request), Again::Safe)
            .await?;
        let Reply::CreateQueue(response) = reply else {
            return Err(odd_answer(CATALOG));
        };
        self.queues.barrier(BARRIER).await?;
        Ok(response)
    }

    /// Replaces a queue's specification.
    pub async fn update_queue(
        &self,
        principal: &Principal,
        request: UpdateQueueRequest,
    ) -> Result<UpdateQueueResponse, ApiError> {
        let queue = validate::queue(request.queue.as_ref())?;
        authorize(principal, Action::UpdateQueue, Some(queue))?;
        let again = if request.expected_generation == 0 {
            Again::Safe
        } else {
            Again::Unsafe
        };
        let reply = self
            .catalog(principal, Call::UpdateQueue(request), again)
            .await?;
        let Reply::UpdateQueue(response) = reply else {
            return Err(odd_answer(CATALOG));
        };
        self.queues.barrier(BARRIER).await?;
        Ok(response)
    }

    /// Deletes a queue and its messages.
    pub async fn delete_queue(
        &self,
        principal: &Principal,
        request: DeleteQueueRequest,
    ) -> Result<DeleteQueueResponse, ApiError> {
        let policy: DeletePolicy = validate::known("policy", request.policy)?;
        let info = self
            .queue(principal, Action::DeleteQueue, request.queue.as_ref())
            .await?;
        let asked = (DEFAULT_GROUP, false);
        let stats = self.stats_of(principal, &info, asked).await;
        // What any group has not settled.
        let messages = stats.messages;
        if policy != DeletePolicy::Always {
            let name = info.reference();
            let full = format!("queue {}/{}", name.namespace, name.name);
            if stats.partitions_unavailable > 0 {
                let message = format!(
                    "{full}: {} of its partitions do not answer, so it is not known whether it is \
                     empty; try again, or delete it whatever it holds (policy ALWAYS)",
                    stats.partitions_unavailable
                );
                return Err(ApiError::unavailable(message).about(name));
            }
            if messages > 0 {
                let message = format!(
                    "{full} holds {messages} messages; consume or purge them, or delete it \
                     whatever it holds (policy ALWAYS)"
                );
                return Err(ApiError::new(Code::FailedPrecondition, message).about(name));
            }
        }
        let queue = info.reference().to_string();
        let deleted = self.catalog(principal, Call::DeleteQueue(request), Again::Safe);
        if let Err(error) = deleted.await {
            tracing::info!(%principal, queue, messages, ?policy, %error, "queue maybe not deleted");
            return Err(error);
        }
        tracing::info!(%principal, queue, messages, ?policy, "queue deleted");
        self.queues.barrier(BARRIER).await?;
        Ok(DeleteQueueResponse { messages })
    }

    /// One queue.
    pub async fn get_queue(
        &self,
        principal: &Principal,
        request: GetQueueRequest,
    ) -> Result<GetQueueResponse, ApiError> {
        let info = self
            .queue(principal, Action::GetQueue, request.queue.as_ref())
            .await?;
        Ok(GetQueueResponse {
            queue: Some(info.queue.clone()),
        })
    }

    /// Queues in order of namespace and name, those that the caller may see.
    #[expect(
        clippy::unused_async,
        reason = "every call of the gateway is asynchronous"
    )]
    pub async fn list_queues(
        &self,
        principal: &Principal,
        request: ListQueuesRequest,
    ) -> Result<ListQueuesResponse, ApiError> {
        authorize(principal, Action::ListQueues, None)?;
        let max = validate::count("page_size", request.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        let mut after = page_start(&request.page_token)?;
        // A caller who names no namespace sees those that are theirs.
        let namespace = match (principal, request.namespace.is_empty()) {
            (Principal::ServiceAccount { namespace, .. }, true) => namespace.clone(),
            _ => request.namespace,
        };
        let mut queues = Vec::new();
        let next_page_token = loop {
            let page = self
                .queues
                .list(&namespace, after.as_ref(), max as usize + 1);
            let more = page.len() > max as usize;
            for info in &page {
                if queues.len() == max as usize {
                    break;
                }
                after = Some(info.reference().clone());
                if authorize(principal, Action::GetQueue, Some(info.reference())).is_ok() {
                    queues.push(info.queue.clone());
                }
            }
            match (&after, more) {
                (Some(after), true) if queues.len() == max as usize => break token(after),
                (_, true) => {}
                (_, false) => break String::new(),
            }
        };
        Ok(ListQueuesResponse {
            queues,
            next_page_token,
        })
    }

    /// Live counts, from the leaders of the partitions.
    pub async fn get_queue_stats(
        &self,
        principal: &Principal,
        request: GetQueueStatsRequest,
    ) -> Result<GetQueueStatsResponse, ApiError> {
        let meant = Named::only(request.queue.as_ref(), &request.group);
        let (info, group) = self
            .queue_and_group(principal, Action::GetQueueStats, meant)
            .await?;
        let asked = (group, request.confirmed);
        let stats = self.stats_of(principal, &info, asked).await;
        Ok(GetQueueStatsResponse { stats: Some(stats) })
    }

    async fn stats_of(
        &self,
        principal: &Principal,
        info: &QueueInfo,
        (group_id, confirmed): (u32, bool),
    ) -> QueueStats {
        let shards = info.by_shard(&[]);
        let asked = shards.iter().map(|(shard, _)| {
            let stats = ShardStats {
                queue_id: info.id(),
                queue: Some(info.reference().clone()),
                confirmed,
                group_id,
            };
            let answer = self.ask(principal, *shard, Call::Stats(stats), STATS_PATIENCE);
            // A leader that finds no majority does not answer, also when it is this node.
            R::timeout(STATS_PATIENCE, answer)
        });
        let answers = join_all(asked).await;
        let mut sum = QueueStats::default();
        for ((_, partitions), answer) in shards.iter().zip(answers) {
            match answer {
                Ok(Ok(Reply::Stats(stats))) => add_stats(&mut sum, &stats),
                _ => sum.partitions_unavailable += partitions.len() as u32,
            }
        }
        sum
    }

    /// Removes every message that is not leased.
    pub async fn purge_queue(
        &self,
        principal: &Principal,
        request: PurgeQueueRequest,
    ) -> Result<PurgeQueueResponse, ApiError> {
        let info = self
            .queue(principal, Action::PurgeQueue, request.queue.as_ref())
            .await?;
        let shards = info.by_shard(&[]);
        let asked = shards.iter().map(|(shard, _)| {
            let purge = ShardPurge {
                queue_id: info.id(),
                queue: Some(info.reference().clone()),
            };
            self.ask(principal, *shard, Call::Purge(purge), PURGE_PATIENCE)
        });
        let (mut messages, mut failed) = (0, None);
        for ((shard, _), answer) in shards.iter().zip(join_all(asked).await) {
            match answer {
                Ok(Reply::Purge(purged)) => messages += purged.messages,
                Ok(_) => failed = Some(odd_answer(*shard)),
                Err(error) => failed = Some(error),
            }
        }
        let (queue, whole) = (info.reference().to_string(), failed.is_none());
        tracing::info!(%principal, queue, messages, whole, "queue purged");
        failed.map_or(Ok(PurgeQueueResponse { messages }), Err)
    }

    async fn catalog(
        &self,
        principal: &Principal,
        call: Call,
        again: Again,
    ) -> Result<Reply, ApiError> {
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(call),
        };
        let answer = self.router.call(CATALOG, call, PATIENCE, again).await?;
        answer.reply.ok_or_else(|| odd_answer(CATALOG))
    }

    /// Asks a shard's leader something that may be asked twice.
    pub(super) async fn ask(
        &self,
        principal: &Principal,
        shard: GroupId,
        call: Call,
        patience: Duration,
    ) -> Result<Reply, ApiError> {
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(call),
        };
        let answer = self.router.call(shard, call, patience, Again::Safe).await?;
        answer.reply.ok_or_else(|| odd_answer(shard))
    }
}

/// A group answered another question.
pub(super) fn odd_answer(group: GroupId) -> ApiError {
    let message =
        format!("group {group} gave an answer of another kind; the nodes' versions differ");
    ApiError::new(Code::Internal, message)
}

/// The page token names the last queue of the page before.
fn token(last: &QueueRef) -> String {
    last.to_string()
}

fn page_start(token: &str) -> Result<Option<QueueRef>, ApiError> {
    if token.is_empty() {
        return Ok(None);
    }
    let (namespace, name) = token.split_once('/').ok_or_else(|| {
        ApiError::invalid(
            "page_token",
            "page_token is not one that a list answered with",
        )
    })?;
    Ok(Some(QueueRef {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }))
}
