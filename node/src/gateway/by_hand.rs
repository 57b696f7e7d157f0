//! What a person does with single messages: looks at them, deletes them, moves them.

use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    DeleteMessageRequest, DeleteMessageResponse, MessageFilter, PeekMessagesRequest,
    PeekMessagesResponse, QueueRef, RedriveMessageRequest, RedriveMessageResponse,
    RedriveMessagesRequest, RedriveMessagesResponse, ShardCall, ShardDeleteMessage, ShardPeek,
    ShardRedrive, ShardRedriveMessage,
};

use super::groups::Named;
use super::pages::{beginning, stations, token};
use super::queues::odd_answer;
use super::route::Again;
use super::shards::QueueInfo;
use super::{ApiError, Gateway, PATIENCE, validate};
use crate::auth::{Action, Principal, authorize};
use crate::raft::types::GroupId;
use crate::runtime::Runtime;
use crate::shard::deliver::ANSWER_BYTES;
use crate::shard::{Filter, LOOK_MAX, add_redriven, location};

const PEEK_DEFAULT: u32 = 10;
const PEEK_MAX: u32 = 100;
const REDRIVE_DEFAULT: u32 = 100;
const REDRIVE_MAX: u32 = 1_000;

impl<R: Runtime> Gateway<R> {
    /// Shows messages without leasing them.
    pub async fn peek_messages(
        &self,
        principal: &Principal,
        request: PeekMessagesRequest,
    ) -> Result<PeekMessagesResponse, ApiError> {
        let meant = Named::only(request.queue.as_ref(), &request.group);
        let (info, group_id) = self
            .queue_and_group(principal, Action::PeekMessages, meant)
            .await?;
        let max = validate::count("max_messages", request.max_messages, PEEK_DEFAULT, PEEK_MAX)?;
        let only = check(request.filter.as_ref(), &info)?;
        let mut answer = PeekMessagesResponse::default();
        let (mut bytes, mut looked_at) = (0, 0);
        for (shard, from) in stations(&info, &request.page_token, only)? {
            let left = max - answer.messages.len() as u32;
            if left == 0 || bytes >= ANSWER_BYTES || looked_at >= LOOK_MAX {
                answer.next_page_token = token(&info, Some(&beginning(&info, shard)));
                break;
            }
            let call = Call::Peek(ShardPeek {
                queue_id: info.id(),
                queue: Some(info.reference().clone()),
                max_messages: left,
                filter: request.filter.clone(),
                from,
                group_id,
            });
            let Reply::Peek(page) = self.ask(principal, shard, call, PATIENCE).await? else {
                return Err(odd_answer(shard));
            };
            looked_at += page.looked_at;
            bytes += page.messages.iter().map(|m| m.body.len()).sum::<usize>();
            answer.messages.extend(page.messages);
            answer.next_page_token = token(&info, page.next.as_ref());
            if page.next.is_some() {
                break;
            }
        }
        Ok(answer)
    }

    /// Deletes one message.
    pub async fn delete_message(
        &self,
        principal: &Principal,
        request: DeleteMessageRequest,
    ) -> Result<DeleteMessageResponse, ApiError> {
        let queue = request.queue.as_ref();
        let info = self.queue(principal, Action::DeleteMessage, queue).await?;
        let shard = shard_of(&info, &request.location)?;
        let call = Call::DeleteMessage(ShardDeleteMessage {
            queue_id: info.id(),
            queue: Some(info.reference().clone()),
            request: Some(request),
        });
        let Reply::Done(_) = self.ask_once(principal, shard, call).await? else {
            return Err(odd_answer(shard));
        };
        Ok(DeleteMessageResponse {})
    }

    /// Moves what a piece of a walk finds.
    pub async fn redrive_messages(
        &self,
        principal: &Principal,
        request: RedriveMessagesRequest,
    ) -> Result<RedriveMessagesResponse, ApiError> {
        let meant = Named::only(request.queue.as_ref(), &request.group);
        let (info, group_id) = self
            .queue_and_group(principal, Action::Redrive, meant)
            .await?;
        let to = self.end_of_redrive(principal, &info, &request.to).await?;
        let max = request.max_messages;
        let max = validate::count("max_messages", max, REDRIVE_DEFAULT, REDRIVE_MAX)?;
        let only = check(request.filter.as_ref(), &info)?;
        let mut sum = RedriveMessagesResponse::default();
        let mut looked_at = 0;
        for (shard, from) in stations(&info, &request.page_token, only)? {
            let left = u64::from(max).saturating_sub(sum.moved + sum.leased + sum.refused);
            if left == 0 || looked_at >= LOOK_MAX {
                sum.next_page_token = token(&info, Some(&beginning(&info, shard)));
                break;
            }
            let call = Call::Redrive(ShardRedrive {
                queue_id: info.id(),
                queue: Some(info.reference().clone()),
                to: to.clone(),
                filter: request.filter.clone(),
                max_messages: left as u32,
                from,
                dry_run: request.dry_run,
                group_id,
            });
            let Reply::Redriven(piece) = self.ask(principal, shard, call, PATIENCE).await? else {
                return Err(odd_answer(shard));
            };
            looked_at += piece.looked_at;
            let counts = piece.counts.unwrap_or_default();
            if counts.moved > 0 && !request.dry_run {
                let (queue, messages) = (info.reference().to_string(), counts.moved);
                let named = to.as_ref().map(ToString::to_string);
                let to = named.unwrap_or_else(|| "where they came from".to_owned());
                tracing::info!(%principal, queue, to, messages, "messages redriven");
            }
            add_redriven(&mut sum, counts);
            sum.next_page_token = token(&info, piece.next.as_ref());
            if piece.next.is_some() {
                break;
            }
        }
        Ok(sum)
    }

    /// Moves one message, and changes it if that is asked for.
    pub async fn redrive_message(
        &self,
        principal: &Principal,
        request: RedriveMessageRequest,
    ) -> Result<RedriveMessageResponse, ApiError> {
        let queue = request.queue.as_ref();
        let info = self.queue(principal, Action::Redrive, queue).await?;
        let to = self.end_of_redrive(principal, &info, &request.to).await?;
        let shard = shard_of(&info, &request.location)?;
        let call = Call::RedriveMessage(ShardRedriveMessage {
            queue_id: info.id(),
            queue: Some(info.reference().clone()),
            to,
            request: Some(request),
        });
        let Reply::RedrivenTo(to) = self.ask_once(principal, shard, call).await? else {
            return Err(odd_answer(shard));
        };
        Ok(RedriveMessageResponse { queue: Some(to) })
    }

    /// The queue that is named for messages of `source` to go to. Whoever moves them takes them out
    /// of that one.
    async fn end_of_redrive(
        &self,
        principal: &Principal,
        source: &QueueInfo,
        to: &str,
    ) -> Result<Option<QueueRef>, ApiError> {
        authorize(principal, Action::Receive, Some(source.reference()))?;
        if to.is_empty() {
            return Ok(None);
        }
        let named = QueueRef {
            namespace: source.reference().namespace.clone(),
            name: to.to_owned(),
        };
        let about_to = |mut error: ApiError| {
            "to".clone_into(&mut error.detail.field);
            error
        };
        let target = self.queue(principal, Action::Send, Some(&named)).await;
        let target = target.map_err(about_to)?;
        if target.id() == source.id() {
            let message =
                format!("the messages are in queue {named} already: name another one to go to");
            return Err(ApiError::invalid("to", message).about(&named));
        }
        Ok(Some(named))
    }

    /// Asks a shard's leader something that must not be done twice.
    async fn ask_once(
        &self,
        principal: &Principal,
        shard: GroupId,
        call: Call,
    ) -> Result<Reply, ApiError> {
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(call),
        };
        let answer = self.router.call(shard, call, PATIENCE, Again::Unsafe);
        answer.await?.reply.ok_or_else(|| odd_answer(shard))
    }
}

/// Checks a filter; the only partition that it means.
fn check(filter: Option<&MessageFilter>, info: &QueueInfo) -> Result<Option<u32>, ApiError> {
    let filter = Filter::new(filter).map_err(|error| error.about(info.reference()))?;
    Ok(filter.partition())
}

/// The shard of the partition that a location names.
fn shard_of(info: &QueueInfo, text: &str) -> Result<GroupId, ApiError> {
    let Some((partition, _)) = location::decode(text) else {
        let message = format!(
            "location {text:?} is not one that peek shows; a message id says where a message was \
             accepted, not where it stands"
        );
        return Err(ApiError::invalid("location", message).about(info.reference()));
    };
    let shard = info.shard(partition.partition);
    shard.filter(|_| partition.queue == info.id()).ok_or_else(|| {
        let message = format!(
            "location {text:?} is not in queue {}: it is of another one, or of one of that name \
             that was deleted",
            info.reference()
        );
        ApiError::new(tonic::Code::NotFound, message).about(info.reference())
    })
}
