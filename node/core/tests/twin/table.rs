//! Every command against every feature: in how many histories it did something where that was.

use roadstead_core::shard::*;

use super::features::{FEATURES, Feature, Features, of};
use super::ops::Twin;

macro_rules! commands {
    ($names:ident, $name_of:ident, $of:ty, $($name:literal: $pattern:pat,)*) => {
        const $names: &[&str] = &[$($name),*];

        fn $name_of(command: &$of) -> &'static str {
            match command {
                $($pattern => $name),*
            }
        }
    };
}

commands! { OPS, op_name, Op,
    "Configure": Op::Configure(_),
    "Drop": Op::Drop(_),
    "Settle": Op::Settle(_),
    "Complete": Op::Complete(_),
    "Send": Op::Send(_),
    "Receive": Op::Receive(_),
    "ReleaseSession": Op::ReleaseSession(_),
    "Tick": Op::Tick,
    "Accept": Op::Accept(_),
    "OutboxDone": Op::OutboxDone(_),
    "Purge": Op::Purge(_),
    "Digest": Op::Digest(_),
    "Redrive": Op::Redrive(_),
    "DeleteMessage": Op::DeleteMessage(_),
    "Seek": Op::Seek(_),
}

commands! { ACTIONS, action_name, Action,
    "Ack": Action::Ack,
    "Nack": Action::Nack { unstarted: false, .. },
    "Unstarted": Action::Nack { unstarted: true, .. },
    "Reject": Action::Reject { .. },
    "Extend": Action::Extend { .. },
}

/// Cells that no history can reach, each with the reason.
const NEVER: &[(&str, Feature, &str)] = &[
    ("Receive", Feature::Paused, "a paused group gets nothing"),
    (
        "Receive",
        Feature::BreakerOpen,
        "an open breaker lets nothing go",
    ),
];

fn commands() -> impl Iterator<Item = &'static str> {
    OPS.iter().chain(ACTIONS).copied()
}

/// What an op meets, before it is applied.
pub fn met(twin: &Twin, op: &Op) -> Features {
    let (id, group) = match op {
        Op::Tick | Op::Digest(_) => return all(twin),
        Op::Configure(op) => (op.partition, None),
        Op::Drop(op) => (op.partition, None),
        Op::Settle(op) => (op.partition, Some(op.group)),
        Op::Complete(op) => (op.partition, Some(op.group)),
        Op::Send(op) => (op.partition, None),
        Op::Receive(op) => (op.partition, Some(op.group)),
        Op::ReleaseSession(op) => (op.partition, None),
        Op::Accept(op) => (op.target, None),
        Op::OutboxDone(op) => (op.source, None),
        Op::Purge(op) => (op.partition, None),
        Op::Redrive(op) => (op.partition, None),
        Op::DeleteMessage(op) => (op.partition, None),
        Op::Seek(op) => (op.partition, Some(op.group)),
    };
    let p = twin.partitions.get(&id).filter(|p| !p.dropping);
    p.map_or_else(Features::default, |p| of(p, group))
}

fn all(twin: &Twin) -> Features {
    let mut found = Features::default();
    for p in twin.partitions.values().filter(|p| !p.dropping) {
        found.join(of(p, None));
    }
    found
}

/// What one history has reached, command by command.
#[derive(Debug)]
pub struct Reached(Vec<Features>);

impl Reached {
    pub fn new() -> Self {
        Self(vec![Features::default(); commands().count()])
    }

    pub fn add(&mut self, op: &Op, reply: &Reply, met: Features) {
        if let (Op::Settle(op), Reply::Settled(outcomes)) = (op, reply) {
            for (item, outcome) in op.items.iter().zip(outcomes) {
                if *outcome == SettleOutcome::Done {
                    self.at(action_name(&item.action)).join(met);
                }
            }
        }
        if did_something(op, reply) {
            self.at(op_name(op)).join(met);
        }
    }

    fn at(&mut self, name: &str) -> &mut Features {
        let at = commands().position(|command| command == name);
        &mut self.0[at.expect("it is a command")]
    }
}

fn did_something(op: &Op, reply: &Reply) -> bool {
    match reply {
        Reply::Refused(_) => false,
        Reply::Configured(changed) => *changed,
        Reply::Settled(outcomes) => outcomes.contains(&SettleOutcome::Done),
        Reply::Sent(outcomes) => outcomes
            .iter()
            .any(|outcome| matches!(outcome, SendOutcome::Accepted { .. })),
        Reply::Received(received) => !received.messages.is_empty(),
        Reply::Released { messages, .. }
        | Reply::OutboxDone { messages }
        | Reply::Purged { messages, .. } => *messages > 0,
        Reply::Accepted { through, .. } => {
            matches!(op, Op::Accept(op) if op.first <= *through)
        }
        Reply::Redriven(outcomes) => outcomes.contains(&Removal::Done),
        Reply::Deleted(outcome) => *outcome == Removal::Done,
        Reply::Dropped { .. }
        | Reply::Ticked { .. }
        | Reply::Completed { .. }
        | Reply::Digested(_)
        | Reply::Sought { .. } => true,
    }
}

/// In how many histories each cell was reached.
#[derive(Debug)]
pub struct Table(Vec<Vec<u64>>);

impl Table {
    pub fn new() -> Self {
        Self(vec![vec![0; FEATURES.len()]; commands().count()])
    }

    pub fn add(&mut self, reached: &Reached) {
        for (counts, met) in self.0.iter_mut().zip(&reached.0) {
            for (count, (feature, _)) in counts.iter_mut().zip(FEATURES) {
                *count += u64::from(met.has(*feature));
            }
        }
    }

    /// Prints it; what is wrong with it: cells that are empty, and cells that cannot be and are.
    pub fn check(&self) -> Vec<String> {
        let heads: Vec<_> = commands().map(|name| &name[..name.len().min(6)]).collect();
        let line = |name: &str, cells: &[String]| {
            let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>6}")).collect();
            println!("{name:>20} {}", cells.join(" "));
        };
        line(
            "",
            &heads.iter().map(ToString::to_string).collect::<Vec<_>>(),
        );
        let mut wrong = Vec::new();
        for (row, (feature, name)) in FEATURES.iter().enumerate() {
            let mut cells = Vec::new();
            for (command, counts) in commands().zip(&self.0) {
                let never = NEVER
                    .iter()
                    .any(|(of, what, _)| (of, what) == (&command, feature));
                if (counts[row] == 0) != never {
                    wrong.push(format!("{command} × {name}: {}", counts[row]));
                }
                cells.push(if never {
                    "-".into()
                } else {
                    counts[row].to_string()
                });
            }
            line(name, &cells);
        }
        for (command, feature, why) in NEVER {
            println!("{command} × {feature:?} cannot be: {why}");
        }
        wrong
    }
}
