//! A batch of numbered messages and what becomes of it.

use std::time::{Duration, Instant};

use roadstead_proto::v1::{OutgoingMessage, SendResult};

use crate::error::{Fault, SendError};

/// What became of a message: whom to tell, and what.
pub(crate) type Verdict<T> = (T, Result<Accepted, SendError>);

/// An acknowledged message: it is on disk on a majority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The message's id, for life.
    pub message_id: String,
    /// The partition that it lies in.
    pub partition: u32,
    /// Its number in the partition.
    pub sequence: u64,
    /// An earlier try, or a message with the same deduplication id, had been accepted already:
    /// the other fields are those of that one.
    pub duplicate: bool,
    /// Times that it was handed to a server; 1 when the first try was answered.
    pub attempts: u32,
}

/// A message that is not finished; `T` is whom to tell.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    pub message: OutgoingMessage,
    pub size: usize,
    pub since: Instant,
    pub deadline: Instant,
    /// Of the first message of an atomic batch: messages of the batch, this one included; they
    /// follow it at once. Else 0.
    pub together: usize,
    pub reply: T,
}

impl<T> Pending<T> {
    fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub fn not_sent(self, now: Instant, fault: &Fault) -> Verdict<T> {
        let error = SendError::NotSent {
            waited: self.waited(now),
            attempts: 0,
            last: Box::new(fault.clone()),
        };
        (self.reply, Err(error))
    }

    pub fn refused(self, fault: &Fault) -> Verdict<T> {
        (self.reply, Err(SendError::Refused(Box::new(fault.clone()))))
    }
}

#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub sequence: u64,
    pub pending: Pending<T>,
}

/// Messages of one partition, numbered without a gap at the time they are sent.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub partition: u32,
    /// Times that it was handed to a server.
    pub attempts: u32,
    pub not_before: Instant,
    /// When it was handed to a server last.
    pub sent_at: Instant,
    /// A try went unanswered: it may have been accepted.
    pub unknown: bool,
    /// Why the last try failed.
    pub fault: Option<Fault>,
    /// It is added as a whole or not at all.
    pub atomic: bool,
    first_sequence: u64,
    /// Never empty, except when all have run out of time.
    entries: Vec<Entry<T>>,
}

impl<T> Batch<T> {
    /// `entries` is not empty, and numbered without a gap.
    pub fn new(partition: u32, entries: Vec<Entry<T>>) -> Self {
        let since = entries
            .first()
            .map_or_else(Instant::now, |first| first.pending.since);
        Self {
            partition,
            attempts: 1,
            not_before: since,
            sent_at: since,
            unknown: false,
            fault: None,
            atomic: entries
                .first()
                .is_some_and(|first| first.pending.together > 0),
            first_sequence: entries.first().map_or(0, |first| first.sequence),
            entries,
        }
    }

    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// Counts another try; it begins with the first message that is left. Messages run out of time
    /// in the order of their numbers, so those that are left have no gap.
    pub fn start_again(&mut self) {
        self.attempts += 1;
        self.first_sequence = self.entries.first().map_or(0, |first| first.sequence);
    }

    /// The same, when its answer will not come.
    pub fn unanswered(mut self) -> Self {
        self.unknown = true;
        self
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.iter()
    }

    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.pending.size).sum()
    }

    /// When its first message runs out of time.
    pub fn deadline(&self) -> Instant {
        let deadlines = self.entries.iter().map(|entry| entry.pending.deadline);
        deadlines.min().unwrap_or(self.not_before)
    }

    /// Splits into what is finished and what is to be tried again, in runs without a gap.
    pub fn settle(self, results: Vec<SendResult>) -> (Vec<Verdict<T>>, Vec<Self>) {
        if self.atomic && results.len() == self.entries.len() {
            return self.settle_together(results);
        }
        let mut results: Vec<Option<SendResult>> = results.into_iter().map(Some).collect();
        let mut verdicts = Vec::with_capacity(self.entries.len());
        let mut again: Vec<(Entry<T>, Fault)> = Vec::new();
        for entry in self.entries {
            let place = (entry.sequence - self.first_sequence) as usize;
            let Some(result) = results.get_mut(place).and_then(Option::take) else {
                again.push((
                    entry,
                    Fault::unreachable("the answer leaves this message out"),
                ));
                continue;
            };
            let reply = entry.pending.reply;
            match result.error.clone().map(Fault::from) {
                None => verdicts.push((reply, Ok(accepted(result, self.attempts)))),
                Some(fault) if fault.retryable => {
                    let pending = Pending {
                        reply,
                        ..entry.pending
                    };
                    again.push((Entry { pending, ..entry }, fault));
                }
                Some(fault) => verdicts.push((reply, Err(SendError::Refused(Box::new(fault))))),
            }
        }
        (
            verdicts,
            runs(self.partition, self.attempts, self.unknown, again),
        )
    }

    /// The same of an atomic batch: it is finished as a whole, or tried again as a whole.
    fn settle_together(mut self, results: Vec<SendResult>) -> (Vec<Verdict<T>>, Vec<Self>) {
        let mut faults = results.iter().filter_map(|result| result.error.as_ref());
        let temporary = faults.clone().all(|error| error.retryable);
        if temporary && let Some(error) = faults.next() {
            self.fault = Some(Fault::from(error.clone()));
            return (Vec::new(), vec![self]);
        }
        let attempts = self.attempts;
        let verdicts = self.entries.into_iter().zip(results);
        let verdicts = verdicts.map(|(entry, result)| {
            let verdict = match result.error {
                None => Ok(accepted(result, attempts)),
                Some(error) => Err(SendError::Refused(Box::new(Fault::from(error)))),
            };
            (entry.pending.reply, verdict)
        });
        (verdicts.collect(), Vec::new())
    }

    /// Fails those whose time is over; `in_flight` when their answer is still awaited.
    pub fn expire(&mut self, now: Instant, in_flight: bool) -> Vec<Verdict<T>> {
        if self.deadline() > now {
            return Vec::new();
        }
        self.unknown |= in_flight;
        let (over, rest) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| entry.pending.deadline <= now);
        self.entries = rest;
        self.fail(over, now)
    }

    /// Fails all.
    pub fn give_up(mut self, now: Instant) -> Vec<Verdict<T>> {
        let entries = std::mem::take(&mut self.entries);
        self.fail(entries, now)
    }

    fn fail(&self, entries: Vec<Entry<T>>, now: Instant) -> Vec<Verdict<T>> {
        let no_answer = || Fault::unreachable("the server did not answer in time");
        let fault = self.fault.clone().unwrap_or_else(no_answer);
        let fail = |entry: Entry<T>| {
            let waited = entry.pending.waited(now);
            let (attempts, last) = (self.attempts, Box::new(fault.clone()));
            let error = if self.unknown {
                SendError::Unknown {
                    waited,
                    attempts,
                    last,
                }
            } else {
                SendError::NotSent {
                    waited,
                    attempts,
                    last,
                }
            };
            (entry.pending.reply, Err(error))
        };
        entries.into_iter().map(fail).collect()
    }
}

fn accepted(result: SendResult, attempts: u32) -> Accepted {
    Accepted {
        message_id: result.message_id,
        partition: result.partition,
        sequence: result.sequence,
        duplicate: result.duplicate,
        attempts,
    }
}

fn runs<T>(
    partition: u32,
    attempts: u32,
    unknown: bool,
    again: Vec<(Entry<T>, Fault)>,
) -> Vec<Batch<T>> {
    let mut runs: Vec<Batch<T>> = Vec::new();
    for (entry, fault) in again {
        let follows = runs.last_mut().filter(|run| {
            run.entries
                .last()
                .is_some_and(|last| last.sequence + 1 == entry.sequence)
        });
        if let Some(run) = follows {
            run.entries.push(entry);
            continue;
        }
        let mut run = Batch::new(partition, vec![entry]);
        run.attempts = attempts;
        run.unknown = unknown;
        run.fault = Some(fault);
        runs.push(run);
    }
    runs
}
