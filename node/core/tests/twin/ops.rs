//! What the twin does for each op.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_core::shard::*;

use super::model::{Effects, Leaving, Message, Partition, State};
use super::send::size;

/// A reply in a form that both can give: payloads by their bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Same(Reply),
    Received {
        delivery: u64,
        messages: Vec<SeenMessage>,
    },
    /// The twin does not predict the number of steps.
    Ticked,
    /// The twin has no rows.
    Digested,
}

#[derive(Debug, PartialEq, Eq, Clone)]
pub struct SeenMessage {
    pub slot: u16,
    pub count: u32,
    pub id: MessageId,
    pub sequence: u64,
    pub body: Bytes,
    pub enqueued_at: u64,
    pub deadline: u64,
    /// When it was delivered first and last before this.
    pub times: (u64, u64),
}

#[derive(Debug, Default)]
pub struct Twin {
    pub partitions: BTreeMap<PartitionId, Partition>,
}

impl Twin {
    pub fn apply(&mut self, op: &Op, fx: &mut Effects) -> Seen {
        let id = match op {
            Op::Tick => return self.tick(fx),
            Op::Digest(_) => return Seen::Digested,
            Op::Configure(op) => return Seen::Same(self.configure(op, fx)),
            Op::Drop(op) => return Seen::Same(self.drop_partition(op)),
            Op::Settle(op) => op.partition,
            Op::Complete(op) => op.partition,
            Op::Send(op) => op.partition,
            Op::Receive(op) => op.partition,
            Op::ReleaseSession(op) => op.partition,
            Op::Accept(op) => op.target,
            Op::OutboxDone(op) => op.source,
            Op::Purge(op) => op.partition,
            Op::Redrive(op) => op.partition,
            Op::DeleteMessage(op) => op.partition,
            Op::Seek(op) => op.partition,
        };
        let Some(p) = self.partitions.get_mut(&id) else {
            return Seen::Same(match op {
                Op::OutboxDone(_) => Reply::OutboxDone { messages: 0 },
                _ => Reply::Refused(Refusal::NoPartition),
            });
        };
        if p.dropping && !matches!(op, Op::OutboxDone(_)) {
            return Seen::Same(Reply::Refused(Refusal::Deleting));
        }
        match op {
            Op::Complete(op) => p.complete(op, fx),
            Op::Send(op) => p.send(op, fx),
            Op::Receive(op) => p.receive(op, fx),
            Op::Settle(op) => p.settle_all(op, fx),
            Op::ReleaseSession(op) => p.release(op, fx),
            Op::Accept(op) => p.accept(op, fx),
            Op::OutboxDone(op) => p.outbox_done(op, fx),
            Op::Purge(_) => p.purge(fx),
            Op::Redrive(op) => p.redrive(op, fx),
            Op::DeleteMessage(op) => p.delete(op, fx),
            Op::Seek(op) => p.seek(op, fx),
            Op::Tick | Op::Digest(_) | Op::Configure(_) | Op::Drop(_) => {
                unreachable!("answered above")
            }
        }
    }

    /// Whether the delivery that a receipt names is still leased.
    pub fn holds(&self, receipt: &Receipt) -> bool {
        let wanted = (receipt.delivery, receipt.slot);
        let Some(p) = self.partitions.get(&receipt.partition) else {
            return false;
        };
        let epoch = p.groups.get(&receipt.group).map(|group| group.epoch);
        let mut open = p.open(receipt.group);
        open.any(|(_, mine)| {
            matches!(mine.state, State::Leased { delivery, slot, .. }
            if (delivery, slot) == wanted)
        }) && epoch == Some(u64::from(receipt.epoch))
    }

    fn tick(&mut self, fx: &mut Effects) -> Seen {
        for p in self.partitions.values_mut() {
            if !p.dropping {
                p.tick(fx);
                continue;
            }
            p.delayed.drain(..).for_each(|m| fx.freed.push(m.body));
            while let Some(m) = p.messages.first() {
                p.gone(m.sequence, fx);
            }
        }
        self.partitions
            .retain(|_, p| !p.dropping || !p.outbox.is_empty());
        Seen::Ticked
    }

    fn configure(&mut self, op: &Configure, fx: &mut Effects) -> Reply {
        let Some(p) = self.partitions.get_mut(&op.partition) else {
            let mut p = Partition::new(op.partition, op.config.clone());
            if let Err(refusal) = p.may_be(&op.config) {
                return Reply::Refused(refusal);
            }
            p.set_groups(fx);
            self.partitions.insert(op.partition, p);
            return Reply::Configured(true);
        };
        if p.dropping {
            return Reply::Refused(Refusal::Deleting);
        }
        if op.config.revision <= p.config.revision {
            return Reply::Configured(false);
        }
        if op.config.ordering != p.config.ordering {
            return Reply::Refused(Refusal::OrderingFixed);
        }
        if op.config.sticky_keys != p.config.sticky_keys {
            return Reply::Refused(Refusal::StickyFixed);
        }
        if let Err(refusal) = p.may_be(&op.config) {
            return Reply::Refused(refusal);
        }
        let changed = p.config.rate != op.config.rate;
        p.config = op.config.clone();
        if changed {
            p.change_bucket(fx.now);
        }
        p.set_groups(fx);
        Reply::Configured(true)
    }

    fn drop_partition(&mut self, op: &DropPartition) -> Reply {
        let Some(p) = self
            .partitions
            .get_mut(&op.partition)
            .filter(|p| !p.dropping)
        else {
            return Reply::Dropped { messages: 0 };
        };
        let messages = p.live().count() as u64;
        if op.only_if_empty && messages > 0 {
            return Reply::Refused(Refusal::NotEmpty(messages));
        }
        p.dropping = true;
        Reply::Dropped { messages }
    }
}

impl Partition {
    fn accept(&mut self, op: &Accept, fx: &mut Effects) -> Seen {
        let mut through = self.accepted.get(&op.source).copied().unwrap_or(0);
        let mut stopped = None;
        for (number, m) in (op.first..).zip(&op.messages) {
            if number <= through {
                continue;
            }
            if number == through + 1 && self.sends_on(op.source, m, fx) {
                through = number;
                continue;
            }
            let size = size(&m.header, &m.body);
            let refusal = if number > through + 1 {
                Err(Refusal::Gap)
            } else {
                self.make_room(size, m.priority, fx)
            };
            if let Err(refusal) = refusal {
                stopped = Some(refusal);
                break;
            }
            self.sequence += 1;
            self.sent += 1;
            through = number;
            // Without a key where keys are needed, a message is a key of its own.
            let own = self.config.ordering == Ordering::PerKey && m.key.is_none();
            let key = if own {
                own_key(m.id)
            } else {
                m.key.unwrap_or(0)
            };
            let message = Message {
                id: m.id,
                sequence: self.sequence,
                position: 0,
                key,
                body: m.body.clone(),
                size,
                enqueued_at: m.enqueued_at,
                ready_from: m.due.max(fx.now),
                ttl: m.ttl_ms,
                due: if m.due > fx.now { m.due } else { 0 },
                priority: m.priority.min(MAX_PRIORITY),
                tenant: m.tenant.unwrap_or(0),
                stream: (0, 0),
                early: false,
                of: BTreeMap::new(),
                settled_at: None,
            };
            self.come(message, fx.now);
        }
        self.accepted.insert(op.source, through);
        self.settle_fronts(fx.now);
        Seen::Same(Reply::Accepted { through, stopped })
    }

    fn outbox_done(&mut self, op: &OutboxDone, fx: &mut Effects) -> Seen {
        let done = |m: &Leaving| m.target == op.target && m.number.is_some_and(|n| n <= op.through);
        let mut messages = 0;
        while let Some(at) = self.outbox.iter().position(done) {
            let gone = self.outbox.remove(at);
            let what = (gone.sequence, &gone.body);
            let mut all = self.messages.iter().map(|m| (m.sequence, &m.body));
            let mut others = self.outbox.iter().map(|m| (m.sequence, &m.body));
            // The last one that names a payload frees it.
            if !all.any(|it| it == what) && !others.any(|it| it == what) {
                fx.freed.push(gone.body);
            }
            messages += 1;
        }
        Seen::Same(Reply::OutboxDone { messages })
    }
}

/// The key of a message that has none, where keys are needed: made of its id.
fn own_key(id: MessageId) -> u64 {
    let mut bytes = Vec::new();
    for mut n in [id.queue, u64::from(id.partition), id.sequence] {
        while n >= 0x80 {
            bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
    }
    key_hash(&bytes)
}
