//! Who receives from the partitions of one shard, and who of them is drained.

use std::collections::BTreeMap;
use std::sync::Arc;

use roadstead_core::shard::{PartitionId, SessionId};
use roadstead_proto::v1::consumer_selector::By;
use roadstead_proto::v1::{
    ConsumerSelector, QueueConsumer, ShardConsumers, ShardDrainConsumers, ShardDrained,
    ShardListConsumers,
};

use super::consumer::Consumer;
use super::desk::Desk;
use super::drains::{DRAIN_MAX_MS, Selector};
use super::inspect;
use super::replica::Replica;
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// The sessions of a group behind `after`, in order, as many as are asked for.
pub fn list<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    call: &ShardListConsumers,
) -> ShardConsumers {
    let group = (call.queue_id, call.group_id);
    let mut all = BTreeMap::<String, (QueueConsumer, Vec<(PartitionId, SessionId)>)>::new();
    let seats = desk.seats();
    let now = desk.now_ms();
    for consumer in seats.consumers.streams_of(group) {
        let wish = &consumer.wish;
        let Some(session) = wish.session.filter(|_| wish.session_name > call.after) else {
            continue;
        };
        let lines = wish.partitions.iter();
        let lines = lines.map(|partition| (*partition, session));
        let one = seen(consumer, now);
        if let Some((sum, held)) = all.get_mut(&wish.session_name) {
            merge(sum, &one);
            held.extend(lines);
        } else {
            let name = wish.session_name.clone();
            all.insert(name, (one, lines.collect()));
        }
    }
    drop(seats);
    let max = call.max_consumers as usize;
    let more = all.len() > max;
    let first = all.into_values().take(max);
    let counted = first.map(|(one, held)| {
        let held = held.into_iter();
        let held = held.map(|line| in_flight(desk, call.group_id, line));
        with_in_flight(one, held.sum())
    });
    ShardConsumers {
        consumers: counted.collect(),
        more,
    }
}

/// One stream as it is now, but for what it has in flight.
pub fn seen(consumer: &Consumer, now_ms: u64) -> QueueConsumer {
    let wish = &consumer.wish;
    QueueConsumer {
        session_id: wish.session_name.clone(),
        name: wish.label.name.clone(),
        pod_uid: wish.label.pod_uid.clone(),
        priority: wish.rank.priority,
        exclusive: wish.rank.exclusive,
        in_flight: 0,
        credit: consumer.credit + consumer.reserved,
        idle_ms: now_ms.saturating_sub(consumer.active_ms),
        draining: consumer.drained_until_ms.is_some(),
    }
}

/// The same with what it has in flight: who has something is not idle.
pub fn with_in_flight(mut one: QueueConsumer, in_flight: usize) -> QueueConsumer {
    one.in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
    if in_flight > 0 {
        one.idle_ms = 0;
    }
    one
}

/// Messages that are leased to a session in a partition for a group.
pub fn in_flight<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    group: u32,
    (partition, session): (PartitionId, SessionId),
) -> usize {
    let leases = desk
        .replica
        .read(|machine, kv| machine.leases_of(kv, partition, session));
    let own = leases.iter().flatten().filter(|lease| lease.group == group);
    own.map(|lease| lease.messages.len()).sum()
}

/// Adds what another shard, or another stream, says of the same session.
pub fn merge(sum: &mut QueueConsumer, more: &QueueConsumer) {
    sum.in_flight = sum.in_flight.saturating_add(more.in_flight);
    sum.credit = sum.credit.saturating_add(more.credit);
    sum.idle_ms = sum.idle_ms.min(more.idle_ms);
    sum.draining |= more.draining;
}

/// Drains consumers, or takes that back. Nothing more is leased to them when it returns.
pub async fn drain<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    call: ShardDrainConsumers,
) -> Result<ShardDrained, ApiError> {
    let group = (call.queue_id, call.group_id);
    let selectors: Vec<_> = call.selectors.into_iter().filter_map(selector).collect();
    let for_ms = u64::from(call.duration_ms).min(DRAIN_MAX_MS);
    let for_ms = Some(for_ms).filter(|ms| *ms > 0);
    let term = desk.replica.view().term;
    let meant = {
        let mut seats = desk.seats();
        seats.consumers.pass(desk.now_ms());
        seats.consumers.drain(group, &selectors, for_ms)
    };
    let Some(sessions) = meant else {
        let message = "too many consumers are drained: wait until some are over, or take it back";
        return Err(ApiError::exhausted(message));
    };
    desk.intake.wake();
    // It holds where it was said only if no other leader was there by then. What was written for
    // those who are drained now stands before it.
    inspect::confirm(desk).await?;
    let view = desk.replica.view();
    if !desk.leads() || view.term != term {
        let leader = view.leader.filter(|_| !view.is_leader);
        return Err(ApiError::not_leader(desk.replica.id(), leader));
    }
    Ok(ShardDrained {
        sessions: sessions.into_iter().collect(),
    })
}

fn selector(wire: ConsumerSelector) -> Option<Selector> {
    Some(match wire.by? {
        By::Name(name) => Selector::Name(name),
        By::PodUid(uid) => Selector::PodUid(uid),
        By::SessionId(session) => Selector::Session(session),
    })
}
