//! What the twin does when somebody moves or deletes messages one by one.

use roadstead_core::shard::*;

use super::model::{Effects, Message, Mine, Partition, State};
use super::ops::Seen;

impl Partition {
    pub fn standing_at(&self, location: Location) -> Option<&Message> {
        match location {
            Location::Position(position) => {
                let mut all = self.messages.iter();
                all.find(|m| m.position as u64 == position)
            }
            Location::Delayed { due, sequence } => {
                let mut delayed = self.delayed.iter();
                delayed.find(|m| (m.due, m.sequence) == (due, sequence))
            }
        }
    }

    pub fn is_delayed(&self, sequence: u64) -> bool {
        self.delayed.iter().any(|m| m.sequence == sequence)
    }

    pub fn location(&self, m: &Message) -> Location {
        if self.is_delayed(m.sequence) {
            let (due, sequence) = (m.due, m.sequence);
            return Location::Delayed { due, sequence };
        }
        Location::Position(m.position as u64)
    }

    /// A message goes for all groups, and is not retained.
    pub fn take_out(&mut self, sequence: u64, fx: &mut Effects) {
        if let Some(at) = self.delayed.iter().position(|m| m.sequence == sequence) {
            let gone = self.delayed.remove(at);
            return self.forget(gone, fx);
        }
        let find = |p: &Self| p.messages.iter().find(|m| m.sequence == sequence).cloned();
        let groups = find(self).expect("it is there").of.into_keys();
        for group in groups {
            self.remove(group, sequence, fx);
        }
        if find(self).is_some() {
            self.gone(sequence, fx);
        }
    }

    pub fn redrive(&mut self, op: &Redrive, fx: &mut Effects) -> Seen {
        if op.moves.iter().any(|one| one.to.queue == self.id.queue) {
            return Seen::Same(Reply::Refused(Refusal::SameQueue));
        }
        let outcomes = op.moves.iter().map(|one| self.redrive_one(one, fx));
        Seen::Same(Reply::Redriven(outcomes.collect()))
    }

    fn redrive_one(&mut self, one: &Move, fx: &mut Effects) -> Removal {
        let Some(m) = self.standing_at(one.location).cloned() else {
            return Removal::Gone;
        };
        if m.of.values().any(Mine::is_leased) {
            return Removal::Leased;
        }
        // What is only retained stays.
        if m.of.is_empty() && !self.is_delayed(m.sequence) {
            return Removal::Gone;
        }
        let count = m.of.values().next().map_or(0, |mine| mine.count);
        let body = one.payload.as_ref().map_or(&m.body, |new| &new.body);
        let leaving = Message {
            body: body.clone(),
            ..m.clone()
        };
        self.redriven += 1;
        let leaves = OutboxReason::Redriven;
        let target = self.leave((&leaving, count, Attempts::default()), one.to, leaves, fx);
        self.take_out(m.sequence, fx);
        let event = EventKind::Redriven(target);
        fx.events.push((self.id, DEFAULT_GROUP, m.id, event));
        Removal::Done
    }

    pub fn delete(&mut self, op: &DeleteMessage, fx: &mut Effects) -> Seen {
        let otherwise = |(group, mine): (&u32, &Mine)| match mine.state {
            State::Leased { delivery, slot, .. } => !op.leases.contains(&LeaseRef {
                group: *group,
                delivery,
                slot,
            }),
            _ => false,
        };
        let removal = match self.standing_at(op.location).cloned() {
            None => Removal::Gone,
            Some(m) if m.of.iter().any(otherwise) => Removal::Leased,
            Some(m) => {
                self.take_out(m.sequence, fx);
                self.purged += u64::from(m.settled_at.is_none());
                Removal::Done
            }
        };
        Seen::Same(Reply::Deleted(removal))
    }
}
