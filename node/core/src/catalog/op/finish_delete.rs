//! Forgets a deleted queue.

use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::{Queue, QueueState};
use crate::catalog::reply::Reply;
use crate::codec::{Decoded, Put, Reader};

/// Forgets a queue that is being deleted, now that its partitions are dropped; or (`undo`) makes
/// it serve again, when it turned out to hold messages.
///
/// Undo only while no partition was dropped: one that is made again under the same id begins its
/// sequences anew, and knows nothing of what it had accepted from outboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishDelete {
    /// Id of the queue.
    pub queue: u64,
    /// Make it serve again.
    pub undo: bool,
}

impl FinishDelete {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.queue);
        out.push(u8::from(self.undo));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let queue = r.varint("queue id")?;
        match r.u8("undo")? {
            0 => Ok(Self { queue, undo: false }),
            1 => Ok(Self { queue, undo: true }),
            _ => r.fail("undo"),
        }
    }

    pub(in crate::catalog) fn apply(self, m: &mut CatalogMachine, step: &mut Step<'_>) -> Reply {
        let Some(queue) = m.queues.get(&self.queue) else {
            return Reply::Done;
        };
        if queue.state == QueueState::Active {
            return Reply::Done;
        }
        if self.undo {
            // A new revision, so that everyone who looks at revisions hears of it.
            let mut queue = Queue {
                state: QueueState::Active,
                ..queue.clone()
            };
            queue.revision = m.next_revision();
            m.put_queue(step, queue);
        } else {
            m.forget_queue(step, self.queue);
        }
        Reply::Done
    }
}
