//! Keeps the partitions of a shard as the catalog says.
//!
//! A partition is made known to its shard when it is first used; from then on the shard's leader
//! follows the catalog: changes are told, and what the catalog has no more is dropped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt::Select3;
use roadstead_core::shard::{Configure, DropPartition, Op, PartitionId, ShardMachine};
use tokio::sync::oneshot;

use super::consumer::Closed;
use super::desk::Desk;
use super::intake::Answer;
use super::refusal::not_taken;
use super::replica::Replica;
use super::send::{outcome, stopped};
use crate::gateway::ApiError;
use crate::gateway::shards::{QueueInfo, Queues};
use crate::runtime::Runtime;

const BARRIER: Duration = Duration::from_secs(5);
/// What could not be looked up is looked up again after this.
const AGAIN: Duration = Duration::from_secs(1);
const NAP: Duration = Duration::from_hours(1);

/// Makes sure that an entry written from now on finds the partition as `queue` describes it.
pub fn ensure<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    queue: &QueueInfo,
    partition: u32,
) -> Result<Option<oneshot::Receiver<Answer>>, ApiError> {
    let id = PartitionId {
        queue: queue.id(),
        partition,
    };
    if known_revision(desk, id).is_some_and(|known| known >= queue.config.revision) {
        return Ok(None);
    }
    let op = Op::Configure(Configure {
        partition: id,
        config: queue.config.clone(),
    });
    let answer = desk.intake.push(op, 128);
    answer
        .map(Some)
        .map_err(|error| not_taken(desk.replica.id(), error))
}

/// The revision of what the shard knows of a partition.
fn known_revision<R: Runtime, P: Replica>(desk: &Desk<R, P>, id: PartitionId) -> Option<u64> {
    let config = |machine: &ShardMachine| machine.config(id).map(|config| config.revision);
    desk.replica.read(|machine, _| config(machine))
}

/// Whether the partition knows a newer specification than `queue`: this node's catalog lags behind.
pub fn knows_newer<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    queue: &QueueInfo,
    partition: u32,
) -> bool {
    let id = PartitionId {
        queue: queue.id(),
        partition,
    };
    known_revision(desk, id).is_some_and(|known| known > queue.config.revision)
}

/// Brings the partitions of one queue in line with the catalog, and waits until that is written.
pub async fn align<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    queues: &dyn Queues,
    queue: u64,
) -> Result<(), ApiError> {
    let shard = desk.replica.id();
    let mut waiting = Vec::new();
    if queues.by_id(queue).is_none() {
        // This node's catalog may lag behind; dropping cannot be taken back.
        queues.barrier(BARRIER).await?;
    }
    if let Some(info) = queues.by_id(queue) {
        if info.deleting {
            // Who deletes it drops its partitions, or lets it serve again.
            return Ok(());
        }
        let here = (0..info.partitions()).filter(|p| info.shard(*p) == Some(shard));
        for partition in here {
            waiting.extend(ensure(desk, &info, partition)?);
        }
    } else {
        let all: Vec<_> = desk
            .replica
            .read(|machine, _| machine.partitions().collect());
        for partition in all.into_iter().filter(|partition| partition.queue == queue) {
            let op = DropPartition {
                partition,
                only_if_empty: false,
            };
            let answer = desk.intake.push(Op::Drop(op), 64);
            waiting.push(answer.map_err(|error| not_taken(shard, error))?);
        }
    }
    for answer in waiting {
        outcome(shard, answer.await.unwrap_or_else(|_| stopped()))?;
    }
    Ok(())
}

/// Follows the catalog for as long as the shard is served here.
pub async fn follow<R: Runtime, P: Replica>(desk: Arc<Desk<R, P>>, queues: Arc<dyn Queues>) {
    let mut epoch = desk.replica.view().epoch;
    loop {
        let version = queues.version();
        let mut nap = NAP;
        if desk.replica.view().is_leader {
            align_all(&desk, &*queues).await;
            if let Err(error) = end_gone(&desk, &*queues).await {
                tracing::debug!(
                    shard = desk.replica.id(), %error,
                    "it is not known yet which queues are gone"
                );
                nap = AGAIN;
            }
        }
        let changed = Box::pin(queues.changed(version));
        let moved = Box::pin(desk.replica.view_changed(epoch));
        let woken = R::select3(changed, moved, Box::pin(R::sleep(nap))).await;
        if let Select3::Second(view) = woken {
            epoch = view.epoch;
        }
    }
}

/// Ends the subscriptions of queues and groups that the catalog has no more: nothing would ever
/// come.
pub async fn end_gone<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    queues: &dyn Queues,
) -> Result<(), ApiError> {
    let unknown = |(queue, group): &(u64, u32)| {
        let info = queues.by_id(*queue);
        info.is_none_or(|info| !info.has_group(*group))
    };
    let mut gone = desk.seats().consumers.groups();
    gone.retain(unknown);
    if gone.is_empty() {
        return Ok(());
    }
    // This node's catalog may lag behind.
    let seen = queues.barrier(BARRIER).await;
    // Where the catalog is led is of no use to who looks for the shard.
    seen.map_err(|error| ApiError::unavailable(error.message))?;
    gone.retain(unknown);
    for group in gone {
        let why = match queues.by_id(group.0) {
            None => Closed::Gone,
            Some(_) => Closed::GroupGone,
        };
        desk.seats().consumers.close_group(group, why);
    }
    Ok(())
}

async fn align_all<R: Runtime, P: Replica>(desk: &Arc<Desk<R, P>>, queues: &dyn Queues) {
    let stale = |partition: &PartitionId| {
        // Being dropped already.
        let Some(known) = known_revision(desk, *partition) else {
            return false;
        };
        let info = queues.by_id(partition.queue).filter(|info| !info.deleting);
        info.is_none_or(|info| info.config.revision > known)
    };
    let partitions: Vec<_> = desk
        .replica
        .read(|machine, _| machine.partitions().collect());
    let stale: BTreeSet<u64> = partitions
        .into_iter()
        .filter(stale)
        .map(|partition| partition.queue)
        .collect();
    for queue in stale {
        if let Err(error) = align(desk, queues, queue).await {
            tracing::info!(
                shard = desk.replica.id(), queue, %error,
                "the shard does not know yet what the catalog says of a queue"
            );
        }
    }
}
