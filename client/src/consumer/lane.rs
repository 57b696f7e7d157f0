//! One stream with the partitions that it serves: credit, settlements, and its end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::held::Held;
use super::settles::Settles;
use super::stream::Stream;

/// A stream that the server has not opened after this is given up.
const OPEN: Duration = Duration::from_secs(2);
/// A half-closed stream that the server has not ended after this is given up.
const CLOSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Lane {
    pub address: String,
    pub partitions: BTreeSet<u32>,
    /// `None` once it is half-closed.
    pub stream: Option<Stream>,
    pub settles: Settles,
    /// The server has said that it serves the stream.
    pub opened: bool,
    begun: Instant,
    /// It is to end: no more credit; half-closed when its settlements are answered.
    pub closing: Option<Instant>,
    /// Messages that the server may still deliver.
    credit: u32,
}

impl Lane {
    pub fn new(address: String, partitions: BTreeSet<u32>, stream: Stream) -> Self {
        Self {
            address,
            partitions,
            stream: Some(stream),
            settles: Settles::default(),
            opened: false,
            begun: Instant::now(),
            closing: None,
            credit: 0,
        }
    }

    /// When it is given up: the server has not opened it, or not ended it.
    pub fn given_up_at(&self) -> Option<Instant> {
        match self.closing {
            Some(at) => Some(at + CLOSE),
            None => (!self.opened).then_some(self.begun + OPEN),
        }
    }

    pub fn delivered(&mut self, messages: usize) {
        self.credit = self
            .credit
            .saturating_sub(u32::try_from(messages).unwrap_or(u32::MAX));
    }

    /// Grants credit so that at most `target` are held or on their way; in pieces that are worth a
    /// frame.
    pub fn grant(&mut self, held: &Held, target: u32) {
        let Some(stream) = self.stream.as_ref().filter(|_| self.closing.is_none()) else {
            return;
        };
        let held: u32 = self
            .partitions
            .iter()
            .map(|&partition| held.count(partition))
            .sum();
        let missing = target.saturating_sub(held + self.credit);
        if missing > 0 && (self.credit == 0 || missing >= target / 4) {
            stream.credit(missing);
            self.credit += missing;
        }
    }

    /// Takes back unused credit; what is on its way may still come.
    pub fn take_back(&mut self) {
        if let Some(stream) = &self.stream {
            stream.credit(0);
        }
        self.credit = 0;
    }

    /// Takes back unused credit and lets the stream end.
    pub fn close(&mut self, now: Instant) {
        if self.closing.is_none() {
            self.closing = Some(now);
            self.take_back();
        }
    }

    /// Sends the settlements that are due, and half-closes when it is to end and all are answered.
    pub fn pump(&mut self, held: &mut Held, now: Instant) {
        let Some(stream) = &self.stream else { return };
        while self.opened
            && let Some(batch) = self.settles.next_batch(now)
        {
            for settlement in &batch.settlements {
                held.sent(&settlement.receipt);
            }
            stream.settle(batch);
        }
        if self.closing.is_some() && self.settles.is_idle() {
            self.stream = None;
        }
    }
}
