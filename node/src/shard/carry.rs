//! Carries one batch of one outbox to its target.

use std::time::Duration;

use roadstead_core::shard::{
    Attempt, AttemptEnd, DeadLetterReason as Reason, Op, Outbox, OutboxDone, OutboxMessage,
    OutboxReason, PartitionId, split_payload,
};
use roadstead_proto::v1::{
    self, DeadLetterInfo, DeadLetterReason, FailedAttempt, OutboxMessage as Travelling,
    ShardAccept, ShardAccepted, ShardCall, shard_call::Call, shard_reply::Reply,
};

use super::courier::Courier;
use super::replica::Replica;
use super::wire::timestamp;
use super::{blob, deliver, moved};
use crate::auth::Principal;
use crate::gateway::ApiError;
use crate::gateway::route::Again;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;

/// Messages per batch.
const BATCH: usize = 256;
/// Bytes per batch, about.
const BATCH_BYTES: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

impl<R: Runtime, P: Replica> Courier<R, P> {
    /// The first batch of an outbox whose target is in `shard`; None: there is no such queue.
    pub(super) async fn carry(
        &self,
        outbox: Outbox,
        shard: Option<GroupId>,
    ) -> Result<(), ApiError> {
        let Outbox { source, target, .. } = outbox;
        let shard = shard.ok_or_else(|| {
            ApiError::unavailable(format!(
                "queue {} does not exist any more; for later dead letters, point the policy at \
                 another queue",
                target.queue
            ))
        })?;
        let replica = &self.desk.replica;
        let heads = replica.read(|machine, kv| machine.outbox_heads(kv, source, target, BATCH));
        let mut heads = heads.map_err(|error| ApiError::unavailable(error.to_string()))?;
        let mut bytes = 0;
        let fits = heads.iter().take_while(|message| {
            let first = bytes == 0;
            let texts = message.attempts.newest.iter().map(|it| it.error.len() + 32);
            bytes += message.payload.len as usize + texts.sum::<usize>() + 64;
            first || bytes <= BATCH_BYTES
        });
        heads.truncate(fits.count());
        let Some(last) = heads.last().map(|message| message.number) else {
            return Ok(());
        };
        let messages = self.travelling(source, heads).await?;
        let accepted = self.deliver(shard, source, target, messages).await?;
        let through = accepted.number.min(last);
        let done = Op::OutboxDone(OutboxDone {
            source,
            target,
            through,
        });
        let answer = self.desk.intake.push(done, 64);
        let answer = answer.map_err(|error| ApiError::unavailable(error.to_string()))?;
        // Whatever comes of it: what is still in the outbox is carried again, and known there.
        let _ = answer.await;
        if accepted.parked.is_empty() || through >= last {
            return Ok(());
        }
        Err(ApiError::unavailable(accepted.parked))
    }

    async fn travelling(
        &self,
        source: PartitionId,
        heads: Vec<OutboxMessage>,
    ) -> Result<Vec<Travelling>, ApiError> {
        let queue = self.queues.by_id(source.queue);
        let source_queue = queue.map_or_else(
            || source.queue.to_string(),
            |queue| format!("{}/{}", queue.reference().namespace, queue.reference().name),
        );
        let refs = heads.iter().map(|message| message.payload).collect();
        let payloads = deliver::payloads(&*self.desk.replica, refs).await;
        let both = heads.into_iter().zip(payloads);
        both.map(|(message, payload)| {
            let unreadable = || {
                ApiError::unavailable(format!(
                    "the payload of message {} is unreadable",
                    message.id
                ))
            };
            let payload = payload.ok_or_else(unreadable)?;
            let moving = match message.reason {
                OutboxReason::DeadLettered(why) => {
                    let info = dead_letter(&message, why, &source_queue);
                    blob::with_dead_letter(&payload, &info)
                }
                OutboxReason::Redriven => blob::without_dead_letter(&payload),
                OutboxReason::Sent => split_payload(&payload).map_err(|_| blob::BlobError(0)),
            };
            let (header, body) = moving.map_err(|_| unreadable())?;
            Ok(Travelling {
                number: message.number,
                header: moved::encode(&message),
                payload: moved::join(&header, &body),
            })
        })
        .collect()
    }

    async fn deliver(
        &self,
        shard: u16,
        source: PartitionId,
        target: PartitionId,
        messages: Vec<Travelling>,
    ) -> Result<ShardAccepted, ApiError> {
        let accept = ShardAccept {
            source_queue_id: source.queue,
            source_partition: source.partition,
            target_queue_id: target.queue,
            target_partition: target.partition,
            messages,
        };
        let node = self.router.node_id();
        let call = ShardCall {
            principal: Some(Principal::Node(node).to_info()),
            call: Some(Call::Accept(accept)),
        };
        match self
            .router
            .call(shard, call, PATIENCE, Again::Safe)
            .await?
            .reply
        {
            Some(Reply::Accepted(accepted)) => Ok(accepted),
            _ => Err(ApiError::unavailable(format!(
                "shard {shard} gave an odd answer"
            ))),
        }
    }
}

fn dead_letter(message: &OutboxMessage, why: Reason, source_queue: &str) -> DeadLetterInfo {
    let reason = match why {
        Reason::MaxDeliveries => DeadLetterReason::MaxDeliveries,
        Reason::Rejected => DeadLetterReason::Rejected,
        Reason::Expired => DeadLetterReason::Expired,
        Reason::Overflow => DeadLetterReason::Overflow,
    };
    DeadLetterInfo {
        reason: reason.into(),
        error: readable(&message.attempts.error()),
        source_queue: source_queue.to_owned(),
        delivery_count: message.delivery_count,
        at: Some(timestamp(message.at)),
        first_delivered_at: Some(message.attempts.first_delivered_at)
            .filter(|at| *at != 0)
            .map(timestamp),
        attempts: message.attempts.newest.iter().map(failed).collect(),
    }
}

fn failed(attempt: &Attempt) -> FailedAttempt {
    let end = match attempt.how {
        AttemptEnd::Nacked => v1::AttemptEnd::Nacked,
        AttemptEnd::Rejected => v1::AttemptEnd::Rejected,
        AttemptEnd::LeaseExpired => v1::AttemptEnd::LeaseExpired,
        AttemptEnd::SessionReleased => v1::AttemptEnd::SessionReleased,
    };
    FailedAttempt {
        delivered_at: Some(timestamp(attempt.delivered_at)),
        ended_at: Some(timestamp(attempt.ended_at)),
        end: end.into(),
        error: readable(&attempt.error),
    }
}

/// A consumer's text, which may have been cut within a character.
fn readable(error: &[u8]) -> String {
    String::from_utf8_lossy(error).into_owned()
}
