//! How much of the logs is in memory, over all groups, and which entry leaves next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::queue::Group;

/// Entries in memory, oldest first over all groups.
pub(super) struct Tail {
    limit: usize,
    bytes: AtomicUsize,
    order: Mutex<VecDeque<(Arc<Group>, u64)>>,
}

impl Tail {
    /// Keeps about `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: AtomicUsize::new(0),
            order: Mutex::default(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Notes an entry; the caller holds its group's log.
    pub(super) fn added(&self, group: &Arc<Group>, index: u64, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push_back((group.clone(), index));
    }

    /// Notes that entries left otherwise.
    pub(super) fn removed(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Drops the oldest entries that are on disk until the limit holds.
    pub(super) fn evict(&self) {
        while self.bytes() > self.limit {
            // The order's lock is taken inside a group's log elsewhere, so never hold it here.
            let oldest = {
                let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
                order.pop_front()
            };
            let Some((group, index)) = oldest else { break };
            let freed = group.log().evict(index);
            if let Some(bytes) = freed {
                self.removed(bytes);
            } else {
                let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
                order.push_front((group, index));
                break;
            }
        }
    }
}
