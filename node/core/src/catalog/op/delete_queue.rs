//! Begins to delete a queue.

use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::{Queue, QueueName, QueueState};
use crate::catalog::reply::{Refusal, Reply};
use crate::codec::{Decoded, Reader};

/// Marks a queue as being deleted, unless another one names it for its dead letters. The leader of
/// the catalog then drops its partitions and ends with [`super::FinishDelete`], also after a crash
/// in between.
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

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        let Some(queue) = m.queue(&self.name).cloned() else {
            return Err(Refusal::NoQueue(self.name.to_string()));
        };
        let changed = queue.state == QueueState::Active;
        if changed {
            m.refuse_if_named(&queue.name)?;
        }
        let queue = Queue {
            state: QueueState::Deleting,
            ..queue
        };
        if changed {
            m.put_queue(step, queue.clone());
        }
        Ok(Reply::Queue {
            queue: Box::new(queue),
            changed,
        })
    }
}
