//! Which queue takes the failed messages of which.

use super::machine::{CatalogMachine, Step};
use super::model::{Queue, QueueName, QueueState};
use super::names::{validate_namespace, validate_queue_name};
use super::reply::Refusal;
use super::spec::{QueueSpec, Violation, validate};
use crate::shard::DeadLetterTarget;

impl QueueName {
    /// Refuses a name or a specification that is not valid, with everything that is wrong.
    pub(super) fn check(&self, spec: &QueueSpec) -> Result<(), Refusal> {
        let mut violations: Vec<Violation> = Vec::new();
        violations.extend(validate_namespace(&self.namespace).err());
        violations.extend(validate_queue_name(&self.name).err());
        violations.extend(validate(spec).err().into_iter().flatten());
        if spec.dead_letter.as_ref() == Some(&self.name) {
            let message = "a queue cannot be its own dead-letter queue".into();
            violations.push(Violation {
                field: "dead_letter.queue",
                message,
            });
        }
        if violations.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Invalid(violations))
        }
    }
}

impl CatalogMachine {
    /// The queue that a specification names for failed messages.
    pub(super) fn resolve_dead_letter(
        &self,
        name: &QueueName,
        spec: &QueueSpec,
    ) -> Result<Option<DeadLetterTarget>, Refusal> {
        let Some(target) = &spec.dead_letter else {
            return Ok(None);
        };
        let target = QueueName::new(name.namespace.clone(), target.clone());
        match self
            .queue(&target)
            .filter(|queue| queue.state == QueueState::Active)
        {
            Some(queue) => Ok(Some(target_of(queue))),
            None => Err(Refusal::NoDeadLetterQueue(target.to_string())),
        }
    }

    /// Refuses to let a queue go that others name: what they have on its way there would be
    /// stranded. One that is being deleted itself still counts, for it may come back.
    pub(super) fn refuse_if_named(&self, name: &QueueName) -> Result<(), Refusal> {
        let by: Vec<String> = self.referrers(name).map(|q| q.name.to_string()).collect();
        if by.is_empty() {
            return Ok(());
        }
        let queue = name.to_string();
        Err(Refusal::TakesDeadLetters { queue, by })
    }

    fn referrers(&self, name: &QueueName) -> impl Iterator<Item = &Queue> {
        self.queues.values().filter(move |other| {
            other.name.namespace == name.namespace
                && other.spec.dead_letter.as_ref() == Some(&name.name)
        })
    }

    /// A queue changed its partitions: those whose failed messages it takes must hear.
    pub(super) fn tell_referrers(&mut self, step: &mut Step<'_>, queue: &Queue) {
        let target = target_of(queue);
        let others = self.referrers(&queue.name);
        let untold = others.filter(|other| other.dead_letter != Some(target));
        let referrers: Vec<Queue> = untold.cloned().collect();
        for mut referrer in referrers {
            referrer.dead_letter = Some(target);
            referrer.revision = self.next_revision();
            self.put_queue(step, referrer);
        }
    }
}

fn target_of(queue: &Queue) -> DeadLetterTarget {
    DeadLetterTarget {
        queue: queue.id,
        partitions: queue.spec.partitions,
    }
}
