//! What the twin does when somebody moves or deletes messages one by one.

use roadstead_core::shard::*;

use super::model::{Effects, Message, Partition, State};
use super::ops::Seen;

impl Partition {
    pub fn at(&self, location: Location) -> Option<&Message> {
        match location {
            Location::Position(position) => self.messages.iter().find(|m| m.position == position),
            Location::Delayed { due, sequence } => {
                let mut delayed = self.delayed.iter();
                delayed.find(|m| (m.due, m.sequence) == (due, sequence))
            }
        }
    }

    pub fn location(&self, m: &Message) -> Location {
        if self
            .delayed
            .iter()
            .any(|other| other.sequence == m.sequence)
        {
            let (due, sequence) = (m.due, m.sequence);
            return Location::Delayed { due, sequence };
        }
        Location::Position(m.position)
    }

    fn take_out(&mut self, location: Location, now: u64) -> Message {
        let sequence = self.at(location).expect("it is there").sequence;
        match location {
            Location::Position(_) => self.remove(sequence, now),
            Location::Delayed { .. } => {
                let mut delayed = self.delayed.iter();
                let at = delayed.position(|m| m.sequence == sequence);
                self.delayed.remove(at.expect("it is there"))
            }
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
        match self.at(one.location).map(|m| m.state) {
            None => return Removal::Gone,
            Some(State::Leased { .. }) => return Removal::Leased,
            Some(_) => {}
        }
        let mut gone = self.take_out(one.location, fx.now);
        if let Some(new) = &one.payload {
            fx.freed
                .push(std::mem::replace(&mut gone.body, new.body.clone()));
        }
        self.totals.redriven += 1;
        let (id, target) = (
            gone.id,
            self.leave(gone, one.to, OutboxReason::Redriven, fx.now),
        );
        fx.events.push((self.id, id, EventKind::Redriven(target)));
        Removal::Done
    }

    pub fn delete(&mut self, op: &DeleteMessage, fx: &mut Effects) -> Seen {
        let removal = match self.at(op.location).map(|m| m.state) {
            None => Removal::Gone,
            Some(State::Leased { delivery, slot, .. })
                if op.lease.map(|lease| (lease.delivery, lease.slot)) != Some((delivery, slot)) =>
            {
                Removal::Leased
            }
            Some(_) => {
                let gone = self.take_out(op.location, fx.now);
                self.totals.purged += 1;
                fx.freed.push(gone.body);
                Removal::Done
            }
        };
        Seen::Same(Reply::Deleted(removal))
    }
}
