//! Who waits in one partition for one consumer group, and who of them is served.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_core::shard::{KEY_SLOTS, KeySlots, MAX_RECEIVE, PartitionId, Receive, SessionId};

use super::batch::Incoming;
use super::consumer::{Consumer, ConsumerId, Line, Rank};
use super::consumers::Asked;
use super::sticky::{self, BySlot, Shares};

/// A share of what is ready is not cut smaller than this when several consumers wait.
const SHARE_MIN: u64 = 16;

/// Messages that a receive may find now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// That may be leased.
    pub leased: u64,
    /// That may be delivered at most once: no less, as these count in no limit of leases.
    pub at_most_once: u64,
    /// Leases that all groups of the partition together have room for.
    pub room: u64,
    /// Deliveries that the rate of the group has room for.
    pub by_rate: u64,
    /// When to look again once that is used up, in ms of the cluster's time.
    pub look_at_ms: u64,
    /// By the slot of their key; None: keys are not sticky here.
    pub by_slot: Option<BySlot>,
}

impl Ready {
    /// The same of both, without limits.
    #[cfg(test)]
    pub fn of(messages: u64) -> Self {
        Self {
            leased: messages,
            at_most_once: messages,
            room: u64::MAX,
            by_rate: u64::MAX,
            look_at_ms: 0,
            by_slot: None,
        }
    }

    /// Those for such a receive.
    pub(super) fn by(&self, at_most_once: bool) -> u64 {
        if at_most_once {
            self.at_most_once
        } else {
            self.leased
        }
    }

    /// None, where keys are as sticky.
    pub(super) fn nothing(&self) -> Self {
        Self {
            leased: 0,
            at_most_once: 0,
            by_slot: self.by_slot.as_ref().map(|_| Box::new([0; KEY_SLOTS])),
            ..*self
        }
    }

    /// What these are in a line with those that are being written for it and not asked for.
    pub(super) fn left(&self, incoming: &Incoming, line: Line, asked: u64) -> Self {
        let coming = coming(incoming, line);
        let left = |ready: u64| (ready + coming).saturating_sub(asked);
        let by_slot = self.by_slot.clone();
        Self {
            leased: left(self.leased),
            at_most_once: left(self.at_most_once),
            by_slot: by_slot.map(|ready| sticky::expected(ready, incoming, line)),
            ..*self
        }
    }

    fn take(&mut self, messages: u64) {
        self.leased = self.leased.saturating_sub(messages);
        self.at_most_once = self.at_most_once.saturating_sub(messages);
    }
}

/// Messages that are being written for a line.
fn coming(incoming: &Incoming, (partition, group): Line) -> u64 {
    let of = |to| incoming.range((partition, to, None)..=(partition, to, Some(u8::MAX)));
    let both = of(None).chain(of(Some(group)));
    both.map(|(_, messages)| messages).sum()
}

/// Those who wait in one line.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// In order of subscription; served in turn.
    pub(super) consumers: Vec<ConsumerId>,
    turn: usize,
    /// Asked for in entries that are being written.
    pub(super) asked: u64,
    /// A receive found less than is ready (limit of deliveries in flight, keys in flight): do not
    /// ask again before something else happens here.
    pub(super) stuck: bool,
    /// Somebody is served before somebody else.
    pub(super) ranked: bool,
    /// Who has which keys, where these are sticky.
    pub(super) shares: Shares,
}

/// Who is served in one turn of a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tier {
    All,
    Priority(u32),
    Only(ConsumerId),
}

impl Tier {
    /// All of its credit is used before others are looked at.
    pub(super) fn goes_first(self) -> bool {
        !matches!(self, Self::All)
    }

    pub(super) fn has(self, id: ConsumerId, consumer: &Consumer) -> bool {
        if consumer.drained_until_ms.is_some() {
            return false;
        }
        match self {
            Self::All => true,
            Self::Priority(priority) => consumer.wish.rank.priority == priority,
            Self::Only(one) => id == one,
        }
    }
}

impl Waiting {
    /// Who is served, and who only of what these leave.
    pub(super) fn tiers(&self, all: &BTreeMap<ConsumerId, Consumer>) -> Vec<Tier> {
        if !self.ranked {
            return vec![Tier::All];
        }
        let rank = |id: &ConsumerId| all[id].wish.rank;
        let works = |id: &&ConsumerId| all[*id].drained_until_ms.is_none();
        let exclusive = |id: &&ConsumerId| rank(id).exclusive && works(id);
        // The first of those with the highest priority.
        let active = self.consumers.iter().rev().filter(exclusive);
        if let Some(active) = active.max_by_key(|id| rank(id).priority) {
            return vec![Tier::Only(*active)];
        }
        let priorities: BTreeSet<u32> = self.consumers.iter().map(|id| rank(id).priority).collect();
        priorities.into_iter().rev().map(Tier::Priority).collect()
    }

    /// Says who has which keys, where these are sticky: those who are served first share them.
    pub(super) fn share(&mut self, partition: PartitionId, all: &BTreeMap<ConsumerId, Consumer>) {
        if self.shares.are_known() {
            return;
        }
        let of = |tier: &Tier| {
            let has = |id: &&ConsumerId| !all[*id].wish.one_time && tier.has(**id, &all[*id]);
            let session = |id: &ConsumerId| all[id].wish.session.unwrap_or(SessionId(0));
            let here = self.consumers.iter().filter(has);
            here.map(|id| (*id, session(id))).collect::<Vec<_>>()
        };
        let tiers = self.tiers(all);
        let mut tiers = tiers.iter().map(of);
        let first = tiers.find(|tier| !tier.is_empty());
        self.shares.give(partition, &first.unwrap_or_default());
    }

    /// Messages of these that a consumer may have: those of its keys, where these are sticky.
    fn own(&self, (id, consumer): (ConsumerId, &Consumer), ready: &Ready) -> u64 {
        let all = ready.by(consumer.wish.at_most_once);
        match &ready.by_slot {
            Some(by_slot) if !consumer.wish.one_time => all.min(self.shares.sum(id, by_slot)),
            _ => all,
        }
    }

    /// The same but for those that it was asked for.
    pub(super) fn left_for(&self, (id, consumer): (ConsumerId, &Consumer), left: &Ready) -> u64 {
        let all = left.by(consumer.wish.at_most_once);
        match &left.by_slot {
            Some(by_slot) if !consumer.wish.one_time => all.min(self.shares.left(id, by_slot)),
            _ => all,
        }
    }

    /// To be called when somebody came or went.
    pub(super) fn look_at_ranks(&mut self, all: &BTreeMap<ConsumerId, Consumer>) {
        let ranked = |id: &ConsumerId| all[id].wish.rank != Rank::default();
        self.ranked = self.consumers.iter().any(ranked);
    }

    /// Takes credit of one tier for what is left, in turn.
    pub(super) fn serve(
        &mut self,
        all: &mut BTreeMap<ConsumerId, Consumer>,
        tier: Tier,
        (line, ready): (Line, &Ready),
        left: &mut Ready,
    ) -> Vec<Asked> {
        let hungry = |id: ConsumerId, it: &Consumer| {
            it.wants() && tier.has(id, it) && self.left_for((id, it), left) > 0
        };
        let hungry = self.consumers.iter().filter(|id| hungry(**id, &all[*id]));
        let hungry = hungry.count().max(1) as u64;
        let share = left.at_most_once.div_ceil(hungry).max(SHARE_MIN);
        let (partition, group) = line;
        let mut asked = Vec::new();
        for _ in 0..self.consumers.len() {
            if left.at_most_once == 0 {
                break;
            }
            let id = self.consumers[self.turn % self.consumers.len()];
            self.turn = self.turn.wrapping_add(1);
            let wanting = |consumer: &&mut Consumer| consumer.wants() && tier.has(id, consumer);
            let Some(consumer) = all.get_mut(&id).filter(wanting) else {
                continue;
            };
            let there = self.left_for((id, &*consumer), left);
            if there == 0 {
                continue;
            }
            let credit = u64::from(consumer.credit.min(MAX_RECEIVE));
            let max = share.min(there).min(credit) as u32;
            consumer.credit -= max;
            consumer.reserved += max;
            self.asked += u64::from(max);
            left.take(u64::from(max));
            let sticky = left.by_slot.is_some() && !consumer.wish.one_time;
            if sticky {
                self.shares.ask(id, u64::from(max));
            }
            asked.push(Asked {
                consumer: id,
                receive: Receive {
                    partition,
                    group,
                    session: consumer.wish.session,
                    max,
                    lease_ms: consumer.wish.lease_ms,
                    at_most_once: consumer.wish.at_most_once,
                    key_slots: if sticky {
                        self.shares.of(id)
                    } else {
                        KeySlots::ALL
                    },
                },
                ready: self.own((id, &*consumer), ready),
            });
        }
        asked
    }
}
