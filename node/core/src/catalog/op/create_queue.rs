//! Creates a queue.

use crate::catalog::groups::GroupIds;
use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::{Queue, QueueName, QueueState};
use crate::catalog::reply::{Refusal, Reply};
use crate::catalog::spec::QueueSpec;
use crate::catalog::spread::shards_for;
use crate::codec::{Decoded, Reader};

/// Creates a queue and spreads its partitions over the shards that have the fewest.
///
/// One that exists with the same specification is answered as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateQueue {
    /// Namespace and name.
    pub name: QueueName,
    /// What it promises.
    pub spec: QueueSpec,
}

impl CreateQueue {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        self.spec.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            name: QueueName::decode(r)?,
            spec: QueueSpec::decode(r)?,
        })
    }

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        self.name.check(&self.spec)?;
        if let Some(queue) = m.queue(&self.name) {
            let name = self.name.to_string();
            return match queue.state {
                QueueState::Deleting => Err(Refusal::Deleting(name)),
                QueueState::Active if queue.spec == self.spec => Ok(Reply::Queue {
                    queue: Box::new(queue.clone()),
                    changed: false,
                }),
                QueueState::Active => Err(Refusal::Exists(name)),
            };
        }
        let dead_letter = m.resolve_dead_letter(&self.name, &self.spec)?;
        m.check_quota(&self.name, &self.spec)?;
        let shards = m.cluster.as_ref().map_or(1, |cluster| cluster.shards);
        let shards = shards_for(m.queues.values(), shards, self.spec.partitions as usize);
        m.counters.queue += 1;
        let mut group_ids = GroupIds::default();
        group_ids.follow(&self.spec);
        let queue = Queue {
            id: m.counters.queue,
            name: self.name,
            spec: self.spec,
            generation: 1,
            revision: m.next_revision(),
            created_at: step.now,
            state: QueueState::Active,
            dead_letter,
            shards,
            group_ids,
            earlier: Vec::new(),
        };
        m.put_queue(step, queue.clone());
        Ok(Reply::Queue {
            queue: Box::new(queue),
            changed: true,
        })
    }
}
