//! What the twin does for receives, settlements and releases.

use bytes::Bytes;
use roadstead_core::shard::*;

use super::model::{Circuit, Effects, Message, Mine, Partition, State};
use super::ops::{Seen, SeenMessage};

impl Partition {
    pub fn receive(&mut self, op: &Receive, fx: &mut Effects) -> Seen {
        let Some(group) = self.groups.get(&op.group).cloned() else {
            return Seen::Same(Reply::Refused(Refusal::NoGroup));
        };
        let once = op.at_most_once || self.config.delivery == Delivery::AtMostOnce;
        let mut max = u64::from(op.max).min(self.room_in_flight(op.group, once));
        max = max.min(group.room_in_rate(fx.now));
        if !self.delivers(op.group) {
            max = 0;
        }
        let lease = op.lease_ms.unwrap_or(self.config.lease_ms);
        let deadline = if once { fx.now } else { fx.now + lease };
        let (number, now) = (group.delivery + 1, fx.now);
        let mut taken = Vec::new();
        while (taken.len() as u64) < max {
            let left = max - taken.len() as u64;
            let Some(batch) = self.next_to_go(op.group, op.key_slots, left) else {
                break;
            };
            for sequence in batch {
                let slot = taken.len() as u16;
                let mine = self.message(op.group, sequence);
                mine.count += 1;
                mine.at = now;
                mine.state = State::Leased {
                    delivery: number,
                    slot,
                    deadline,
                    session: op.session,
                };
                let mine = mine.clone();
                let m = self.messages.iter().find(|m| m.sequence == sequence);
                let seen = seen((m.expect("it is there"), &mine), slot, deadline);
                self.groups.entry(op.group).or_default().use_rate(now);
                let totals = self.totals(op.group);
                totals.delivered += 1;
                totals.redelivered += u64::from(seen.count > 1);
                taken.push(seen);
                if once {
                    totals.acked += 1;
                    let id = self.messages[self.at(sequence)].id;
                    self.outcome(op.group, id, false, fx);
                    self.remove(op.group, sequence, fx);
                }
            }
        }
        let delivery = if once || taken.is_empty() { 0 } else { number };
        if delivery != 0 {
            self.groups.entry(op.group).or_default().delivery = delivery;
        }
        Seen::Received {
            delivery,
            messages: taken,
        }
    }

    /// Messages that a group may get before its limit of leases is reached.
    pub fn room_in_flight(&self, group: u32, once: bool) -> u64 {
        let of_group = &self.groups[&group];
        let mut room = u64::MAX;
        if of_group.breaker == Circuit::HalfOpen {
            room = u64::from(self.in_flight(group) == 0);
        }
        if once || self.config.delivery == Delivery::AtMostOnce {
            return room;
        }
        let own = of_group.setting.max_in_flight;
        if own != 0 {
            room = room.min(u64::from(own).saturating_sub(self.in_flight(group)));
        }
        room.min(self.room_of_all())
    }

    /// Messages that all groups together may get before the limit of their queue is reached.
    pub fn room_of_all(&self) -> u64 {
        let limit = u64::from(self.config.max_in_flight);
        if limit == 0 || self.config.delivery == Delivery::AtMostOnce {
            return u64::MAX;
        }
        let leased = self.groups.keys().map(|group| self.in_flight(*group));
        limit.saturating_sub(leased.sum())
    }

    pub fn settle_all(&mut self, op: &Settle, fx: &mut Effects) -> Seen {
        if !self.groups.contains_key(&op.group) {
            return Seen::Same(Reply::Refused(Refusal::NoGroup));
        }
        let items = op.items.iter();
        let outcomes = items.map(|item| self.settle_one(op.group, item, fx));
        Seen::Same(Reply::Settled(outcomes.collect()))
    }

    fn settle_one(&mut self, group: u32, item: &Settlement, fx: &mut Effects) -> SettleOutcome {
        let (wanted, place) = (item.delivery, item.slot);
        let mut open = self.open(group);
        let found = open.find(|(_, mine)| {
            matches!(mine.state, State::Leased { delivery, slot, .. }
                if (delivery, slot) == (wanted, place))
        });
        let found = found.map(|(m, mine)| (m.sequence, m.id, mine.count));
        drop(open);
        let epoch = self.groups[&group].epoch;
        let found = found.filter(|_| u64::from(item.epoch) == epoch);
        let Some((sequence, id, count)) = found else {
            return SettleOutcome::Stale;
        };
        match &item.action {
            Action::Ack => {
                self.totals(group).acked += 1;
                self.outcome(group, id, false, fx);
                self.remove(group, sequence, fx);
            }
            Action::Extend { lease_ms } => {
                if let State::Leased { deadline, .. } = &mut self.message(group, sequence).state {
                    *deadline = fx.now + lease_ms;
                }
            }
            Action::Nack {
                unstarted: true, ..
            } => {
                self.message(group, sequence).count -= 1;
                self.give_back(group, sequence, 0, fx);
            }
            Action::Nack {
                delay_ms, error, ..
            } => {
                self.note_attempt((group, sequence), AttemptEnd::Nacked, error, fx.now);
                self.totals(group).nacked += 1;
                self.outcome(group, id, true, fx);
                if count >= self.config.max_deliveries {
                    self.fail(group, sequence, DeadLetterReason::MaxDeliveries, fx);
                } else {
                    let event = EventKind::Nacked(count);
                    fx.events.push((self.id, group, id, event));
                    let wait = delay_ms.unwrap_or_else(|| self.backoff(count, sequence));
                    self.give_back(group, sequence, fx.now + wait, fx);
                }
            }
            Action::Reject { error } => {
                self.outcome(group, id, true, fx);
                self.note_attempt((group, sequence), AttemptEnd::Rejected, error, fx.now);
                self.fail(group, sequence, DeadLetterReason::Rejected, fx);
            }
        }
        SettleOutcome::Done
    }

    /// A delivery has failed.
    pub fn note_attempt(
        &mut self,
        (group, sequence): (u32, u64),
        how: AttemptEnd,
        error: &Bytes,
        now: u64,
    ) {
        let mine = self.message(group, sequence);
        mine.failed.push(Attempt {
            delivered_at: mine.at,
            ended_at: now,
            how,
            error: error.clone(),
        });
    }

    pub fn release(&mut self, op: &ReleaseSession, fx: &mut Effects) -> Seen {
        let wanted = Some(op.session);
        let holds =
            |state: &State| matches!(state, State::Leased { session, .. } if *session == wanted);
        let held = |_: &Message, mine: &Mine| holds(&mine.state);
        let mut messages = 0;
        while let Some(found) = self.first(&held) {
            self.lease_over(found, wanted, fx);
            messages += 1;
        }
        Seen::Same(Reply::Released {
            messages,
            more: false,
        })
    }
}

fn seen((m, mine): (&Message, &Mine), slot: u16, deadline: u64) -> SeenMessage {
    SeenMessage {
        slot,
        count: mine.count,
        id: m.id,
        sequence: m.sequence,
        body: m.body.clone(),
        enqueued_at: m.enqueued_at,
        deadline,
        times: mine.times(),
    }
}
