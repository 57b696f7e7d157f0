//! What the twin does for messages that are sent again.

use roadstead_core::shard::*;

use super::model::{Partition, Remembered};
use super::world::World;

impl Partition {
    /// What a message is compared by, if it is.
    fn compared_by(&self, m: &NewMessage) -> Option<u128> {
        let setting = self.config.deduplication?;
        match m.identity? {
            Identity::Id(hash) => Some(hash),
            Identity::Content(hash) => (setting.by == DeduplicateBy::Content).then_some(hash),
        }
    }

    /// The sequence that a message was accepted as before.
    pub fn known(&self, m: &NewMessage) -> Option<u64> {
        let what = self.compared_by(m)?;
        let known = self.ids.iter().find(|id| id.what == what)?;
        Some(known.sequence)
    }

    /// Whether one more message can be remembered, if it has to be.
    pub fn room_for_id(&self, m: &NewMessage) -> Result<(), Refusal> {
        let Some(setting) = self.config.deduplication else {
            return Ok(());
        };
        let full = self.ids.len() as u64 >= setting.max_ids;
        if full && self.compared_by(m).is_some() {
            return Err(Refusal::IdLimit);
        }
        Ok(())
    }

    pub fn note(&mut self, m: &NewMessage, sequence: u64, now: u64) {
        if let (Some(what), Some(setting)) = (self.compared_by(m), self.config.deduplication) {
            self.ids.push(Remembered {
                what,
                sequence,
                until: now + setting.window_ms,
            });
        }
    }
}

impl World {
    /// Counts what had become of the messages that this send found to be accepted already.
    pub fn cover_duplicates(&mut self, op: &Send, outcomes: &[SendOutcome]) {
        let mut reached = Vec::new();
        let Some(p) = self.twin.partitions.get(&op.partition) else {
            return;
        };
        let Some(setting) = p.config.deduplication else {
            return;
        };
        for (m, outcome) in op.messages.iter().zip(outcomes) {
            let SendOutcome::Duplicate { sequence } = outcome else {
                continue;
            };
            if p.known(m) != Some(*sequence) {
                continue;
            }
            let gone = if p.outbox.iter().any(|m| m.sequence == *sequence) {
                "DeadLettered".to_owned()
            } else {
                "Gone".to_owned()
            };
            let open = p.open(0).find(|(m, _)| m.sequence == *sequence);
            let state = open.map(|(m, mine)| super::compare::state(p, m, (0, mine)));
            let now = if p.delayed.iter().any(|m| m.sequence == *sequence) {
                "Delayed".to_owned()
            } else {
                state.map_or(gone, |state| format!("{state:?}"))
            };
            let (by, scope, order) = (setting.by, setting.scope, p.config.ordering);
            reached.push(format!("duplicate {now} {order:?} by {by:?}"));
            reached.push(format!("duplicate {order:?} by {by:?} in {scope:?}"));
            if op.producer.is_some() {
                reached.push(format!("duplicate {order:?} of a producer"));
            }
        }
        for name in reached {
            self.count(name);
        }
    }
}
