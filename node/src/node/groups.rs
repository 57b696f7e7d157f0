//! The Raft groups that run on this node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::raft::Group;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;

/// Groups by number; clones are the same.
pub struct Groups<R: Runtime>(Arc<Mutex<BTreeMap<GroupId, Arc<Group<R>>>>>);

impl<R: Runtime> Clone for Groups<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Runtime> Default for Groups<R> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<R: Runtime> Groups<R> {
    /// The group of this number, if it runs here.
    pub fn get(&self, id: GroupId) -> Option<Arc<Group<R>>> {
        self.lock().get(&id).cloned()
    }

    /// All of them, in order of number.
    pub fn all(&self) -> Vec<Arc<Group<R>>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn insert(&self, group: Arc<Group<R>>) {
        self.lock().insert(group.id(), group);
    }

    pub(super) fn remove(&self, id: GroupId) -> Option<Arc<Group<R>>> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<GroupId, Arc<Group<R>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
