//! One stream with the partitions that it serves: settlements, and its end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::credit::Credit;
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
    /// Its place among the streams that credit is split over.
    pub place: usize,
}

impl Lane {
    pub fn new(place: usize, address: String, partitions: BTreeSet<u32>, stream: Stream) -> Self {
        Self {
            address,
            partitions,
            place,
            stream: Some(stream),
            settles: Settles::default(),
            opened: false,
            begun: Instant::now(),
            closing: None,
        }
    }

    /// When it is given up: the server has not opened it, or not ended it.
    pub fn given_up_at(&self) -> Option<Instant> {
        match self.closing {
            Some(at) => Some(at + CLOSE),
            None => (!self.opened).then_some(self.begun + OPEN),
        }
    }

    /// Grants credit; 0 takes back what is unused, and what is on its way may still come.
    pub fn credit(&self, messages: u32) {
        if let Some(stream) = &self.stream {
            stream.credit(messages);
        }
    }

    /// Takes back unused credit and lets the stream end.
    pub fn close(&mut self, credit: &mut Credit, now: Instant) {
        if self.closing.is_none() {
            self.closing = Some(now);
            if credit.closing(self.place) {
                self.credit(0);
            }
        }
    }

    /// Sends the settlements that are due, and half-closes when it is to end and all are answered.
    pub fn pump(&mut self, held: &mut Held, credit: &mut Credit, now: Instant) {
        let Some(stream) = &self.stream else { return };
        while self.opened
            && let Some(batch) = self.settles.next_batch(now)
        {
            let settlements = batch.settlements.iter();
            let ended = settlements.filter(|settlement| held.sent(&settlement.receipt));
            credit.settling(self.place, u32::try_from(ended.count()).unwrap_or(u32::MAX));
            stream.settle(batch);
        }
        if self.closing.is_some() && self.settles.is_idle() {
            self.stream = None;
        }
    }
}
