//! What the twin does for groups that come and go, and that begin elsewhere; and for a purge.

use roadstead_core::shard::*;

use super::model::{Circuit, Effects, Message, Mine, Partition, Placed, State};
use super::ops::Seen;

impl Partition {
    pub fn may_be(&self, config: &PartitionConfig) -> Result<(), Refusal> {
        let in_range = |of: &TenantWeight| of.tenant != 0 && (1..=1_000).contains(&of.weight);
        if !config.weights.iter().all(in_range) {
            return Err(Refusal::BadWeights);
        }
        let by_key = config.ordering == Ordering::PerKey && config.weights.is_empty();
        if config.sticky_keys && !by_key {
            return Err(Refusal::BadSticky);
        }
        let groups = self.may_have(&config.groups);
        groups.then_some(()).ok_or(Refusal::BadGroups)
    }

    fn may_have(&self, groups: &[GroupConfig]) -> bool {
        let rising = groups.windows(2).all(|pair| pair[0].id < pair[1].id);
        let known = |id: u32| id == 0 || self.groups.contains_key(&id) || id > self.last_group;
        rising && groups.iter().all(|group| known(group.id))
    }

    /// Brings the groups in line with the configuration.
    pub fn set_groups(&mut self, fx: &mut Effects) {
        let mut wanted = self.config.groups.clone();
        if wanted.first().is_none_or(|first| first.id != 0) {
            wanted.insert(0, GroupConfig::default());
        }
        for setting in &wanted {
            let is_new = !self.groups.contains_key(&setting.id);
            let group = self.groups.entry(setting.id).or_default();
            if group.setting.breaker != setting.breaker {
                group.breaker = Circuit::default();
            }
            if group.setting.rate != setting.rate {
                group.change_bucket(setting.rate, fx.now);
            }
            group.setting = *setting;
            self.last_group = self.last_group.max(setting.id);
            if is_new && setting.start == GroupStart::Beginning {
                for m in &mut self.messages {
                    m.of.insert(setting.id, Mine::new());
                }
            }
        }
        let gone = self.groups.keys().copied();
        let gone = gone.filter(|id| !wanted.iter().any(|group| group.id == *id));
        for group in gone.collect::<Vec<_>>() {
            let open: Vec<_> = self.open(group).map(|(m, _)| m.sequence).collect();
            for sequence in open {
                self.settle(group, sequence, fx);
            }
            self.groups.remove(&group);
        }
        self.settle_fronts(fx.now);
    }

    pub fn seek(&mut self, op: &Seek, fx: &mut Effects) -> Seen {
        let Some(group) = self.groups.get_mut(&op.group) else {
            return Seen::Same(Reply::Refused(Refusal::NoGroup));
        };
        group.epoch += 1;
        let first = self.begin_of(op.to);
        let before = self.open(op.group).filter(|(m, _)| m.position < first);
        let before: Vec<_> = before.map(|(m, _)| m.sequence).collect();
        for m in self.messages.iter_mut().filter(|m| m.position >= first) {
            m.of.insert(op.group, Mine::new());
        }
        for sequence in before {
            self.settle(op.group, sequence, fx);
        }
        self.settle_front(op.group, fx.now);
        let waiting = self
            .open(op.group)
            .filter(|(m, mine)| mine.state == State::Waiting && !m.early);
        let messages = waiting.count() as u64;
        Seen::Same(Reply::Sought {
            messages,
            done: true,
        })
    }

    /// The first place in line from which on messages are delivered again.
    fn begin_of(&self, to: SeekTo) -> usize {
        let found = |wanted: &dyn Fn(&Placed) -> bool| {
            let mut line = self.line.iter().enumerate();
            line.find(|(n, placed)| self.is_known(*n) && wanted(placed))
                .map_or(self.line.len(), |(n, _)| n)
        };
        match to {
            SeekTo::Beginning => 0,
            SeekTo::End => self.line.len(),
            SeekTo::Sequence(n) => found(&|placed| !placed.was_delayed && placed.sequence >= n),
            SeekTo::Time(time) => found(&|placed| placed.at >= time),
        }
    }

    /// Of 64 places the machine knows nothing more when all are taken and all messages are gone.
    fn is_known(&self, place: usize) -> bool {
        let block = place / 64;
        let is_full = self.line.len() >= (block + 1) * 64;
        !is_full || self.messages.iter().any(|m| m.position / 64 == block)
    }

    pub fn purge(&mut self, fx: &mut Effects) -> Seen {
        let mut messages = self.delayed.len() as u64;
        let delayed = self.delayed.drain(..);
        fx.freed.extend(delayed.map(|m| m.body));
        let all: Vec<_> = self
            .messages
            .iter()
            .map(|m| (m.sequence, m.settled_at))
            .collect();
        for (sequence, settled_at) in all {
            let open = self.messages.iter().find(|m| m.sequence == sequence);
            let open = open.expect("only itself is removed").of.clone();
            let mut free = open.iter().filter(|(_, mine)| !mine.is_leased()).peekable();
            messages += u64::from(settled_at.is_none() && free.peek().is_some());
            for (group, _) in free {
                self.remove(*group, sequence, fx);
            }
            let idle = |m: &&Message| m.sequence == sequence && m.of.is_empty();
            if self.messages.iter().any(|m| idle(&m)) {
                self.gone(sequence, fx);
            }
        }
        self.purged += messages;
        Seen::Same(Reply::Purged {
            messages,
            next: None,
        })
    }
}
