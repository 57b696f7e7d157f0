//! What the twin does when time has come.

use super::model::{Circuit, Effects, Message, Mine, Partition, State};

impl Partition {
    /// The first message and group for which it holds.
    pub fn first(&self, wanted: &dyn Fn(&Message, &Mine) -> bool) -> Option<(u32, u64)> {
        let all = self.messages.iter();
        let mut all = all.flat_map(|m| m.of.iter().map(move |(group, mine)| (m, *group, mine)));
        let found = all.find(|(m, _, mine)| wanted(m, mine));
        found.map(|(m, group, _)| (group, m.sequence))
    }

    /// Everything that is due.
    pub fn tick(&mut self, fx: &mut Effects) {
        let now = fx.now;
        self.try_breakers(now);
        for m in &mut self.messages {
            m.early &= m.due > now;
        }
        let is_over =
            |state: &State| matches!(state, State::Leased { deadline, .. } if *deadline <= now);
        let overdue = |_: &Message, mine: &Mine| is_over(&mine.state);
        while let Some(found) = self.first(&overdue) {
            self.lease_over(found, None, fx);
        }
        for mine in self.messages.iter_mut().flat_map(|m| m.of.values_mut()) {
            if matches!(mine.state, State::BackingOff(due) if due <= now) {
                mine.state = State::Returned;
            }
        }
        while let Some((group, sequence)) = self
            .first(&|m, mine| !mine.is_leased() && self.expires_at(m).is_some_and(|at| at <= now))
        {
            self.expire(group, sequence, fx);
        }
        while let Some(m) = self
            .messages
            .iter()
            .find(|m| self.retained_until(m).is_some_and(|until| until <= now))
        {
            self.gone(m.sequence, fx);
        }
        self.delayed.sort_by_key(|m| (m.due, m.sequence));
        while self.delayed.first().is_some_and(|m| m.due <= now) {
            let m = self.delayed.remove(0);
            let m = Message {
                due: 0,
                ready_from: now,
                ..m
            };
            self.enter(m, now, true);
        }
        self.producers
            .retain(|_, producer| producer.last_used + 600_000 > now);
        self.ids.retain(|id| id.until > now);
    }

    /// Until when a message can be replayed that no group needs.
    fn retained_until(&self, m: &Message) -> Option<u64> {
        let since = m.settled_at.filter(|_| m.of.is_empty())?;
        Some(since + self.config.retain_ms)
    }

    /// When something is due at the earliest.
    pub fn earliest(&self) -> Option<u64> {
        let of = |(m, mine): (&Message, &Mine)| match mine.state {
            State::Leased { deadline, .. } => Some(deadline),
            State::BackingOff(due) => Some(self.expires_at(m).map_or(due, |at| at.min(due))),
            _ if m.early => Some(self.expires_at(m).map_or(m.due, |at| at.min(m.due))),
            _ => self.expires_at(m),
        };
        let groups = self.groups.keys();
        let messages = groups.flat_map(|group| self.open(*group).filter_map(of));
        let ids = self.ids.iter().map(|id| id.until);
        let messages = messages.chain(self.delayed.iter().map(|m| m.due));
        let retained = self.messages.iter().filter_map(|m| self.retained_until(m));
        let breakers = self
            .groups
            .values()
            .filter_map(|group| match group.breaker {
                Circuit::Open(until) => Some(until),
                _ => None,
            });
        messages.chain(ids).chain(retained).chain(breakers).min()
    }
}
