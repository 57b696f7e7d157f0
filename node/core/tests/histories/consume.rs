//! Commands of consumers, and what a leader does with outboxes.

use bytes::Bytes;
use roadstead_core::shard::*;

use super::command::Command;
use super::shard::{BEGIN, Shard};
use super::words::{message, or_nothing};
use crate::carried::carried;

/// The slots of some keys: `KEY,KEY`.
fn slots_of(keys: &str) -> KeySlots {
    let mut slots = KeySlots::default();
    let hashes = keys.split(',').map(|key| key_hash(key.as_bytes()));
    hashes.for_each(|hash| slots.add(slot_of_key(hash)));
    slots
}

impl Shard {
    pub fn receive(&mut self, command: &Command) -> Vec<String> {
        let receive = Receive {
            partition: self.partition(&command.queue),
            group: self.group(command),
            session: command
                .option("session")
                .map(|s| SessionId(s.parse().expect("a number"))),
            max: command.number("max", 1) as u32,
            lease_ms: command.option("lease").map(|ms| ms.parse().expect("ms")),
            at_most_once: command.option("once").is_some(),
            key_slots: command.option("keys").map_or(KeySlots::ALL, slots_of),
        };
        let (reply, _) = self.apply(&Op::Receive(receive));
        let Reply::Received(got) = reply else {
            return vec![format!("{reply:?}")];
        };
        let mut out = Vec::new();
        for m in &got.messages {
            let body = self.body(m.payload);
            let (count, until) = (m.delivery_count, m.deadline - BEGIN);
            if let Some(receipt) = got.receipt(m) {
                let mut line = format!("{body}, delivery {count}, leased until {until}");
                if command.option("times").is_some() && m.first_delivered_at != 0 {
                    let times = [m.first_delivered_at, m.last_delivered_at];
                    let [first, last] = times.map(|at| at - BEGIN);
                    line = format!("{line}, first at {first}, last at {last}");
                }
                out.push(line);
                self.receipts
                    .entry((
                        command.text("group", "").into(),
                        command.queue.clone(),
                        body,
                    ))
                    .or_default()
                    .push(receipt);
            } else {
                out.push(format!("{body}, settled by being delivered"));
            }
        }
        or_nothing(out)
    }

    pub fn settle(&mut self, command: &Command) -> Vec<String> {
        let error = Bytes::from(command.text("error", "").to_owned());
        let delay_ms = command.option("delay").map(|_| command.number("delay", 0));
        let action = match command.verb.as_str() {
            "ack" => Action::Ack,
            "nack" => Action::Nack {
                delay_ms,
                error,
                unstarted: false,
            },
            "return" => Action::Nack {
                delay_ms: None,
                error,
                unstarted: true,
            },
            "reject" => Action::Reject { error },
            _ => Action::Extend {
                lease_ms: command.number("lease", 100),
            },
        };
        let item = |word: &String| {
            // BODY is its newest delivery, BODY#N its Nth.
            let (body, nth) = word.split_once('#').unwrap_or((word, ""));
            let of = (
                command.text("group", "").to_owned(),
                command.queue.clone(),
                body.to_owned(),
            );
            let known = self.receipts.get(&of);
            let known = known.expect("it was received");
            let nth = nth.parse().unwrap_or(known.len());
            Settlement::new(&known[nth - 1], action.clone())
        };
        let items = command.words.iter().map(item).collect();
        let partition = self.partition(&command.queue);
        let settle = Settle {
            partition,
            group: self.group(command),
            items,
        };
        let (reply, events) = self.apply(&Op::Settle(settle));
        let Reply::Settled(outcomes) = reply else {
            return vec![format!("{reply:?}")];
        };
        let stale = command.words.iter().zip(outcomes);
        let stale = stale.filter(|(_, outcome)| *outcome == SettleOutcome::Stale);
        let mut out: Vec<_> = stale
            .map(|(word, _)| format!("{word}: stale receipt"))
            .collect();
        out.extend(events.iter().map(|event| self.event(event)));
        if out.is_empty() {
            vec!["done".into()]
        } else {
            out
        }
    }

    /// `complete QUEUE BODY .. to=QUEUE:MESSAGE,MESSAGE`
    pub fn complete(&mut self, command: &Command) -> Vec<String> {
        let ack = |word: &String| {
            let group = command.text("group", "").to_owned();
            let known = &self.receipts[&(group, command.queue.clone(), word.clone())];
            Ack::from(known.last().expect("it was received"))
        };
        let acks = command.words.iter().map(ack).collect();
        let (to, outputs) = command.text("to", "").split_once(':').unwrap_or_default();
        let target = self.partition(to);
        let outputs = outputs.split(',').filter(|word| !word.is_empty());
        let output = |word: &str| Output {
            target,
            message: NewMessage {
                identity: None,
                ..message(word)
            },
        };
        let complete = Complete {
            partition: self.partition(&command.queue),
            group: self.group(command),
            acks,
            outputs: outputs.map(output).collect(),
        };
        match self.apply(&Op::Complete(complete)).0 {
            Reply::Completed { first } => vec![format!("done, outputs from {first} on")],
            Reply::Refused(why) => vec![format!("refused: {why}")],
            other => vec![format!("{other:?}")],
        }
    }

    /// Brings everything in outboxes to its target, as a leader would.
    pub fn shuttle(&mut self, command: &Command) -> Vec<String> {
        let mut out = Vec::new();
        for Outbox { source, target, .. } in self.machine.outboxes() {
            let heads = self.machine.outbox_heads(&self.kv, source, target, 100);
            let heads = heads.expect("rows can be read");
            for m in &heads {
                let (body, to) = (self.body(m.payload), self.called(target));
                out.push(match m.reason {
                    OutboxReason::Sent => format!("{body} to {to}: sent"),
                    OutboxReason::Redriven => format!("{body} to {to}: redriven"),
                    OutboxReason::DeadLettered(why) => format!(
                        "{body} to {to}: {why:?} after {} deliveries, {:?}",
                        m.delivery_count,
                        String::from_utf8_lossy(&m.attempts.error()),
                    ),
                });
            }
            // `shuttle all` tells the attempts.
            if command.queue == "all" {
                out.extend(heads.iter().flat_map(|m| told(&m.attempts)));
            }
            let first = heads[0].number;
            let messages = heads
                .iter()
                .map(|m| carried(m, Bytes::new(), self.body(m.payload).into()))
                .collect();
            let (reply, _) = self.apply(&Op::Accept(Accept {
                source,
                target,
                first,
                messages,
            }));
            let Reply::Accepted { through, stopped } = reply else {
                out.push(format!("all of it waits: {reply:?}"));
                continue;
            };
            self.apply(&Op::OutboxDone(OutboxDone {
                source,
                target,
                through,
            }));
            out.extend(stopped.map(|why| format!("the rest waits: {why}")));
        }
        or_nothing(out)
    }
}

/// Attempts, line by line.
pub fn told(attempts: &Attempts) -> Vec<String> {
    let first = attempts.first_delivered_at.saturating_sub(BEGIN);
    let one = |it: &Attempt| {
        let (from, to) = (it.delivered_at - BEGIN, it.ended_at - BEGIN);
        let error = String::from_utf8_lossy(&it.error);
        format!("  {from}..{to} {:?} {error:?}, first at {first}", it.how)
    };
    attempts.newest.iter().map(one).collect()
}
