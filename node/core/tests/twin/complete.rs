//! Acks with outputs: which ones, and what the twin does for them.

use proptest::sample::Index;
use roadstead_core::clock::YEAR_MS;
use roadstead_core::shard::*;

use super::history::{SLOTS, Sent};
use super::model::{Effects, Leaving, Mine, Partition, State};
use super::ops::Seen;
use super::world::World;

impl World {
    pub fn complete(&mut self, slot: usize, picks: &[Index], outputs: &[(Index, Sent)]) -> Vec<Op> {
        let partition = self.slots[slot];
        let known = self.receipts.get(&partition).cloned().unwrap_or_default();
        if known.is_empty() {
            return Vec::new();
        }
        let live: Vec<_> = known.iter().filter(|r| self.twin.holds(r)).collect();
        // Mostly of what is still leased: one that is not spoils the rest.
        let any = |pick: &Index| live.is_empty() || pick.index(12) == 0;
        let first = &picks[0];
        let group = if any(first) {
            known[first.index(known.len())].group
        } else {
            live[first.index(live.len())].group
        };
        let all: Vec<_> = known.iter().filter(|r| r.group == group).collect();
        let held: Vec<_> = live.iter().copied().filter(|r| r.group == group).collect();
        let acks = picks.iter().map(|pick| {
            let list = if any(pick) || held.is_empty() {
                &all
            } else {
                &held
            };
            Ack::from(list[pick.index(list.len())])
        });
        let acks = acks.collect();
        let outputs = outputs.iter().map(|(to, sent)| Output {
            target: self.slots[to.index(SLOTS)],
            message: NewMessage {
                identity: None,
                ..self.message(sent)
            },
        });
        let outputs = outputs.collect();
        vec![Op::Complete(Complete {
            partition,
            group,
            acks,
            outputs,
        })]
    }
}

impl Partition {
    pub fn complete(&mut self, op: &Complete, fx: &mut Effects) -> Seen {
        let Some(group) = self.groups.get(&op.group) else {
            return Seen::Same(Reply::Refused(Refusal::NoGroup));
        };
        let held = |ack: &Ack| {
            let wanted = (ack.delivery, ack.slot);
            let leased = |mine: &Mine| {
                matches!(mine.state, State::Leased { delivery, slot, .. }
                    if (delivery, slot) == wanted)
            };
            let mut open = self.open(op.group);
            let found = open.find(|(_, mine)| leased(mine));
            let found = found.filter(|_| u64::from(ack.epoch) == group.epoch);
            found.map(|(m, _)| m.sequence)
        };
        let sequences: Vec<_> = op.acks.iter().filter_map(held).collect();
        let twice = (1..op.acks.len()).any(|n| op.acks[..n].contains(&op.acks[n]));
        if twice || sequences.len() < op.acks.len() {
            return Seen::Same(Reply::Refused(Refusal::StaleReceipt));
        }
        let late = fx.now + YEAR_MS;
        if op.outputs.iter().any(|o| o.message.not_before > late) {
            return Seen::Same(Reply::Refused(Refusal::TooLate));
        }
        for sequence in sequences {
            self.totals(op.group).acked += 1;
            let id = self.messages[self.at(sequence)].id;
            self.outcome(op.group, id, false, fx);
            self.remove(op.group, sequence, fx);
        }
        let first = self.sequence + 1;
        for Output { target, message } in &op.outputs {
            self.sequence += 1;
            let due = (fx.now + message.delay_ms).max(message.not_before);
            self.outbox.push(Leaving {
                target: *target,
                number: None,
                sequence: self.sequence,
                id: MessageId {
                    queue: self.id.queue,
                    partition: self.id.partition,
                    sequence: self.sequence,
                },
                key: message.key.unwrap_or(0),
                body: message.body.clone(),
                enqueued_at: fx.now,
                due: if due > fx.now { due } else { 0 },
                ttl: message.ttl_ms,
                priority: message.priority.min(MAX_PRIORITY),
                tenant: message.tenant.unwrap_or(0),
                reason: OutboxReason::Sent,
                count: 0,
                at: fx.now,
                attempts: Attempts::default(),
            });
        }
        Seen::Same(Reply::Completed { first })
    }
}
