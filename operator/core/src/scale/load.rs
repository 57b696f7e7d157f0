//! What the nodes say of the load, kept until a decision needs it.
use std::collections::BTreeMap;

use roadstead_proto::v1;

use super::{Millis, SourceLoad};

/// One consumer group of one queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceKey {
    /// Namespace of the queue.
    pub namespace: String,
    /// Its name in the cluster.
    pub queue: String,
    /// The consumer group.
    pub group: String,
}

/// What the leader of one partition said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    heard: Millis,
    lag: u64,
    in_flight: u64,
}

/// What the nodes of one cluster said of its sources.
///
/// A leader that a later one has replaced is told apart by its term, which counts within its shard:
/// a queue that is made anew may lie on a shard whose leaders changed less. A part that its leader
/// no longer names stays, and grows old, until another leader names it: a gap is never an empty
/// queue.
#[derive(Debug, Default)]
pub struct LoadStore {
    /// The highest term that was heard of, by shard.
    terms: BTreeMap<u32, u64>,
    parts: BTreeMap<SourceKey, BTreeMap<u32, Part>>,
}

impl LoadStore {
    /// Takes a frame in; returns the sources that changed.
    pub fn apply(&mut self, frame: &v1::ConsumerLoadFrame, now: Millis) -> Vec<SourceKey> {
        let mut changed = Vec::new();
        for load in &frame.loads {
            let term = self.terms.entry(load.shard).or_default();
            if *term > load.term {
                continue;
            }
            *term = load.term;
            let key = SourceKey {
                namespace: load.namespace.clone(),
                queue: load.queue.clone(),
                group: load.group.clone(),
            };
            let part = Part {
                heard: now,
                lag: load
                    .ready
                    .saturating_add(load.in_flight)
                    .saturating_add(load.blocked),
                in_flight: load.in_flight,
            };
            let parts = self.parts.entry(key.clone()).or_default();
            let before = parts.insert(load.partition, part);
            let same = before.is_some_and(|b| (b.lag, b.in_flight) == (part.lag, part.in_flight));
            if !same && changed.last() != Some(&key) {
                changed.push(key);
            }
        }
        changed
    }

    /// What is known of a source with so many partitions.
    pub fn source(&self, key: &SourceKey, partitions: u32) -> SourceLoad {
        let mut sum = SourceLoad {
            lag: 0,
            in_flight: 0,
            heard: Some(Millis::MAX),
        };
        for partition in 0..partitions.max(1) {
            let Some(part) = self.parts.get(key).and_then(|parts| parts.get(&partition)) else {
                sum.heard = None;
                continue;
            };
            sum.lag = sum.lag.saturating_add(part.lag);
            sum.in_flight = sum.in_flight.saturating_add(part.in_flight);
            sum.heard = sum.heard.map(|heard| heard.min(part.heard));
        }
        sum
    }

    /// Forgets what was heard before `since`: queues that are gone.
    pub fn forget(&mut self, since: Millis) {
        for parts in self.parts.values_mut() {
            parts.retain(|_, part| part.heard >= since);
        }
        self.parts.retain(|_, parts| !parts.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(partition: u32, term: u64, ready: u64) -> v1::ConsumerLoad {
        v1::ConsumerLoad {
            namespace: "shop".into(),
            queue: "orders".into(),
            group: "default".into(),
            partition,
            term,
            ready,
            in_flight: 1,
            ..v1::ConsumerLoad::default()
        }
    }

    fn frame(node_id: u64, loads: Vec<v1::ConsumerLoad>) -> v1::ConsumerLoadFrame {
        v1::ConsumerLoadFrame {
            full: true,
            node_id,
            loads,
        }
    }

    fn orders() -> SourceKey {
        SourceKey {
            namespace: "shop".into(),
            queue: "orders".into(),
            group: "default".into(),
        }
    }

    #[test]
    fn parts_of_many_nodes_add_up() {
        let mut store = LoadStore::default();
        assert_eq!(store.apply(&frame(1, vec![load(0, 1, 10)]), 5), [orders()]);
        assert_eq!(
            store.source(&orders(), 2).heard,
            None,
            "a partition was never heard of"
        );
        store.apply(&frame(2, vec![load(1, 1, 20)]), 9);
        let sum = SourceLoad {
            lag: 32,
            in_flight: 2,
            heard: Some(5),
        };
        assert_eq!(store.source(&orders(), 2), sum);
        assert_eq!(
            store.apply(&frame(2, vec![load(1, 1, 20)]), 11),
            [],
            "nothing changed"
        );
    }

    #[test]
    fn a_replaced_leader_is_not_believed() {
        let mut store = LoadStore::default();
        store.apply(&frame(2, vec![load(0, 7, 500)]), 1);
        store.apply(&frame(1, vec![load(0, 6, 0)]), 2);
        assert_eq!(store.source(&orders(), 1).lag, 501);
        assert_eq!(
            store.source(&orders(), 1).heard,
            Some(1),
            "nor does it make data fresh"
        );
    }

    #[test]
    fn a_queue_made_anew_on_a_shard_of_a_lower_term_is_heard() {
        let mut store = LoadStore::default();
        store.apply(&frame(1, vec![load(0, 7, 500)]), 1);
        let elsewhere = v1::ConsumerLoad {
            shard: 3,
            ..load(0, 2, 10)
        };
        assert_eq!(store.apply(&frame(2, vec![elsewhere]), 9), [orders()]);
        let source = store.source(&orders(), 1);
        assert_eq!((source.lag, source.heard), (11, Some(9)));
    }

    #[test]
    fn a_gap_is_not_an_empty_queue() {
        let mut store = LoadStore::default();
        store.apply(&frame(1, vec![load(0, 1, 10)]), 1);
        store.apply(&frame(1, vec![]), 50);
        assert_eq!(store.source(&orders(), 1).lag, 11);
        assert_eq!(store.source(&orders(), 1).heard, Some(1));
        store.forget(2);
        assert_eq!(store.source(&orders(), 1).heard, None);
    }
}
