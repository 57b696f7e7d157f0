//! The load of consumer groups, for autoscaling.

use std::collections::BTreeSet;

use roadstead_core::shard::{PartitionId, Stats};
use roadstead_proto::v1::{ConsumerInfo, ConsumerLoad};

use super::consumer::Line;
use super::desk::Desk;
use super::replica::Replica;
use crate::gateway::shards::Queues;
use crate::runtime::Runtime;

/// Groups without consumers that got something to do: each is told once, until it is idle again.
#[derive(Debug, Default)]
pub struct WakeUps {
    rung: BTreeSet<PartitionId>,
}

impl WakeUps {
    /// Whether this is news.
    pub fn rings(&mut self, partition: PartitionId) -> bool {
        self.rung.insert(partition)
    }

    /// The group is idle, or has a consumer: the next message is news again.
    pub fn quiet(&mut self, partition: PartitionId) {
        self.rung.remove(&partition);
    }

    /// Forgets all: another node leads.
    pub fn clear(&mut self) {
        self.rung.clear();
    }
}

/// The load of every partition that is the shard's: also of one that never had a message, or nobody
/// could tell it from one whose leader is silent.
pub fn loads<R: Runtime, P: Replica>(desk: &Desk<R, P>, queues: &dyn Queues) -> Vec<ConsumerLoad> {
    if !desk.leads() {
        return Vec::new();
    }
    let term = desk.replica.view().term;
    let shard = desk.replica.id();
    let mut loads = Vec::new();
    for queue in queues.list("", None, usize::MAX) {
        let (name, id) = (queue.reference(), queue.id());
        let here = |partition: &u32| queue.shard(*partition) == Some(shard);
        for partition in (0..queue.partitions()).filter(here) {
            let held = PartitionId {
                queue: id,
                partition,
            };
            let mut is_idle = true;
            for (group, id) in queue.groups() {
                let stats = desk.replica.read(|machine, kv| machine.stats(kv, held, id));
                let counted = match stats {
                    Ok(Some(stats)) => {
                        is_idle &= stats.ready + stats.in_flight + stats.delayed == 0;
                        ConsumerLoad {
                            consumers: consumers(desk, (held, id)),
                            ..counts(&stats)
                        }
                    }
                    Ok(None) => ConsumerLoad::default(),
                    Err(_) => continue,
                };
                loads.push(ConsumerLoad {
                    namespace: name.namespace.clone(),
                    queue: name.name.clone(),
                    group,
                    partition,
                    shard: shard.into(),
                    term,
                    ..counted
                });
            }
            if is_idle {
                desk.seats().wake_ups.quiet(held);
            }
        }
    }
    loads
}

fn counts(stats: &Stats) -> ConsumerLoad {
    ConsumerLoad {
        ready: stats.ready,
        in_flight: stats.in_flight,
        delayed: stats.delayed,
        blocked: stats.blocked,
        oldest_ready_at_ms: stats.oldest_ready_at.unwrap_or(0),
        next_due_at_ms: stats.next_due_at.unwrap_or(0),
        sent_total: stats.totals.sent,
        delivered_total: stats.totals.delivered,
        acked_total: stats.totals.acked,
        nacked_total: stats.totals.nacked,
        redelivered_total: stats.totals.redelivered,
        dead_lettered_total: stats.totals.dead_lettered,
        expired_total: stats.totals.expired,
        leases_expired_total: stats.totals.lease_expired,
        dropped_total: stats.totals.dropped,
        purged_total: stats.totals.purged,
        redriven_total: stats.totals.redriven,
        outbox: stats.outbox,
        ..ConsumerLoad::default()
    }
}

fn consumers<R: Runtime, P: Replica>(desk: &Desk<R, P>, line: Line) -> Vec<ConsumerInfo> {
    let now = desk.now_ms();
    let mut seats = desk.seats();
    let (partition, group) = line;
    let mut infos = Vec::new();
    for consumer in seats.consumers.iter_mut() {
        let Some(session) = consumer.wish.session else {
            continue;
        };
        if !consumer.wish.lines().any(|other| other == line) {
            continue;
        }
        let leases = desk
            .replica
            .read(|machine, kv| machine.leases_of(kv, partition, session));
        let in_flight: usize = leases
            .iter()
            .flatten()
            .filter(|lease| lease.group == group)
            .map(|lease| lease.messages.len())
            .sum();
        consumer.idle_since_ms = match in_flight {
            0 => consumer.idle_since_ms.or(Some(now)),
            _ => None,
        };
        infos.push(ConsumerInfo {
            session_id: consumer.wish.session_name.clone(),
            name: consumer.wish.label.name.clone(),
            pod_uid: consumer.wish.label.pod_uid.clone(),
            credit: consumer.credit + consumer.reserved,
            in_flight: in_flight as u32,
            idle_ms: consumer
                .idle_since_ms
                .map_or(0, |since| now.saturating_sub(since)),
        });
    }
    infos
}
