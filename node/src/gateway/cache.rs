//! Queues as the catalog holds them, looked up on every call: kept until the catalog changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use roadstead_proto::v1::QueueRef;

use super::ApiError;
use super::shards::{QueueInfo, Queues};
use crate::raft::types::{GroupId, NodeId};

/// Remembers what was found, for as long as the catalog's version stays the same.
pub struct QueueCache {
    catalog: Arc<dyn Queues>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    version: u64,
    by_name: BTreeMap<String, BTreeMap<String, Arc<QueueInfo>>>,
    by_id: BTreeMap<u64, Arc<QueueInfo>>,
}

impl QueueCache {
    /// In front of `catalog`.
    pub fn new(catalog: Arc<dyn Queues>) -> Self {
        Self {
            catalog,
            found: Mutex::default(),
        }
    }

    /// What was found at the catalog's present version.
    fn found(&self) -> (u64, MutexGuard<'_, Found>) {
        let version = self.catalog.version();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.version != version {
            *found = Found {
                version,
                ..Found::default()
            };
        }
        (version, found)
    }

    /// Keeps what was found, unless the catalog has changed meanwhile.
    fn keep(&self, version: u64, info: &Arc<QueueInfo>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.version != version {
            return;
        }
        found.by_id.insert(info.id(), info.clone());
        if !info.deleting {
            let QueueRef { namespace, name } = info.reference().clone();
            found
                .by_name
                .entry(namespace)
                .or_default()
                .insert(name, info.clone());
        }
    }
}

#[async_trait]
impl Queues for QueueCache {
    fn find(&self, queue: &QueueRef) -> Option<Arc<QueueInfo>> {
        let (version, found) = self.found();
        let known = found
            .by_name
            .get(&queue.namespace)
            .and_then(|names| names.get(&queue.name));
        if let Some(info) = known {
            return Some(info.clone());
        }
        drop(found);
        let info = self.catalog.find(queue)?;
        self.keep(version, &info);
        Some(info)
    }

    fn by_id(&self, id: u64) -> Option<Arc<QueueInfo>> {
        let (version, found) = self.found();
        if let Some(info) = found.by_id.get(&id) {
            return Some(info.clone());
        }
        drop(found);
        let info = self.catalog.by_id(id)?;
        self.keep(version, &info);
        Some(info)
    }

    fn list(&self, namespace: &str, after: Option<&QueueRef>, max: usize) -> Vec<Arc<QueueInfo>> {
        self.catalog.list(namespace, after, max)
    }

    fn replicas(&self, group: GroupId) -> Vec<NodeId> {
        self.catalog.replicas(group)
    }

    fn version(&self) -> u64 {
        self.catalog.version()
    }

    async fn changed(&self, version: u64) -> u64 {
        self.catalog.changed(version).await
    }

    async fn barrier(&self, timeout: Duration) -> Result<(), ApiError> {
        self.catalog.barrier(timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::twin::{TwinQueues, queue_info};

    #[test]
    fn what_changed_is_looked_up_again() {
        let catalog = Arc::new(TwinQueues::default());
        let cache = QueueCache::new(catalog.clone());
        let info = queue_info(7, "a", &[1]);
        let name = info.reference().clone();
        assert_eq!(cache.find(&name), None);
        catalog.set(info.clone());
        assert_eq!(cache.find(&name).as_deref(), Some(&info));
        assert_eq!(cache.by_id(7).as_deref(), Some(&info));
        let mut deleting = info.clone();
        deleting.deleting = true;
        catalog.set(deleting.clone());
        assert_eq!(cache.find(&name), None);
        assert_eq!(cache.by_id(7).as_deref(), Some(&deleting));
        assert!(Arc::ptr_eq(
            &cache.by_id(7).unwrap(),
            &cache.by_id(7).unwrap()
        ));
    }
}
