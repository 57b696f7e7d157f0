//! Groups that come, that go, and that begin elsewhere.
//!
//! A group that goes or begins elsewhere has to look at every position: a bounded piece at once,
//! and one with every tick. Until it is through it gets no deliveries.

use super::config::Ordering;
use super::delivery::{Delivered, Returned};
use super::group::{Slot, View};
use super::group_config::{GroupConfig, GroupStart};
use super::header::{BLOCK, Header};
use super::id::DEFAULT_GROUP;
use super::keys;
use super::op::TICK_BUDGET;
use super::partition::{Partition, Shared, Step, corrupt};
use super::reply::Refusal;
use super::side::Spans;
use super::standing::Standing;
use super::state::{Group, Phase};
use super::timer::Timer;
use crate::kv::{self, KvError};

/// Steps that a block counts for, beside what is done in it.
const BLOCK_STEPS: usize = 8;

impl Partition {
    /// Whether these may be the groups from now on.
    pub(crate) fn check_groups(&self, groups: &[GroupConfig]) -> Result<(), Refusal> {
        let is_known = |id| match self.groups.get(&id) {
            Some(slot) => slot.group().phase != Phase::Leaving,
            None => u64::from(id) > self.state.last_group,
        };
        let all_known = groups
            .iter()
            .all(|g| g.id == DEFAULT_GROUP || is_known(g.id));
        if all_known && GroupConfig::may_be(groups) {
            Ok(())
        } else {
            Err(Refusal::BadGroups)
        }
    }

    /// Brings the groups in line with the configuration.
    pub(crate) fn configure_groups(&mut self, step: &mut Step<'_>) -> Result<(), KvError> {
        let wanted = self.wanted_groups();
        let mut from_beginning = false;
        for setting in &wanted {
            if !self.groups.contains_key(&setting.id) {
                self.add_group(setting);
                from_beginning |= setting.start == GroupStart::Beginning;
            }
        }
        self.reset_breakers(step, &wanted);
        self.cut_delivery_rates(step, &wanted);
        self.set_groups();
        let is_wanted = |id: &u32| wanted.binary_search_by_key(id, |group| group.id).is_ok();
        let gone: Vec<u32> = self
            .groups
            .keys()
            .copied()
            .filter(|id| !is_wanted(id))
            .collect();
        for id in gone {
            self.leave(step, id);
        }
        self.groups_changed();
        if self.config.ordering == Ordering::Strict {
            self.for_each_group(&mut |view| view.strict_advance(step))?;
        }
        self.walk(step, TICK_BUDGET)?;
        if from_beginning && self.state.messages > 0 {
            self.file(step.kv, step.now, Timer::Overdue(0));
        }
        Ok(())
    }

    /// The groups of the configuration, with the default one.
    fn wanted_groups(&self) -> Vec<GroupConfig> {
        let mut wanted = self.config.groups.clone();
        if wanted.first().is_none_or(|first| first.id != DEFAULT_GROUP) {
            wanted.insert(0, GroupConfig::default());
        }
        wanted
    }

    /// A circuit breaker that is changed begins anew.
    fn reset_breakers(&mut self, step: &mut Step<'_>, wanted: &[GroupConfig]) {
        for setting in wanted {
            if let Some(slot) = self.groups.get_mut(&setting.id)
                && slot.setting().breaker != setting.breaker
            {
                self.touched.insert(setting.id);
                View::new(&mut self.shared, slot).reset_breaker(step.kv);
            }
        }
    }

    /// Of a rate that was another one no more than a burst is used up.
    fn cut_delivery_rates(&mut self, step: &Step<'_>, wanted: &[GroupConfig]) {
        for setting in wanted {
            if let Some(slot) = self.groups.get_mut(&setting.id)
                && slot.setting().rate != setting.rate
            {
                self.touched.insert(setting.id);
                View::new(&mut self.shared, slot).cut_delivery_rate(setting.rate, step.now);
            }
        }
    }

    /// Tells the groups what they ask for.
    pub(crate) fn set_groups(&mut self) {
        for setting in self.wanted_groups() {
            if let Some(slot) = self.groups.get_mut(&setting.id) {
                slot.set(setting);
            }
        }
    }

    fn add_group(&mut self, setting: &GroupConfig) {
        let state = &mut self.shared.state;
        let there = state.messages - state.delayed + state.retained;
        let is_first = setting.start == GroupStart::Beginning || setting.id == DEFAULT_GROUP;
        let begin = if is_first {
            Group {
                taken: state.tail - there,
                passed: state.placed - state.early,
                ..Group::default()
            }
        } else {
            Group {
                start: state.tail,
                cursor: state.tail,
                taken: state.tail,
                passed: state.placed,
                ..Group::default()
            }
        };
        state.last_group = state.last_group.max(u64::from(setting.id));
        let end = (!is_first).then_some(state.tail);
        let standing = Standing::begin(&self.shared.lines, end);
        let mut slot = Slot::new(self.keys.of(setting.id), begin);
        *slot.standing() = standing;
        self.groups.insert(setting.id, slot);
        self.touched.insert(setting.id);
    }

    fn leave(&mut self, step: &mut Step<'_>, id: u32) {
        let tail = self.state.tail;
        let Some(slot) = self.groups.get_mut(&id) else {
            return;
        };
        slot.write_back(step.kv);
        slot.standing().forget(step.kv, self.shared.keys.of(id));
        let mut view = View::new(&mut self.shared, slot);
        view.reset_breaker(step.kv);
        view.uncount_leased(view.group.in_flight);
        if view.group.phase != Phase::Leaving {
            view.group.phase = Phase::Leaving;
            view.group.at = view.group.start;
            view.group.end = tail;
            self.walking.insert(id);
            self.touched.insert(id);
        }
    }

    /// Groups have come or gone.
    pub(crate) fn groups_changed(&mut self) {
        let others = self.groups.iter().filter(|(id, _)| **id != DEFAULT_GROUP);
        let span = |slot: &Slot| {
            let group = slot.group();
            match group.phase {
                Phase::Leaving => (group.at, Some(group.end)),
                _ => (group.start, None),
            }
        };
        self.shared.spans = Spans::new(others.map(|(_, slot)| span(slot)));
    }

    /// A group begins with a position: what is there from it on is delivered to it again.
    pub(crate) fn seek(
        &mut self,
        step: &mut Step<'_>,
        id: u32,
        position: u64,
    ) -> Result<(), KvError> {
        let state = self.state;
        if let Some(slot) = self.groups.get_mut(&id) {
            slot.write_back(step.kv);
            let mut view = View::new(&mut self.shared, slot);
            view.uncount_leased(view.group.in_flight);
            let start = view.group.start.min(position);
            *view.group = Group {
                phase: Phase::Seeking,
                epoch: view.group.epoch + 1,
                cursor: position,
                taken: state.tail,
                passed: state.placed,
                returned: 0,
                backing_off: 0,
                blocked: 0,
                engaged: 0,
                start,
                at: start,
                end: state.tail,
                ..*view.group
            };
            view.stand_at(position);
            self.walking.insert(id);
            self.touched.insert(id);
        }
        self.groups_changed();
        self.walk(step, TICK_BUDGET)?;
        Ok(())
    }

    /// Goes on with groups that are on their way, in about `max` steps. How many it took.
    pub(crate) fn walk(&mut self, step: &mut Step<'_>, max: usize) -> Result<usize, KvError> {
        let mut steps = 0;
        while steps < max {
            let Some(id) = self.walking.first().copied() else {
                break;
            };
            let Some(slot) = self.groups.get_mut(&id) else {
                break;
            };
            self.touched.insert(id);
            let mut view = View::new(&mut self.shared, slot);
            let (taken, done) = view.walk(step, max - steps)?;
            steps += taken.max(1);
            if !done {
                break;
            }
            self.walking.remove(&id);
            if slot.group().phase == Phase::Leaving {
                step.kv.delete(&self.shared.keys.of(id).group());
                self.groups.remove(&id);
                self.groups_changed();
            } else {
                View::new(&mut self.shared, slot).arrive(step)?;
                self.file(step.kv, step.now, Timer::Overdue(0));
            }
        }
        if !self.walking.is_empty() {
            self.due_by(step.now);
        }
        Ok(steps)
    }

    /// Takes a message from all groups that do not lease it. Whether there was one.
    pub(crate) fn take_from_all(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
    ) -> Result<bool, KvError> {
        let mut taken = false;
        self.for_each_group(&mut |view| {
            let taken_out = view.leave_unless_leased(step, position)?;
            if let Some(back) = taken_out {
                let removed = view.remove(step, position, back.delivery_count)?;
                removed.free(step)?;
            }
            taken |= taken_out.is_some();
            Ok(())
        })?;
        Ok(taken)
    }
}

/// Of a group, what is deleted when it goes or begins elsewhere.
const PLACES: [u8; 5] = [b'e', b'h', b'l', b'r', b'w'];

impl View<'_> {
    /// Goes on in about `max` steps. How many it took, and whether it is through.
    fn walk(&mut self, step: &mut Step<'_>, max: usize) -> Result<(usize, bool), KvError> {
        let mut steps = 0;
        for kind in PLACES {
            let (from, end) = self.keys.all(kind);
            for (key, row) in kv::take(step.kv, &from, &end, max - steps.min(max))? {
                self.forget_place(step, kind, (&key, &row))?;
                steps += 1;
            }
        }
        while steps < max && self.group.at < self.group.end {
            let number = self.group.at / BLOCK;
            let next = self
                .next_block(step.kv, number)?
                .unwrap_or(u64::MAX / BLOCK);
            if next == number {
                steps += BLOCK_STEPS + self.walk_block(step, number)?;
            }
            let to = if next == number { number + 1 } else { next };
            let to = (to * BLOCK).min(self.group.end);
            self.go_to(step, number, to)?;
        }
        Ok((steps, self.group.at >= self.group.end && steps < max))
    }

    /// Deletes a row that says where a message is for this group.
    fn forget_place(
        &self,
        step: &mut Step<'_>,
        kind: u8,
        (key, row): (&[u8], &[u8]),
    ) -> Result<(), KvError> {
        let (group, number) = (self.keys.group, keys::tail(key));
        if kind == b'l' {
            let batch = Delivered::decode(row).map_err(|e| corrupt("delivery", self.id(), &e))?;
            self.unfile(step.kv, batch.timer, Timer::Lease(group, number));
            if let Some(session) = batch.session {
                step.kv.delete(&self.keys.session(session, number));
            }
        } else if kind == b'w' {
            let back = Returned::decode(row);
            let back = back.map_err(|e| corrupt("returned message", self.id(), &e))?;
            self.unfile(step.kv, back.due, Timer::BackOff(group, number));
        }
        step.kv.delete(key);
        Ok(())
    }

    /// It is through: it goes on as any group.
    fn arrive(&mut self, step: &mut Step<'_>) -> Result<(), KvError> {
        self.group.phase = Phase::Settled;
        (self.group.at, self.group.end) = (0, 0);
        if self.config.ordering == Ordering::Strict {
            self.strict_advance(step)?;
        }
        Ok(())
    }

    /// Does what is to be done in one block. In how many places.
    fn walk_block(&mut self, step: &mut Step<'_>, number: u64) -> Result<usize, KvError> {
        let begin = self.group.at.max(number * BLOCK);
        let end = self.group.end.min((number + 1) * BLOCK);
        let mut done = 0;
        for position in begin..end {
            let Some(header) = self.live(step.kv, position)? else {
                continue;
            };
            let needs = self.open(step.kv, position)?.is_some();
            if self.group.phase == Phase::Leaving {
                // What it needs is settled when it has gone on.
                if !needs {
                    self.discount(step.kv, position)?;
                }
            } else if position < self.group.cursor {
                if needs && self.settle(step, position, &header)? {
                    Shared::free(step, &header)?;
                }
            } else {
                self.need_again(step, (position, &header), needs)?;
            }
            done += 1;
        }
        Ok(done)
    }

    fn need_again(
        &mut self,
        step: &mut Step<'_>,
        (position, header): (u64, &Header),
        needs: bool,
    ) -> Result<(), KvError> {
        if !needs {
            self.unsettle(step.kv, position)?;
        }
        self.wait_again(header.stream);
        if self.is_early(step.kv, position, header)? {
            self.unpass(header.stream);
        }
        Ok(())
    }

    /// It is through up to a position: a group that goes does not count before it any more.
    fn go_to(&mut self, step: &mut Step<'_>, number: u64, to: u64) -> Result<(), KvError> {
        let from = std::mem::replace(&mut self.group.at, to);
        if self.group.phase != Phase::Leaving {
            return Ok(());
        }
        self.spans.move_start(from, to);
        let group = self.keys.group;
        for position in from..to.min((number + 1) * BLOCK) {
            let Some(header) = self.live(step.kv, position)? else {
                continue;
            };
            let is_last = self.open(step.kv, position)?.is_some()
                && self.count(step.kv, position)? == self.spans.needed(position);
            if is_last && self.settled_by_all(step, position, &header)? {
                Shared::free(step, &header)?;
            }
        }
        if let Some(block) = self.block(step.kv, number)? {
            block.forget(group);
        }
        step.kv.delete(&self.keys.settled(number));
        Ok(())
    }
}
