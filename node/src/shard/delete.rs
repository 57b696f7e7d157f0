//! The partitions of a queue that is being deleted.

use std::sync::Arc;
use std::time::Duration;

use roadstead_core::shard::{DropPartition, Op, PartitionId, Refusal, Reply};
use roadstead_proto::v1::{QueueRef, ShardDrop, ShardDropped};

use super::desk::Desk;
use super::intake::IntakeError;
use super::refusal::{not_taken, refused};
use super::replica::Replica;
use super::send::{odd_reply, outcome, stopped};
use crate::gateway::ApiError;
use crate::gateway::shards::Queues;
use crate::runtime::Runtime;

/// Time to hear that the queue is being deleted.
const BARRIER: Duration = Duration::from_secs(5);

/// Drops or counts the partitions that this shard holds of a queue.
///
/// From the moment this is called nothing more is sent to the queue here, and what was being sent
/// before counts.
pub async fn delete<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    queues: &dyn Queues,
    call: ShardDrop,
) -> Result<ShardDropped, ApiError> {
    queues.barrier(BARRIER).await?;
    let ShardDrop {
        queue_id,
        if_empty,
        only_count,
    } = call;
    if only_count {
        write(desk, Op::Tick).await?;
    }
    let held: Vec<PartitionId> = desk.replica.read(|machine, _| {
        machine
            .partitions()
            .filter(|partition| partition.queue == queue_id)
            .collect()
    });
    let mut total = ShardDropped::default();
    for partition in held {
        if only_count {
            total.kept += live(desk, partition)?;
            continue;
        }
        let op = Op::Drop(DropPartition {
            partition,
            only_if_empty: if_empty,
        });
        match write(desk, op).await? {
            Reply::Dropped { messages } => total.messages += messages,
            Reply::Refused(Refusal::NotEmpty(messages)) => total.kept += messages,
            Reply::Refused(refusal) => return Err(refused(refusal, &QueueRef::default())),
            _ => return Err(odd_reply(desk.replica.id())),
        }
    }
    Ok(total)
}

async fn write<R: Runtime, P: Replica>(desk: &Desk<R, P>, op: Op) -> Result<Reply, ApiError> {
    let shard = desk.replica.id();
    let answer = desk
        .intake
        .push(op, 64)
        .map_err(|error: IntakeError| not_taken(shard, error))?;
    outcome(shard, answer.await.unwrap_or_else(|_| stopped()))
}

fn live<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    partition: PartitionId,
) -> Result<u64, ApiError> {
    let group = roadstead_core::shard::DEFAULT_GROUP;
    let stats = desk
        .replica
        .read(|machine, kv| machine.stats(kv, partition, group));
    let stats = stats.map_err(|error| {
        ApiError::unavailable(format!(
            "shard {} cannot be read: {error}",
            desk.replica.id()
        ))
    })?;
    Ok(stats.map_or(0, |stats| stats.messages + stats.outbox))
}
