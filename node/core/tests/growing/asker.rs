//! Who asks the homes of keys for a sender, step by step: as the leader of a partition does.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_core::shard::*;

use super::queue::{KEYS, Queue, body};

/// A message with its producer's number.
#[derive(Debug, Clone, Copy)]
pub struct Numbered {
    pub number: u64,
    pub key: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Failed,
    FailedForNow,
}

/// The way to a home: those before it, and itself.
type Way = Vec<u32>;

/// A message, and the homes of its key that are asked, each with the way to it.
#[derive(Debug)]
struct Item {
    message: Numbered,
    to_ask: Vec<Way>,
}

/// One try at sending a batch.
#[derive(Debug)]
pub struct Attempt {
    /// Producer, and the partition that it names.
    pub of: (u32, u32),
    items: Vec<Item>,
    /// What is asked before the next round.
    round: Vec<(Way, Vec<Numbered>)>,
}

impl Attempt {
    /// By what the leader of the partition that is named knows: what the partition does, or more.
    pub fn new(queue: &Queue, of: (u32, u32), (ahead, messages): (bool, &[Numbered])) -> Self {
        let (_, named) = of;
        let numbers = if ahead {
            queue.counts.len()
        } else {
            queue.known(named).max(queue.least(named))
        };
        let config = queue.config(numbers);
        let item = |message: &Numbered| {
            let homes = config.homes(key_hash(KEYS[message.key].as_bytes()));
            assert!(homes.contains(&named));
            let last = homes.len() - 1;
            let left = |at: usize| queue.left.contains(&(config.partitions, homes[at]));
            let asked = (0..=last).filter(|at| *at == last || !left(*at));
            Item {
                message: *message,
                // The next one is at the end.
                to_ask: asked.rev().map(|at| homes[..=at].to_vec()).collect(),
            }
        };
        Self {
            of,
            items: messages.iter().map(item).collect(),
            round: Vec::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.items.iter().all(|item| item.to_ask.is_empty())
    }

    /// Asks one partition. What the sender is told of its messages.
    pub fn step(&mut self, queue: &mut Queue) -> Vec<(Numbered, Outcome)> {
        if self.round.is_empty() {
            let mut round = BTreeMap::<Way, Vec<Numbered>>::new();
            for item in &self.items {
                if let Some(way) = item.to_ask.last() {
                    round.entry(way.clone()).or_default().push(item.message);
                }
            }
            self.round = round.into_iter().collect();
        }
        let Some((way, messages)) = self.round.pop() else {
            return Vec::new();
        };
        let outcomes = self.ask(queue, &way, &messages);
        let mut told = Vec::new();
        for (message, outcome) in messages.into_iter().zip(outcomes) {
            let number = message.number;
            let mut items = self.items.iter_mut();
            let item = items.find(|item| item.message.number == number);
            let to_ask = &mut item.expect("it was asked for").to_ask;
            to_ask.pop();
            let outcome = match outcome {
                SendOutcome::Moved if !to_ask.is_empty() => continue,
                SendOutcome::Moved => {
                    // Who asks looks again, for the next try.
                    queue.learn(self.of.1, queue.counts.len());
                    Outcome::FailedForNow
                }
                SendOutcome::Accepted { .. } | SendOutcome::Duplicate { .. } => Outcome::Accepted,
                SendOutcome::Refused(_) => Outcome::Failed,
            };
            to_ask.clear();
            told.push((message, outcome));
        }
        told
    }

    /// Asks a partition in ops of messages whose numbers follow one another.
    fn ask(&self, queue: &mut Queue, way: &Way, messages: &[Numbered]) -> Vec<SendOutcome> {
        let partition = way[way.len() - 1];
        queue.make_sure(partition);
        let follow = |a: &Numbered, b: &Numbered| a.number + 1 == b.number;
        let mut outcomes = Vec::new();
        for run in messages.chunk_by(follow) {
            match queue.apply(&Op::Send(self.send(way, run))) {
                Reply::Sent(sent) => outcomes.extend(sent),
                other => unreachable!("{other:?}"),
            }
        }
        let among = queue.machine.left_among(Queue::id(partition));
        if among != 0 {
            queue.left.insert((among, partition));
        }
        outcomes
    }

    fn send(&self, way: &Way, run: &[Numbered]) -> Send {
        let (producer, named) = self.of;
        let id = if *way == [named] {
            format!("{producer}")
        } else {
            format!("{producer} {named} {way:?}")
        };
        let message = |message: &Numbered| NewMessage {
            key: Some(key_hash(KEYS[message.key].as_bytes())),
            body: body((producer, named, message.number), message.key),
            ..NewMessage::default()
        };
        Send {
            partition: Queue::id(way[way.len() - 1]),
            producer: Some(ProducerRef {
                id: Bytes::from(id),
                first: run[0].number,
            }),
            messages: run.iter().map(message).collect(),
            atomic: false,
        }
    }
}
