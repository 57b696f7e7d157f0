//! Sends named messages of real shape at a pace, and writes down what was acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use roadstead_client::ledger::{ATTRIBUTE, Name, Record};
use roadstead_client::{Accepted, CallError, Client, Message, Producer, SendError, Sending};
use tokio::time::{sleep_until, timeout_at};

use super::journal::{Journal, clock_us};
use crate::payloads;

/// Messages that may be unanswered.
const WINDOW: usize = 2_000;

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Unique among the producers of a run.
    pub name: String,
    pub queues: Vec<String>,
    /// Messages over all queues; `None`: until `duration` has passed.
    pub messages: Option<u64>,
    pub duration: Option<Duration>,
    /// Messages per second; 0: as fast as answers come.
    pub rate: u64,
    /// Distinct ordering keys; 0: messages have none.
    pub keys: u64,
}

/// How the sending went.
#[derive(Debug, Default)]
pub struct Tally {
    pub acknowledged: u64,
    pub failed: u64,
    /// Whether the message that was sent last was acknowledged.
    pub last_acknowledged: bool,
    /// Messages by the number of times they were handed to a server.
    pub attempts: BTreeMap<u32, u64>,
    /// The longest from call to acknowledgement.
    pub slowest: Duration,
    pub first_error: Option<SendError>,
}

/// One producer of a run.
pub struct Source {
    plan: Plan,
    journal: Journal,
    producers: Vec<Producer>,
    payloads: Vec<Bytes>,
    unanswered: VecDeque<(Name, String, Instant, Sending)>,
    tally: Tally,
}

impl Source {
    /// Looks up the queues.
    ///
    /// # Errors
    /// When one of them cannot be sent to.
    pub async fn start(client: &Client, plan: Plan, journal: Journal) -> Result<Self, CallError> {
        let mut producers = Vec::new();
        for queue in &plan.queues {
            producers.push(client.producer(queue).start().await?);
        }
        Ok(Self {
            plan,
            journal,
            producers,
            payloads: payloads::github_webhooks(),
            unanswered: VecDeque::new(),
            tally: Tally::default(),
        })
    }

    /// Sends everything; `progress` hears how many were acknowledged so far.
    pub async fn run(mut self, mut progress: impl FnMut(u64)) -> Tally {
        let start = Instant::now();
        let interval = (self.plan.rate > 0).then(|| 1.0 / self.plan.rate as f64);
        let mut number = 0;
        while !self.is_over(number, start) {
            if let Some(interval) = interval {
                let due = start + Duration::from_secs_f64(interval * number as f64);
                self.answers_until(due).await;
                progress(self.tally.acknowledged);
            }
            self.send(number).await;
            number += 1;
            while self.unanswered.len() >= WINDOW {
                self.answer().await;
                progress(self.tally.acknowledged);
            }
        }
        while !self.unanswered.is_empty() {
            self.answer().await;
            progress(self.tally.acknowledged);
        }
        self.tally
    }

    fn is_over(&self, number: u64, start: Instant) -> bool {
        self.plan
            .messages
            .is_some_and(|messages| number >= messages)
            || self
                .plan
                .duration
                .is_some_and(|duration| start.elapsed() >= duration)
    }

    async fn send(&mut self, number: u64) {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let name = Name {
            producer: self.plan.name.clone(),
            number,
        };
        let body = self.payloads[place % self.payloads.len()].clone();
        let mut message = Message::new(body)
            .content_type("application/json")
            .attribute(ATTRIBUTE, name.to_string());
        let mut key = String::new();
        if self.plan.keys > 0 {
            key = format!("{}-{}", self.plan.name, number % self.plan.keys);
            message = message.key(&key);
        }
        let producer = &self.producers[place % self.producers.len()];
        let since = Instant::now();
        let sending = producer.enqueue(message).await;
        self.unanswered.push_back((name, key, since, sending));
    }

    /// Takes answers in while there is time, so that the ledger is as far as the cluster.
    async fn answers_until(&mut self, due: Instant) {
        while let Some((.., sending)) = self.unanswered.front_mut() {
            let Ok(outcome) = timeout_at(due.into(), sending).await else {
                return;
            };
            self.note(outcome);
        }
        sleep_until(due.into()).await;
    }

    async fn answer(&mut self) {
        if let Some((.., sending)) = self.unanswered.front_mut() {
            let outcome = sending.await;
            self.note(outcome);
        }
    }

    /// Enters what became of the message that waits the longest.
    fn note(&mut self, outcome: Result<Accepted, SendError>) {
        let Some((name, key, since, _)) = self.unanswered.pop_front() else {
            return;
        };
        self.tally.last_acknowledged = outcome.is_ok();
        match outcome {
            Ok(Accepted {
                message_id: id,
                attempts,
                ..
            }) => {
                self.tally.acknowledged += 1;
                *self.tally.attempts.entry(attempts).or_default() += 1;
                self.tally.slowest = self.tally.slowest.max(since.elapsed());
                let at_us = clock_us();
                let sent = Record::Sent {
                    name,
                    id,
                    key,
                    at_us,
                };
                self.journal.enter(sent);
            }
            Err(error) => {
                self.tally.failed += 1;
                let maybe = matches!(error, SendError::Unknown { .. } | SendError::Closed);
                self.tally.first_error.get_or_insert(error);
                self.journal.enter(Record::Failed { name, maybe });
            }
        }
    }
}
