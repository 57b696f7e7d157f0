//! What the twin does for receives, settlements and releases.

use roadstead_core::shard::*;

use super::model::{Effects, Message, Partition, State};
use super::ops::{Seen, SeenMessage};

impl Partition {
    pub fn receive(&mut self, op: &Receive, fx: &mut Effects) -> Seen {
        let once = self.config.delivery == Delivery::AtMostOnce;
        let mut max = u64::from(op.max);
        if !once && self.config.max_in_flight != 0 {
            max = max.min(u64::from(self.config.max_in_flight).saturating_sub(self.in_flight()));
        }
        let lease = op.lease_ms.unwrap_or(self.config.lease_ms);
        let deadline = if once { fx.now } else { fx.now + lease };
        let number = self.delivery + 1;
        let mut taken = Vec::new();
        while (taken.len() as u64) < max {
            let Some(batch) = self.next_to_go(max as usize - taken.len()) else {
                break;
            };
            for sequence in batch {
                let slot = taken.len() as u16;
                let m = self.message(sequence);
                m.count += 1;
                m.state = State::Leased {
                    delivery: number,
                    slot,
                    deadline,
                    session: op.session,
                };
                let seen = seen(m, slot, deadline);
                self.totals.delivered += 1;
                self.totals.redelivered += u64::from(seen.count > 1);
                taken.push(seen);
                if once {
                    self.totals.acked += 1;
                    let gone = self.remove(sequence, fx.now);
                    fx.freed.push(gone.body);
                }
            }
        }
        let delivery = if once || taken.is_empty() { 0 } else { number };
        self.delivery = self.delivery.max(delivery);
        Seen::Received {
            delivery,
            messages: taken,
        }
    }

    /// What came back, else the first that waits and may go.
    fn next_to_go(&mut self, max: usize) -> Option<Vec<u64>> {
        let back = self.messages.iter().filter(|m| m.state == State::Returned);
        let back: Vec<u64> = back.take(max).map(|m| m.sequence).collect();
        if !back.is_empty() {
            return Some(back);
        }
        loop {
            let waiting = self.messages.iter().find(|m| m.state == State::Waiting)?;
            let (sequence, key) = (waiting.sequence, waiting.key);
            let engaged = self.engaged(key);
            match self.config.ordering {
                Ordering::Strict if engaged => return None,
                Ordering::PerKey if engaged => self.message(sequence).state = State::Blocked,
                _ => return Some(vec![sequence]),
            }
        }
    }

    pub fn settle(&mut self, op: &Settle, fx: &mut Effects) -> Seen {
        let outcomes = op
            .items
            .iter()
            .map(|item| self.settle_one(item, fx))
            .collect();
        Seen::Same(Reply::Settled(outcomes))
    }

    fn settle_one(&mut self, item: &Settlement, fx: &mut Effects) -> SettleOutcome {
        let (wanted, place) = (item.delivery, item.slot);
        let found = self.messages.iter_mut().find(|m| {
            matches!(m.state, State::Leased { delivery, slot, .. }
                if (delivery, slot) == (wanted, place))
        });
        let Some(m) = found.filter(|_| item.epoch == 0) else {
            return SettleOutcome::Stale;
        };
        let sequence = m.sequence;
        match &item.action {
            Action::Ack => {
                self.totals.acked += 1;
                let gone = self.remove(sequence, fx.now);
                fx.freed.push(gone.body);
            }
            Action::Extend { lease_ms } => {
                if let State::Leased { deadline, .. } = &mut m.state {
                    *deadline = fx.now + lease_ms;
                }
            }
            Action::Nack {
                unstarted: true, ..
            } => {
                m.count -= 1;
                self.give_back(sequence, 0, fx);
            }
            Action::Nack {
                delay_ms, error, ..
            } => {
                if !error.is_empty() {
                    m.error = error.clone();
                }
                let (id, count, failed) = (m.id, m.count, m.clone());
                self.totals.nacked += 1;
                if count >= self.config.max_deliveries {
                    self.fail(sequence, DeadLetterReason::MaxDeliveries, fx);
                } else {
                    fx.events.push((self.id, id, EventKind::Nacked(count)));
                    let wait = delay_ms.unwrap_or_else(|| self.backoff(&failed));
                    self.give_back(sequence, fx.now + wait, fx);
                }
            }
            Action::Reject { error } => {
                if !error.is_empty() {
                    m.error = error.clone();
                }
                self.fail(sequence, DeadLetterReason::Rejected, fx);
            }
        }
        SettleOutcome::Done
    }

    pub fn release(&mut self, op: &ReleaseSession, fx: &mut Effects) -> Seen {
        let wanted = Some(op.session);
        let held =
            |m: &Message| matches!(m.state, State::Leased { session, .. } if session == wanted);
        let mut messages = 0;
        while let Some(m) = self.messages.iter().find(|m| held(m)) {
            self.lease_over(m.sequence, wanted, fx);
            messages += 1;
        }
        Seen::Same(Reply::Released {
            messages,
            more: false,
        })
    }
}

fn seen(m: &Message, slot: u16, deadline: u64) -> SeenMessage {
    SeenMessage {
        slot,
        count: m.count,
        id: m.id,
        sequence: m.sequence,
        body: m.body.clone(),
        enqueued_at: m.enqueued_at,
        deadline,
    }
}
