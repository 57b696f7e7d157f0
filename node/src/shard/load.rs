//! The load of consumer groups, for autoscaling.

use std::collections::BTreeSet;

use roadstead_core::shard::{BreakerState, PartitionId, Stats};
use roadstead_proto::v1::{ConsumerInfo, ConsumerLoad};

use super::consumer::Line;
use super::desk::Desk;
use super::replica::Replica;
use super::roster;
use crate::gateway::shards::Queues;
use crate::runtime::Runtime;

/// Groups without consumers that got something to do: each is told once, until it is idle again.
#[derive(Debug, Default)]
pub struct WakeUps {
    rung: BTreeSet<Line>,
}

impl WakeUps {
    /// Whether this is news.
    pub fn rings(&mut self, line: Line) -> bool {
        self.rung.insert(line)
    }

    /// The group is idle, or has a consumer: the next message is news again.
    pub fn quiet(&mut self, line: Line) {
        self.rung.remove(&line);
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
            for (group, id) in queue.groups() {
                let stats = desk.replica.read(|machine, kv| machine.stats(kv, held, id));
                let counted = match stats {
                    Ok(Some(stats)) => {
                        if stats.ready + stats.in_flight + stats.delayed == 0 {
                            desk.seats().wake_ups.quiet((held, id));
                        }
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
        }
    }
    loads
}

fn counts(stats: &Stats) -> ConsumerLoad {
    // What a circuit breaker or a rate holds back is no work for anybody, whatever there is of it.
    let (ready, blocked) = match stats.breaker {
        BreakerState::Closed => (stats.ready, stats.blocked),
        BreakerState::HalfOpen => (stats.ready.min(1), 0),
        BreakerState::Open { .. } => (0, 0),
    };
    let (ready, blocked) = match stats.rate {
        None => (ready, blocked),
        Some(rate) => (ready.min(rate.burst), blocked.min(rate.burst)),
    };
    ConsumerLoad {
        ready,
        in_flight: stats.in_flight,
        delayed: stats.delayed,
        blocked,
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
    for id in seats.consumers.at(line) {
        let Some(consumer) = seats.consumers.get_mut(id) else {
            continue;
        };
        let wish = &consumer.wish;
        let Some(session) = wish.session.filter(|_| !wish.one_time) else {
            continue;
        };
        let in_flight = roster::in_flight(desk, group, (partition, session));
        let seen = roster::with_in_flight(roster::seen(consumer, now), in_flight);
        infos.push(ConsumerInfo {
            session_id: seen.session_id,
            name: seen.name,
            pod_uid: seen.pod_uid,
            credit: seen.credit,
            in_flight: seen.in_flight,
            idle_ms: seen.idle_ms,
            draining: seen.draining,
        });
    }
    infos
}
