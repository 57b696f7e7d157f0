//! What the replicas of a group say of the free space on their disks.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::types::NodeId;

/// The replicas whose disk is below its reserve, as they said in their last append reply.
#[derive(Debug, Default)]
pub struct DiskWatch {
    low: Mutex<BTreeSet<NodeId>>,
}

impl DiskWatch {
    /// Notes what `node` said.
    pub fn report(&self, node: NodeId, low: bool) {
        let mut nodes = self.low.lock().unwrap_or_else(PoisonError::into_inner);
        if low {
            nodes.insert(node);
        } else {
            nodes.remove(&node);
        }
    }

    /// The first of `voters` whose disk is low.
    pub fn low(&self, voters: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
        let nodes = self.low.lock().unwrap_or_else(PoisonError::into_inner);
        voters.into_iter().find(|voter| nodes.contains(voter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_voters_count_and_a_report_is_taken_back() {
        let watch = DiskWatch::default();
        watch.report(3, true);
        assert_eq!(watch.low([1, 2]), None, "a learner holds nobody up");
        assert_eq!(watch.low([1, 2, 3]), Some(3));
        watch.report(3, false);
        assert_eq!(watch.low([1, 2, 3]), None);
    }
}
