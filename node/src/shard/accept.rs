//! Takes in messages from the outbox of another partition.

use std::sync::Arc;

use roadstead_core::shard::{Accept, Op, PartitionId, Reply};
use roadstead_proto::v1::{QueueRef, ShardAccept, ShardAccepted};

use super::desk::Desk;
use super::moved;
use super::refusal::{not_taken, refused};
use super::replica::Replica;
use super::send::{odd_reply, outcome, stopped};
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// Takes in what fits, in order.
pub async fn accept<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    queue: &QueueRef,
    call: ShardAccept,
) -> Result<ShardAccepted, ApiError> {
    let shard = desk.replica.id();
    let first = call.messages.first().map_or(0, |message| message.number);
    let in_order = call
        .messages
        .iter()
        .zip(first..)
        .all(|(message, at)| message.number == at);
    let messages = call
        .messages
        .iter()
        .map(|m| moved::decode(&m.header, &m.payload));
    let messages: Option<Vec<_>> = messages.collect();
    let Some(messages) = messages.filter(|messages| in_order && !messages.is_empty()) else {
        let message = "messages of an outbox cannot be read: the other node's version differs";
        return Err(ApiError::invalid("messages", message));
    };
    if let Err(why) = desk.replica.sends_allowed() {
        return Ok(ShardAccepted {
            number: first.saturating_sub(1),
            parked: why,
        });
    }
    let op = Accept {
        source: PartitionId {
            queue: call.source_queue_id,
            partition: call.source_partition,
        },
        target: PartitionId {
            queue: call.target_queue_id,
            partition: call.target_partition,
        },
        first,
        messages,
    };
    let bytes = op.encoded_len_max();
    let answer = desk.intake.push(Op::Accept(op), bytes);
    let answer = answer.map_err(|error| not_taken(shard, error))?;
    match outcome(shard, answer.await.unwrap_or_else(|_| stopped()))? {
        Reply::Accepted { through, stopped } => {
            let parked = stopped.map(|refusal| refused(refusal, queue).message);
            Ok(ShardAccepted {
                number: through,
                parked: parked.unwrap_or_default(),
            })
        }
        Reply::Refused(refusal) => Err(refused(refusal, queue)),
        _ => Err(odd_reply(shard)),
    }
}
