//! Stats and purge of the partitions that one shard holds.

use std::sync::Arc;

use roadstead_core::shard::{BreakerState, MAX_PRIORITY, Op, PartitionId, Purge, Reply, Stats};
use roadstead_proto::v1::{PurgeQueueResponse, QueueRef, QueueStats};

use super::desk::Desk;
use super::refusal::{not_taken, refused};
use super::replica::Replica;
use super::send::{odd_reply, outcome, stopped};
use super::walk::broken;
use super::wire::timestamp;
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// Priorities that there are.
const LANES: usize = MAX_PRIORITY as usize + 1;

/// Makes sure that a majority follows this leader: it writes an entry that says nothing.
pub async fn confirm<R: Runtime, P: Replica>(desk: &Desk<R, P>) -> Result<(), ApiError> {
    let shard = desk.replica.id();
    let answer = desk.intake.push(Op::Tick, 1);
    let answer = answer.map_err(|error| not_taken(shard, error))?;
    outcome(shard, answer.await.unwrap_or_else(|_| stopped()))?;
    Ok(())
}

/// Counts of a group over these partitions.
pub fn stats<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    partitions: &[PartitionId],
    group: u32,
) -> Result<QueueStats, ApiError> {
    let mut sum = QueueStats::default();
    let now = desk.replica.cluster_time();
    for partition in partitions {
        let (stats, lanes) = desk.replica.read(|machine, kv| {
            let lanes = machine.ready_by_lane(*partition, group);
            (machine.stats(kv, *partition, group), lanes)
        });
        match stats {
            Ok(Some(stats)) => {
                let mut counted = counts(&stats, lanes.unwrap_or_default());
                let slowed = stats.rate.is_some_and(|rate| rate.next_at > now);
                counted.rates_used_up = u32::from(slowed && stats.ready > 0);
                add(&mut sum, &counted);
            }
            // Nothing was ever sent to it.
            Ok(None) => {}
            Err(error) => return Err(broken(desk.replica.id(), &error)),
        }
    }
    Ok(sum)
}

fn counts(stats: &Stats, lanes: [u64; LANES]) -> QueueStats {
    QueueStats {
        ready: stats.ready,
        in_flight: stats.in_flight,
        delayed: stats.delayed,
        blocked: stats.blocked,
        dead_lettered_total: stats.totals.dead_lettered,
        bytes: stats.bytes,
        oldest_enqueued_at: stats.oldest_ready_at.map(timestamp),
        sent_total: stats.totals.sent,
        delivered_total: stats.totals.delivered,
        acked_total: stats.totals.acked,
        nacked_total: stats.totals.nacked,
        redelivered_total: stats.totals.redelivered,
        expired_total: stats.totals.expired,
        outbox: stats.outbox,
        partitions_unavailable: 0,
        deduplication_ids: stats.ids,
        redriven_total: stats.totals.redriven,
        messages: stats.messages,
        retained: stats.retained,
        retained_bytes: stats.retained_bytes,
        ready_by_priority: lanes.into(),
        breakers_open: u32::from(matches!(stats.breaker, BreakerState::Open { .. })),
        breakers_half_open: u32::from(stats.breaker == BreakerState::HalfOpen),
        rates_used_up: 0,
    }
}

/// Adds the counts of other partitions.
pub fn add(sum: &mut QueueStats, more: &QueueStats) {
    sum.ready += more.ready;
    sum.in_flight += more.in_flight;
    sum.delayed += more.delayed;
    sum.blocked += more.blocked;
    sum.dead_lettered_total += more.dead_lettered_total;
    sum.bytes += more.bytes;
    sum.sent_total += more.sent_total;
    sum.delivered_total += more.delivered_total;
    sum.acked_total += more.acked_total;
    sum.nacked_total += more.nacked_total;
    sum.redelivered_total += more.redelivered_total;
    sum.expired_total += more.expired_total;
    sum.outbox += more.outbox;
    sum.deduplication_ids += more.deduplication_ids;
    sum.redriven_total += more.redriven_total;
    sum.messages += more.messages;
    sum.retained += more.retained;
    sum.retained_bytes += more.retained_bytes;
    sum.breakers_open += more.breakers_open;
    sum.breakers_half_open += more.breakers_half_open;
    sum.rates_used_up += more.rates_used_up;
    let lanes = &mut sum.ready_by_priority;
    lanes.resize(lanes.len().max(more.ready_by_priority.len()), 0);
    for (sum, more) in lanes.iter_mut().zip(&more.ready_by_priority) {
        *sum += more;
    }
    sum.partitions_unavailable += more.partitions_unavailable;
    let older = |a: &prost_types::Timestamp, b: &prost_types::Timestamp| {
        (a.seconds, a.nanos) < (b.seconds, b.nanos)
    };
    if let Some(at) = &more.oldest_enqueued_at
        && sum
            .oldest_enqueued_at
            .as_ref()
            .is_none_or(|oldest| older(at, oldest))
    {
        sum.oldest_enqueued_at = Some(*at);
    }
}

/// Removes what is not leased from these partitions.
pub async fn purge<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    queue: &QueueRef,
    partitions: &[PartitionId],
) -> Result<PurgeQueueResponse, ApiError> {
    let shard = desk.replica.id();
    let mut messages = 0;
    for partition in partitions {
        if desk
            .replica
            .read(|machine, _| machine.config(*partition).is_none())
        {
            continue;
        }
        let mut from = None;
        loop {
            let op = Op::Purge(Purge {
                partition: *partition,
                from,
            });
            let answer = desk
                .intake
                .push(op, 64)
                .map_err(|error| not_taken(shard, error))?;
            let answer = answer.await.unwrap_or_else(|_| stopped());
            match outcome(shard, answer)? {
                Reply::Purged {
                    messages: removed,
                    next,
                } => {
                    messages += removed;
                    from = next;
                }
                Reply::Refused(refusal) => return Err(refused(refusal, queue)),
                _ => return Err(odd_reply(shard)),
            }
            if from.is_none() {
                break;
            }
        }
    }
    Ok(PurgeQueueResponse { messages })
}
