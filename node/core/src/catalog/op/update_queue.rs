//! Changes a queue.

use crate::catalog::deduplication;
use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::{Queue, QueueName, QueueState};
use crate::catalog::reply::{Refusal, Reply};
use crate::catalog::spec::QueueSpec;
use crate::catalog::spread::shards_for;
use crate::codec::{Decoded, Put, Reader};
use crate::shard::Ordering;

/// Replaces the specification of a queue; what cannot change in place is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateQueue {
    /// Namespace and name.
    pub name: QueueName,
    /// What it promises from now on.
    pub spec: QueueSpec,
    /// When not 0, refused unless it is the queue's present generation.
    pub expected_generation: u64,
}

impl UpdateQueue {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        self.spec.encode(out);
        out.put_varint(self.expected_generation);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            name: QueueName::decode(r)?,
            spec: QueueSpec::decode(r)?,
            expected_generation: r.varint("expected generation")?,
        })
    }

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        self.name.check(&self.spec)?;
        let name = self.name.to_string();
        let Some(queue) = m.queue(&self.name).cloned() else {
            return Err(Refusal::NoQueue(name));
        };
        if queue.state == QueueState::Deleting {
            return Err(Refusal::Deleting(name));
        }
        let (expected, present) = (self.expected_generation, queue.generation);
        if expected != 0 && expected != present {
            return Err(Refusal::WrongGeneration { expected, present });
        }
        let dead_letter = m.resolve_dead_letter(&self.name, &self.spec)?;
        if queue.spec == self.spec && queue.dead_letter == dead_letter {
            return Ok(Reply::Queue {
                queue: Box::new(queue),
                changed: false,
            });
        }
        changeable(&queue.spec, &self.spec)?;
        m.check_quota(&self.name, &self.spec)?;
        let shards = m.cluster.as_ref().map_or(1, |cluster| cluster.shards);
        let more = self.spec.partitions as usize - queue.shards.len();
        let more = shards_for(m.queues.values(), shards, more);
        let mut group_ids = queue.group_ids.clone();
        group_ids.follow(&self.spec);
        let mut earlier = queue.earlier.clone();
        if self.spec.ordering == Ordering::PerKey && self.spec.partitions != queue.spec.partitions {
            // Keys may live for long where they belonged by it.
            earlier.push(queue.spec.partitions);
        }
        let queue = Queue {
            spec: self.spec,
            generation: queue.generation + 1,
            revision: m.next_revision(),
            dead_letter,
            shards: [queue.shards, more].concat(),
            group_ids,
            earlier,
            ..queue
        };
        m.put_queue(step, queue.clone());
        m.tell_referrers(step, &queue);
        Ok(Reply::Queue {
            queue: Box::new(queue),
            changed: true,
        })
    }
}

fn changeable(old: &QueueSpec, new: &QueueSpec) -> Result<(), Refusal> {
    if old.ordering != new.ordering {
        let why = "messages were stored for the other order: make a new queue and move over";
        return Err(Refusal::Immutable {
            field: "ordering",
            why,
        });
    }
    if new.partitions < old.partitions {
        let why = "the number of partitions only grows: make a new queue and move over";
        return Err(Refusal::Immutable {
            field: "partitions",
            why,
        });
    }
    if new.sticky_keys != old.sticky_keys {
        let why = "messages have their places in line by it: make a new queue and move over";
        return Err(Refusal::Immutable {
            field: "sticky_keys",
            why,
        });
    }
    deduplication::changeable(old, new)
}
