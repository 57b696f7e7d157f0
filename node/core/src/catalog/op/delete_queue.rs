//! Begins to delete a queue.

use crate::catalog::model::QueueName;
use crate::codec::{Decoded, Reader};

/// Marks a queue as being deleted. The leader of the catalog then drops its partitions and ends
/// with FinishDelete, also after a crash in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteQueue {
    /// Namespace and name.
    pub name: QueueName,
}

impl DeleteQueue {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            name: QueueName::decode(r)?,
        })
    }
}
