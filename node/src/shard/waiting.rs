//! Who waits in one partition for one consumer group, and who of them is served.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_core::shard::{MAX_RECEIVE, Receive};

use super::consumer::{Consumer, ConsumerId, Line, Rank};
use super::consumers::Asked;

/// A share of what is ready is not cut smaller than this when several consumers wait.
const SHARE_MIN: u64 = 16;

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
    /// To somebody more can be delivered than may be leased.
    pub(super) at_most_once: bool,
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

    /// To be called when somebody came or went.
    pub(super) fn look_at_wishes(&mut self, all: &BTreeMap<ConsumerId, Consumer>) {
        let wishes = || self.consumers.iter().map(|id| &all[id].wish);
        let ranked = wishes().any(|wish| wish.rank != Rank::default());
        let at_most_once = wishes().any(|wish| wish.at_most_once);
        (self.ranked, self.at_most_once) = (ranked, at_most_once);
    }

    /// Takes credit of one tier for what is left, in turn.
    pub(super) fn serve(
        &mut self,
        all: &mut BTreeMap<ConsumerId, Consumer>,
        tier: Tier,
        (line, ready): (Line, u64),
        left: &mut u64,
    ) -> Vec<Asked> {
        let hungry = |id: &&ConsumerId| all[id].wants() && tier.has(**id, &all[id]);
        let hungry = self.consumers.iter().filter(hungry).count();
        let share = left.div_ceil(hungry.max(1) as u64).max(SHARE_MIN);
        let (partition, group) = line;
        let mut asked = Vec::new();
        for _ in 0..self.consumers.len() {
            if *left == 0 {
                break;
            }
            let id = self.consumers[self.turn % self.consumers.len()];
            self.turn = self.turn.wrapping_add(1);
            let wanting = |consumer: &&mut Consumer| consumer.wants() && tier.has(id, consumer);
            let Some(consumer) = all.get_mut(&id).filter(wanting) else {
                continue;
            };
            let credit = u64::from(consumer.credit.min(MAX_RECEIVE));
            let max = share.min(*left).min(credit) as u32;
            consumer.credit -= max;
            consumer.reserved += max;
            self.asked += u64::from(max);
            *left -= u64::from(max);
            asked.push(Asked {
                consumer: id,
                receive: Receive {
                    partition,
                    group,
                    session: consumer.wish.session,
                    max,
                    lease_ms: consumer.wish.lease_ms,
                    at_most_once: consumer.wish.at_most_once,
                },
                ready,
            });
        }
        asked
    }
}
