//! What the histories have reached, by name.

use roadstead_core::shard::*;

use super::compare::state;
use super::model::{Message, Mine, Partition};
use super::world::World;

fn name(thing: &impl std::fmt::Debug) -> String {
    let text = format!("{thing:?}");
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    words.next().unwrap_or_default().to_owned()
}

impl World {
    /// What the messages are that an op moves or deletes, before it does.
    pub fn foresee(&self, op: &Op) -> Vec<&'static str> {
        let (partition, locations) = match op {
            Op::Redrive(op) => {
                let moves = op.moves.iter().map(|one| one.location);
                (op.partition, moves.collect())
            }
            Op::DeleteMessage(op) => (op.partition, vec![op.location]),
            _ => return Vec::new(),
        };
        let p = self.twin.partitions.get(&partition);
        let what = |location: &Location| {
            let Some(m) = p.and_then(|p| p.standing_at(*location)) else {
                return "none";
            };
            match (m.settled_at, m.of.len()) {
                (Some(_), 0) => "retained",
                (Some(_), _) => "replayed",
                (None, 0) => "delayed",
                (None, 1) => "of one group",
                (None, _) => "of several groups",
            }
        };
        locations.iter().map(what).collect()
    }

    pub fn cover(&mut self, op: &Op, reply: &Reply, foreseen: Vec<&str>) {
        self.cover_rate(op, reply);
        match (op, reply) {
            (_, Reply::Refused(refusal)) => self.count(format!("refused {}", name(refusal))),
            (Op::Send(op), Reply::Sent(outcomes)) => self.cover_sent(op, outcomes),
            (Op::Complete(op), Reply::Completed { .. }) => {
                if !op.outputs.is_empty() {
                    self.count("completed with outputs".into());
                }
                if op.group != DEFAULT_GROUP {
                    self.count("completed by another group".into());
                }
            }
            (Op::Receive(op), Reply::Received(received)) => {
                self.cover_delivery(received);
                self.cover_once(op, received);
                self.cover_limits(op, received);
                self.cover_slots(op, received);
            }
            (_, Reply::Settled(outcomes)) => {
                for outcome in outcomes {
                    self.count(format!("settled {outcome:?}"));
                }
            }
            (_, Reply::Sought { messages, .. }) if *messages > 0 => {
                self.count("messages to replay".into());
            }
            (Op::Accept(op), Reply::Accepted { stopped, .. }) => {
                if let Some(why) = stopped {
                    self.count(format!("accept {why:?}"));
                } else if op.messages.iter().any(|m| m.due > self.now) {
                    self.count("accepted one that is due later".into());
                }
                self.cover_accepted(op);
            }
            (_, Reply::Redriven(_) | Reply::Deleted(_)) => self.cover_by_hand(op, reply, foreseen),
            (_, Reply::Digested(Digested { next: None, .. })) => {
                self.count("digest to the end".into());
            }
            (_, Reply::Digested(_)) => self.count("digest of a piece".into()),
            _ => {}
        }
    }

    fn cover_sent(&mut self, op: &Send, outcomes: &[SendOutcome]) {
        for outcome in outcomes {
            self.count(match outcome {
                SendOutcome::Refused(refusal) => format!("sent {refusal:?}"),
                other => format!("sent {}", name(other)),
            });
        }
        let refused = |o: &SendOutcome| matches!(o, SendOutcome::Refused(_));
        if op.atomic && outcomes.len() > 1 && !outcomes.iter().any(refused) {
            self.count("atomic batch accepted".into());
        }
        self.cover_duplicates(op, outcomes);
    }

    fn cover_by_hand(&mut self, op: &Op, reply: &Reply, foreseen: Vec<&str>) {
        match (op, reply) {
            (Op::Redrive(op), Reply::Redriven(outcomes)) => {
                for ((one, outcome), what) in op.moves.iter().zip(outcomes).zip(foreseen) {
                    let how = match (one.location, &one.payload) {
                        (Location::Delayed { .. }, _) => " of a delayed one",
                        (_, Some(_)) => " with edit",
                        _ => "",
                    };
                    self.count(format!("redriven {outcome:?}{how}"));
                    self.count(format!("redriven {outcome:?}: {what}"));
                }
            }
            (Op::DeleteMessage(op), Reply::Deleted(removal)) => {
                let how = match (op.location, op.leases.as_slice()) {
                    (Location::Delayed { .. }, _) => " of a delayed one",
                    (_, [lease]) if lease.group != DEFAULT_GROUP => {
                        " with a lease of another group"
                    }
                    (_, [_]) => " with a lease",
                    (_, [_, ..]) => " with several leases",
                    (_, []) => "",
                };
                self.count(format!("deleted {removal:?}{how}"));
                for what in foreseen {
                    self.count(format!("deleted {removal:?}: {what}"));
                }
            }
            _ => {}
        }
    }

    pub fn cover_events(&mut self, applied: &Applied) {
        for event in &applied.events {
            let kind = format!("{:?}", event.kind);
            let mut words = kind.split(['(', ',']).skip(1);
            let name = name(&event.kind);
            let reason = match event.kind {
                EventKind::DeadLettered(..) | EventKind::Dropped(DeadLetterReason::Overflow) => {
                    words.next().unwrap_or_default()
                }
                _ => "",
            };
            let reason = reason.trim_end_matches(')');
            if reason == "Overflow" {
                self.cover_displaced(event.partition);
            }
            self.count(format!("event {name} {reason}").trim_end().to_owned());
        }
    }

    fn cover_displaced(&mut self, partition: PartitionId) {
        let Some(p) = self.twin.partitions.get(&partition) else {
            return;
        };
        let (order, several) = (p.config.ordering, p.groups.len() > 1);
        let retains = p.config.retain_ms != 0;
        if several {
            self.count(format!("displaced for several groups {order:?}"));
        }
        if retains {
            self.count(format!("displaced where messages are retained {order:?}"));
        }
    }
}

pub fn cover_states(world: &mut World) {
    let states = |p: &Partition| {
        let order = p.config.ordering;
        let groups = p.groups.len();
        let of = move |(m, group, mine): (&Message, u32, &Mine)| {
            let name = format!("{:?}", state(p, m, (group, mine)));
            let mut reached = vec![format!("state {name} {order:?}")];
            if mine.count > 0 && p.config.backoff.is_some() && name == "Delayed" {
                reached.push(format!("backoff {order:?}"));
            }
            if m.ttl != 0 {
                reached.push(format!("own time to live {name} {order:?}"));
            }
            if group != 0 {
                reached.push(format!("state {name} {order:?} of another group"));
            }
            if m.settled_at.is_some() {
                reached.push(format!("replayed {name} {order:?}"));
            }
            if m.of.len() < groups && p.outbox.iter().any(|dead| dead.sequence == m.sequence) {
                reached.push(format!("dead letter of one of several groups {order:?}"));
            }
            reached
        };
        let all = p.messages.iter();
        let all = all.flat_map(|m| m.of.iter().map(move |(group, mine)| (m, *group, mine)));
        let mut reached = all.flat_map(of).collect::<Vec<_>>();
        if p.messages.iter().any(|m| m.of.is_empty()) {
            reached.push(format!("retained {order:?}"));
        }
        reached
    };
    let reached: Vec<String> = world.twin.partitions.values().flat_map(states).collect();
    for name in reached {
        world.count(name);
    }
}
