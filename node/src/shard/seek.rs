//! Lets a consumer group begin with another message, in the partitions that one shard holds.

use std::sync::Arc;

use roadstead_core::shard::{Op, PartitionId, Reply, Seek, SeekTo};
use roadstead_proto::v1::shard_seek::To;
use roadstead_proto::v1::{SeekGroupResponse, SeekPosition, ShardSeek};

use super::desk::Desk;
use super::refusal::{not_taken, refused};
use super::replica::Replica;
use super::send::{odd_reply, outcome, stopped};
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// Bytes that a seek adds to an entry, at most.
const SEEK_BYTES: usize = 64;

/// Says it to each partition that is named.
pub async fn seek<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    call: ShardSeek,
) -> Result<SeekGroupResponse, ApiError> {
    let shard = desk.replica.id();
    let queue = call.queue.unwrap_or_default();
    let to = match call.to {
        Some(To::Sequence(sequence)) => SeekTo::Sequence(sequence),
        Some(To::TimeMs(time)) => SeekTo::Time(time),
        Some(To::Position(end)) if end == i32::from(SeekPosition::End) => SeekTo::End,
        Some(To::Position(_)) | None => SeekTo::Beginning,
    };
    let mut sum = SeekGroupResponse {
        messages: 0,
        done: true,
    };
    for partition in call.partitions {
        let op = Op::Seek(Seek {
            partition: PartitionId {
                queue: call.queue_id,
                partition,
            },
            group: call.group_id,
            to,
        });
        let answer = desk.intake.push(op, SEEK_BYTES);
        let answer = answer.map_err(|error| not_taken(shard, error))?;
        let answer = answer.await.unwrap_or_else(|_| stopped());
        match outcome(shard, answer)? {
            Reply::Sought { messages, done } => {
                sum.messages += messages;
                sum.done &= done;
            }
            Reply::Refused(refusal) => return Err(refused(refusal, &queue)),
            _ => return Err(odd_reply(shard)),
        }
    }
    Ok(sum)
}
