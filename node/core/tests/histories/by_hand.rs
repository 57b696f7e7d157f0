//! Commands of a person who looks into a queue, and moves or deletes single messages.

use bytes::Bytes;
use roadstead_core::shard::*;

use super::command::Command;
use super::shard::{BEGIN, Shard};
use super::words::or_nothing;

impl Shard {
    /// All messages, in one walk.
    pub fn peek(&self, command: &Command) -> Vec<String> {
        let of = self.shown(command);
        let (mut told, mut from) = (Vec::new(), None);
        loop {
            let piece = self.piece(of, from, 100);
            told.extend(piece.messages.iter().map(|m| {
                format!(
                    "{} {:?}, {} deliveries",
                    self.body(m.payload),
                    m.state,
                    m.delivery_count
                )
            }));
            from = piece.next;
            if from.is_none() {
                return or_nothing(told);
            }
        }
    }

    /// Of which queue and group a command shows messages.
    fn shown(&self, command: &Command) -> (PartitionId, u32) {
        (self.partition(&command.queue), self.group(command))
    }

    fn piece(&self, of: (PartitionId, u32), from: Option<BrowseFrom>, max: usize) -> Browsed {
        let piece = self.machine.browse(&self.kv, of, from, max);
        piece.expect("rows can be read")
    }

    /// `browse QUEUE max=N`: a piece of a walk, which the next one goes on with.
    pub fn browse(&mut self, command: &Command) -> Vec<String> {
        let from = self.walks.remove(&command.queue);
        let piece = self.piece(
            self.shown(command),
            from,
            command.number("max", 100) as usize,
        );
        let since = |ms: u64| ms - BEGIN;
        let told = piece.messages.iter().map(|m| {
            let due = m.due.map(|at| format!(", due {}", since(at)));
            let expires = m.expires_at.map(|at| format!(", expires {}", since(at)));
            format!(
                "{} at {}, {:?}{}{}",
                self.body(m.payload),
                location(m.location),
                m.state,
                due.unwrap_or_default(),
                expires.unwrap_or_default(),
            )
        });
        let mut told: Vec<_> = told.collect();
        match piece.next {
            Some(next) => {
                self.walks.insert(command.queue.clone(), next);
                told.push("and more".into());
            }
            None => told.push("that is all".into()),
        }
        told
    }

    /// `redrive QUEUE to=QUEUE BODY…`; `BODY=NEW` changes what it says.
    pub fn redrive(&mut self, command: &Command) -> Vec<String> {
        let partition = self.partition(&command.queue);
        let to = DeadLetterTarget {
            queue: self.partition(command.text("to", "")).queue,
            partitions: 1,
        };
        let moves = command.words.iter().map(|word| {
            let (body, new) = word.split_once('/').unwrap_or((word, ""));
            let payload = (!new.is_empty()).then(|| NewPayload {
                header: Bytes::new(),
                body: new.to_owned().into(),
            });
            Move {
                location: self.find(self.shown(command), body),
                to,
                payload,
            }
        });
        let moves = moves.collect();
        self.told(&Op::Redrive(Redrive { partition, moves }))
    }

    /// `delete QUEUE BODY`, `force=yes` to end its leases too.
    pub fn delete(&mut self, command: &Command) -> Vec<String> {
        let partition = self.partition(&command.queue);
        let location = self.find(self.shown(command), &command.words[0]);
        let leases = match (command.option("force"), location) {
            (Some(_), Location::Position(position)) => {
                let leases = self.machine.leases_at(&self.kv, partition, position);
                leases.expect("rows can be read")
            }
            _ => Vec::new(),
        };
        self.told(&Op::DeleteMessage(DeleteMessage {
            partition,
            location,
            leases,
        }))
    }

    /// Where a message stands, by its body; what is no body is a position.
    fn find(&self, of: (PartitionId, u32), body: &str) -> Location {
        let mut from = None;
        loop {
            let piece = self.piece(of, from, 100);
            let mut messages = piece.messages.iter();
            if let Some(found) = messages.find(|m| self.body(m.payload) == body) {
                return found.location;
            }
            from = piece.next;
            if from.is_none() {
                return Location::Position(body.parse().expect("a body or a position"));
            }
        }
    }
}

fn location(location: Location) -> String {
    match location {
        Location::Position(position) => position.to_string(),
        Location::Delayed { sequence, .. } => format!("delayed {sequence}"),
    }
}
