//! Metrics of queues.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use roadstead_proto::v1::ConsumerLoad;

use super::families::Families;
use crate::http::Observation;

/// Rows of queues shown at most: one per consumer group and shard. What is over is counted.
pub const MAX_QUEUE_ROWS: usize = 2_000;

type QueueLabels = [(&'static str, String); 4];
type Pick = fn(&ConsumerLoad) -> u64;

const GAUGES: [(&str, &str, Pick); 6] = [
    ("queue_depth", "Messages receivable now", |l| l.ready),
    ("queue_in_flight", "Messages leased to a consumer", |l| {
        l.in_flight
    }),
    ("queue_delayed", "Messages delayed or backing off", |l| {
        l.delayed
    }),
    (
        "queue_blocked",
        "Messages behind another one of their key",
        |l| l.blocked,
    ),
    ("queue_lag", "Messages neither settled nor delayed", |l| {
        l.ready + l.in_flight + l.blocked
    }),
    (
        "queue_outbox",
        "Messages on their way to another queue that has not accepted them yet",
        |l| l.outbox,
    ),
];

const COUNTERS: [(&str, &str, Pick); 11] = [
    ("queue_sent", "Messages accepted", |l| l.sent_total),
    ("queue_delivered", "Deliveries", |l| l.delivered_total),
    ("queue_acked", "Messages acked", |l| l.acked_total),
    ("queue_nacked", "Deliveries handed back", |l| l.nacked_total),
    (
        "queue_redelivered",
        "Deliveries that were not the first",
        |l| l.redelivered_total,
    ),
    ("queue_dead_lettered", "Messages dead-lettered", |l| {
        l.dead_lettered_total
    }),
    (
        "queue_dropped",
        "Messages that failed and had no dead-letter queue",
        |l| l.dropped_total,
    ),
    (
        "queue_expired",
        "Messages dropped as their time to live had ended",
        |l| l.expired_total,
    ),
    (
        "queue_purged",
        "Messages purged, or deleted one by one",
        |l| l.purged_total,
    ),
    ("queue_redriven", "Messages moved to another queue", |l| {
        l.redriven_total
    }),
    (
        "queue_leases_expired",
        "Deliveries that were not settled in time",
        |l| l.leases_expired_total,
    ),
];

/// One row per consumer group and shard: where a shard is led elsewhere, its counters go on there
/// under the same labels, so rates stay right when leadership moves.
pub fn queues(to: &mut Families<'_>, seen: &Observation) -> fmt::Result {
    let (rows, left_out) = by_shard(&seen.loads);
    for (name, help, pick) in GAUGES {
        to.gauges(
            name,
            help,
            rows.iter()
                .map(|(labels, load)| (labels.clone(), pick(load))),
        )?;
    }
    let ages = rows.iter().map(|(labels, load)| {
        let at = load.oldest_ready_at_ms;
        let age = if at == 0 {
            0
        } else {
            seen.now_ms.saturating_sub(at) / 1_000
        };
        (labels.clone(), age)
    });
    to.gauges(
        "queue_oldest_ready_age_seconds",
        "Age of the oldest receivable message",
        ages,
    )?;
    for (name, help, pick) in COUNTERS {
        to.counters(
            name,
            help,
            rows.iter()
                .map(|(labels, load)| (labels.clone(), pick(load))),
        )?;
    }
    let consumers = rows
        .iter()
        .map(|(labels, l)| (labels.clone(), l.consumers.len() as u64));
    to.gauges(
        "queue_consumers",
        "Consumers with an open stream",
        consumers,
    )?;
    to.gauge(
        "queue_rows_left_out",
        "Rows over the limit that are not shown",
        left_out,
    )
}

fn by_shard(loads: &[ConsumerLoad]) -> (Vec<(QueueLabels, ConsumerLoad)>, u64) {
    let mut rows: BTreeMap<(&str, &str, &str, u32), ConsumerLoad> = BTreeMap::new();
    let mut left_out: BTreeSet<(&str, &str, &str, u32)> = BTreeSet::new();
    for load in loads {
        let key = (
            load.namespace.as_str(),
            load.queue.as_str(),
            load.group.as_str(),
            load.shard,
        );
        if rows.len() >= MAX_QUEUE_ROWS && !rows.contains_key(&key) {
            left_out.insert(key);
            continue;
        }
        add(rows.entry(key).or_default(), load);
    }
    let labelled = rows
        .into_iter()
        .map(|((namespace, queue, group, shard), load)| {
            let labels = [
                ("namespace", namespace.to_owned()),
                ("queue", queue.to_owned()),
                ("group", group.to_owned()),
                ("shard", shard.to_string()),
            ];
            (labels, load)
        });
    (labelled.collect(), left_out.len() as u64)
}

fn add(sum: &mut ConsumerLoad, load: &ConsumerLoad) {
    sum.ready += load.ready;
    sum.in_flight += load.in_flight;
    sum.delayed += load.delayed;
    sum.blocked += load.blocked;
    sum.sent_total += load.sent_total;
    sum.delivered_total += load.delivered_total;
    sum.acked_total += load.acked_total;
    sum.nacked_total += load.nacked_total;
    sum.redelivered_total += load.redelivered_total;
    sum.dead_lettered_total += load.dead_lettered_total;
    sum.expired_total += load.expired_total;
    sum.leases_expired_total += load.leases_expired_total;
    sum.dropped_total += load.dropped_total;
    sum.purged_total += load.purged_total;
    sum.redriven_total += load.redriven_total;
    sum.outbox += load.outbox;
    sum.consumers.extend(load.consumers.iter().cloned());
    let oldest = [sum.oldest_ready_at_ms, load.oldest_ready_at_ms];
    sum.oldest_ready_at_ms = oldest.into_iter().filter(|at| *at != 0).min().unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::metrics::encode;

    fn load(queue: &str, partition: u32, shard: u32) -> ConsumerLoad {
        ConsumerLoad {
            namespace: "shop".into(),
            queue: queue.into(),
            group: "default".into(),
            partition,
            shard,
            ready: 2,
            in_flight: 1,
            blocked: 4,
            outbox: 5,
            delayed: 8,
            sent_total: 100,
            expired_total: 3,
            oldest_ready_at_ms: 10_000 * u64::from(partition),
            ..ConsumerLoad::default()
        }
    }

    #[test]
    fn partitions_of_a_shard_are_added_up() {
        let loads = vec![
            load("orders", 1, 3),
            load("orders", 2, 3),
            load("orders", 0, 4),
        ];
        let text = encode(Observation {
            loads,
            now_ms: 25_000,
            ..Observation::default()
        })
        .unwrap();
        let at = r#"{namespace="shop",queue="orders",group="default",shard="3"}"#;
        for expected in [
            "# TYPE roadstead_queue_depth gauge".to_owned(),
            format!("roadstead_queue_depth{at} 4"),
            format!("roadstead_queue_lag{at} 14"),
            format!("roadstead_queue_outbox{at} 10"),
            format!("roadstead_queue_delayed{at} 16"),
            format!("roadstead_queue_sent_total{at} 200"),
            format!("roadstead_queue_expired_total{at} 6"),
            format!("roadstead_queue_oldest_ready_age_seconds{at} 15"),
            "roadstead_queue_rows_left_out 0".to_owned(),
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected} in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn rows_are_bounded_and_the_rest_is_counted() {
        let loads: Vec<_> = (0..MAX_QUEUE_ROWS + 5)
            .map(|n| load(&format!("q{n}"), 0, 1))
            .collect();
        let text = encode(Observation {
            loads,
            ..Observation::default()
        })
        .unwrap();
        let rows = text
            .lines()
            .filter(|line| line.starts_with("roadstead_queue_depth{"));
        assert_eq!(rows.count(), MAX_QUEUE_ROWS);
        assert!(text.contains("roadstead_queue_rows_left_out 5\n"));
    }
}
