//! What the nodes of all clusters said of the load, by the id of the cluster: one that is made anew
//! under the same name begins anew.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use roadstead_operator_core::scale::{LoadStore, Millis, SourceKey, SourceLoad};
use roadstead_proto::v1::ConsumerLoadFrame;

/// Loads of queues that nobody spoke of for this long are forgotten.
const FORGET_MILLIS: Millis = 3_600_000;

/// What the nodes of all clusters said of the load.
pub struct Loads {
    start: Instant,
    stores: Mutex<BTreeMap<String, LoadStore>>,
}

impl Default for Loads {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            stores: Mutex::default(),
        }
    }
}

impl Loads {
    /// Milliseconds since the operator leads.
    pub fn now(&self) -> Millis {
        Millis::try_from(self.start.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Takes in what a node of the cluster said; returns the sources that changed.
    pub fn apply(&self, cluster_id: &str, frame: &ConsumerLoadFrame) -> Vec<SourceKey> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let store = stores.entry(cluster_id.to_owned()).or_default();
        store.apply(frame, self.now())
    }

    /// What is known of a source of the cluster with so many partitions.
    pub fn source(&self, cluster_id: &str, key: &SourceKey, partitions: u32) -> SourceLoad {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let store = stores.get(cluster_id);
        store.map_or_else(SourceLoad::default, |store| store.source(key, partitions))
    }

    /// Forgets all clusters but these, and of these what is too old.
    pub fn keep(&self, cluster_ids: &BTreeSet<String>) {
        let before = self.now().saturating_sub(FORGET_MILLIS);
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|id, _| cluster_ids.contains(id));
        for store in stores.values_mut() {
            store.forget(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use roadstead_proto::v1::ConsumerLoad;

    use super::*;

    fn frame(term: u64, ready: u64) -> ConsumerLoadFrame {
        let load = ConsumerLoad {
            namespace: "shop".into(),
            queue: "orders".into(),
            group: "default".into(),
            term,
            ready,
            ..ConsumerLoad::default()
        };
        ConsumerLoadFrame {
            full: true,
            node_id: 1,
            loads: vec![load],
        }
    }

    #[test]
    fn a_cluster_made_anew_under_the_same_name_begins_anew() {
        let loads = Loads::default();
        let [orders] = &loads.apply("former", &frame(9, 500))[..] else {
            panic!()
        };
        assert_eq!(loads.source("new", orders, 1), SourceLoad::default());
        loads.apply("new", &frame(1, 3));
        let lag = |id: &str| {
            let source = loads.source(id, orders, 1);
            source.heard.map(|_| source.lag)
        };
        assert_eq!((lag("former"), lag("new")), (Some(500), Some(3)));
        loads.keep(&["new".to_owned()].into());
        assert_eq!((lag("former"), lag("new")), (None, Some(3)));
    }
}
