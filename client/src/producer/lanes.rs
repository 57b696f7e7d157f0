//! Which message goes in which batch, when, with which numbers: pure, without clock or network.
//!
//! A message gets its number (per partition, from 1) when its first batch is made, and keeps
//! partition and number through every retry, so that the server knows it again. Messages without a
//! key wait unassigned and go to a partition that is doing well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use roadstead_proto::v1::{OutgoingMessage, SendResult};

use super::batch::{Batch, Entry, Pending, Verdict};
use super::waiting::{batch_of, expire, least};
use crate::backoff::Backoff;
use crate::error::Fault;

/// Numbers between the lowest unanswered and the highest sent: inside of the server's window.
const SPAN: u64 = 1_000;

/// How batches are made.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Partitions of the queue, at least 1.
    pub partitions: u32,
    /// Messages per batch, 1..1,000.
    pub batch_messages: usize,
    /// Bytes per batch; a larger message goes alone.
    pub batch_bytes: usize,
    /// Batches in flight per partition; 1 keeps order through retries.
    pub in_flight: usize,
    /// How long a message waits for company while others are in flight.
    pub linger: Duration,
    /// Times that a message is handed to a server before it fails.
    pub attempts: u32,
}

#[derive(Debug)]
struct Lane<T> {
    fresh: VecDeque<Pending<T>>,
    retries: VecDeque<Batch<T>>,
    in_flight: BTreeMap<u64, Batch<T>>,
    next_sequence: u64,
}

impl<T> Lane<T> {
    fn is_idle(&self) -> bool {
        self.fresh.is_empty() && self.retries.is_empty() && self.in_flight.is_empty()
    }

    /// The lowest number that is not answered yet.
    fn lowest(&self) -> u64 {
        let batches = self.retries.iter().chain(self.in_flight.values());
        batches
            .map(Batch::first_sequence)
            .min()
            .unwrap_or(self.next_sequence)
    }

    fn room_for_numbers(&self) -> usize {
        SPAN.saturating_sub(self.next_sequence - self.lowest()) as usize
    }
}

/// All that one producer has not finished.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    limits: Limits,
    partitions: Vec<Lane<T>>,
    active: BTreeSet<u32>,
    /// Messages without a key, not numbered yet.
    free: VecDeque<Pending<T>>,
    turn: u32,
    next_batch: u64,
    flying: usize,
}

impl<T> Lanes<T> {
    pub fn new(limits: Limits) -> Self {
        let lane = |_| Lane {
            fresh: VecDeque::new(),
            retries: VecDeque::new(),
            in_flight: BTreeMap::new(),
            next_sequence: 1,
        };
        Self {
            partitions: (0..limits.partitions).map(lane).collect(),
            turn: rand::random_range(0..limits.partitions),
            limits,
            active: BTreeSet::new(),
            free: VecDeque::new(),
            next_batch: 1,
            flying: 0,
        }
    }

    /// Takes a message in; `partition` when its key decides.
    pub fn push(&mut self, partition: Option<u32>, pending: Pending<T>) {
        match partition {
            None => self.free.push_back(pending),
            Some(partition) => {
                self.partitions[partition as usize].fresh.push_back(pending);
                self.active.insert(partition);
            }
        }
    }

    /// Nothing is waiting and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.free.is_empty() && self.partitions.iter().all(Lane::is_idle)
    }

    /// The next batch to send now, if any; it is in flight from here on. `open` says whether a
    /// partition's leader takes this many bytes now; it is not asked again for what it granted.
    pub fn next_batch(
        &mut self,
        now: Instant,
        mut open: impl FnMut(u32, usize) -> bool,
    ) -> Option<(u64, &Batch<T>)> {
        let active: Vec<u32> = self.active.iter().copied().collect();
        let mut found = None;
        for partition in active {
            found = self.retry(partition, now, &mut open);
            if found.is_none() {
                found = self.keyed(partition, now, &mut open);
            }
            if found.is_some() {
                break;
            }
        }
        let mut batch = found.or_else(|| self.unkeyed(now, &mut open))?;
        batch.sent_at = now;
        let (id, partition) = (self.next_batch, batch.partition);
        self.next_batch += 1;
        self.flying += 1;
        self.active.insert(partition);
        let lane = &mut self.partitions[partition as usize];
        Some((id, lane.in_flight.entry(id).or_insert(batch)))
    }

    fn retry(
        &mut self,
        partition: u32,
        now: Instant,
        open: &mut impl FnMut(u32, usize) -> bool,
    ) -> Option<Batch<T>> {
        let lane = &mut self.partitions[partition as usize];
        let first = lane.retries.front()?;
        let busy = lane.in_flight.len() >= self.limits.in_flight;
        if busy || first.not_before > now || !open(partition, first.bytes()) {
            return None;
        }
        let mut batch = lane.retries.pop_front()?;
        batch.start_again();
        Some(batch)
    }

    fn ripe(&self, waiting: &VecDeque<Pending<T>>, now: Instant) -> bool {
        let Some(first) = waiting.front() else {
            return false;
        };
        self.flying == 0
            || waiting.len() >= self.limits.batch_messages
            || now >= first.since + self.limits.linger
            || first.together > 0
    }

    /// Whether a partition takes so many more messages now.
    fn healthy(&self, partition: u32, messages: usize) -> bool {
        let lane = &self.partitions[partition as usize];
        lane.retries.is_empty()
            && lane.in_flight.len() < self.limits.in_flight
            && lane.room_for_numbers() >= messages
    }

    fn keyed(
        &mut self,
        partition: u32,
        now: Instant,
        open: &mut impl FnMut(u32, usize) -> bool,
    ) -> Option<Batch<T>> {
        let waiting = &self.partitions[partition as usize].fresh;
        if !self.ripe(waiting, now) || !self.healthy(partition, least(waiting)) {
            return None;
        }
        if !open(partition, batch_of(waiting, &self.limits).1) {
            return None;
        }
        let mut waiting = std::mem::take(&mut self.partitions[partition as usize].fresh);
        let batch = self.form(partition, &mut waiting);
        self.partitions[partition as usize].fresh = waiting;
        Some(batch)
    }

    fn unkeyed(
        &mut self,
        now: Instant,
        open: &mut impl FnMut(u32, usize) -> bool,
    ) -> Option<Batch<T>> {
        if !self.ripe(&self.free, now) {
            return None;
        }
        let bytes = batch_of(&self.free, &self.limits).1;
        let count = self.limits.partitions;
        let turns = (0..count).map(|step| (self.turn + step) % count);
        let least = least(&self.free);
        let mut turns = turns.filter(|&partition| self.healthy(partition, least));
        let partition = turns.find(|&partition| open(partition, bytes))?;
        self.turn = (partition + 1) % count;
        let mut waiting = std::mem::take(&mut self.free);
        let batch = self.form(partition, &mut waiting);
        self.free = waiting;
        Some(batch)
    }

    /// Numbers what fits in one batch.
    fn form(&mut self, partition: u32, waiting: &mut VecDeque<Pending<T>>) -> Batch<T> {
        let lane = &mut self.partitions[partition as usize];
        let room = lane.room_for_numbers();
        let count = batch_of(waiting, &self.limits).0.min(room);
        let mut entries = Vec::with_capacity(count);
        for pending in waiting.drain(..count) {
            entries.push(Entry {
                sequence: lane.next_sequence,
                pending,
            });
            lane.next_sequence += 1;
        }
        Batch::new(partition, entries)
    }

    /// Takes in the answer to a batch; returns what became of those messages that are finished.
    pub fn answered(&mut self, id: u64, results: Vec<SendResult>, now: Instant) -> Vec<Verdict<T>> {
        let Some(batch) = self.take(id) else {
            return Vec::new();
        };
        let partition = batch.partition;
        let (mut verdicts, again) = batch.settle(results);
        self.again(partition, again, now, &mut verdicts);
        verdicts
    }

    /// What is in flight, by number.
    pub fn in_flight(&self) -> impl Iterator<Item = (u64, &Batch<T>)> {
        let lanes = self.active.iter();
        let lanes = lanes.map(|&partition| &self.partitions[partition as usize]);
        lanes.flat_map(|lane| lane.in_flight.iter().map(|(&id, batch)| (id, batch)))
    }

    /// Takes in that the answer to a batch will not come: it may have been accepted or not.
    pub fn lost(&mut self, id: u64, fault: &Fault, now: Instant) -> Vec<Verdict<T>> {
        let Some(mut batch) = self.take(id) else {
            return Vec::new();
        };
        batch.unknown = true;
        batch.fault = Some(fault.clone());
        let mut verdicts = Vec::new();
        self.again(batch.partition, vec![batch], now, &mut verdicts);
        verdicts
    }

    fn take(&mut self, id: u64) -> Option<Batch<T>> {
        let mut lanes = self.active.iter().map(|&partition| partition as usize);
        let partition = lanes.find(|&lane| self.partitions[lane].in_flight.contains_key(&id))?;
        let batch = self.partitions[partition].in_flight.remove(&id)?;
        self.flying -= 1;
        if self.partitions[partition].is_idle() {
            self.active.remove(&(partition as u32));
        }
        Some(batch)
    }

    fn again(
        &mut self,
        partition: u32,
        batches: Vec<Batch<T>>,
        now: Instant,
        verdicts: &mut Vec<Verdict<T>>,
    ) {
        let lane = &mut self.partitions[partition as usize];
        for mut batch in batches {
            if batch.attempts >= self.limits.attempts {
                verdicts.extend(batch.give_up(now));
                continue;
            }
            batch.not_before = now + Backoff::SEND.wait(batch.attempts);
            let place = lane
                .retries
                .partition_point(|other| other.first_sequence() < batch.first_sequence());
            lane.retries.insert(place, batch);
            self.active.insert(partition);
        }
    }

    /// Gives up what has run out of time; `fault` says why nothing could be sent.
    pub fn expire(&mut self, now: Instant, fault: &Fault) -> Vec<Verdict<T>> {
        let mut verdicts = Vec::new();
        expire(&mut self.free, now, fault, &mut verdicts);
        for partition in self.active.clone() {
            let lane = &mut self.partitions[partition as usize];
            expire(&mut lane.fresh, now, fault, &mut verdicts);
            lane.retries.retain_mut(|batch| {
                verdicts.extend(batch.expire(now, false));
                !batch.is_empty()
            });
            let before = lane.in_flight.len();
            lane.in_flight.retain(|_, batch| {
                verdicts.extend(batch.expire(now, true));
                !batch.is_empty()
            });
            self.flying -= before - lane.in_flight.len();
            if lane.is_idle() {
                self.active.remove(&partition);
            }
        }
        verdicts
    }

    /// Fails everything: the server will not take anything more from this producer.
    pub fn refuse_all(&mut self, now: Instant, fault: &Fault) -> Vec<Verdict<T>> {
        let mut verdicts = Vec::new();
        let waiting = self.partitions.iter_mut().map(|lane| &mut lane.fresh);
        for waiting in waiting.chain(std::iter::once(&mut self.free)) {
            verdicts.extend(waiting.drain(..).map(|pending| pending.refused(fault)));
        }
        for lane in &mut self.partitions {
            let in_flight = std::mem::take(&mut lane.in_flight).into_values();
            let in_flight = in_flight.map(Batch::unanswered);
            for mut batch in lane.retries.drain(..).chain(in_flight) {
                batch.fault = Some(fault.clone());
                verdicts.extend(batch.give_up(now));
            }
        }
        self.active.clear();
        self.flying = 0;
        verdicts
    }

    /// When something is to be done next, if nothing else happens before. What is due already and
    /// still waits, waits for something else.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let linger = self.limits.linger;
        let later =
            |at: Instant, deadline: Instant| if at > now { at.min(deadline) } else { deadline };
        let waiting = |waiting: &VecDeque<Pending<T>>| {
            waiting
                .front()
                .map(|first| later(first.since + linger, first.deadline))
        };
        let lanes = self
            .active
            .iter()
            .map(|&partition| &self.partitions[partition as usize]);
        let lanes = lanes.flat_map(|lane| {
            let retries = lane.retries.iter();
            let retries = retries.map(|batch| later(batch.not_before, batch.deadline()));
            let in_flight = lane.in_flight.values().map(Batch::deadline);
            retries.chain(in_flight).chain(waiting(&lane.fresh))
        });
        lanes.chain(waiting(&self.free)).min()
    }
}

/// The messages of a batch, as they travel.
pub(crate) fn outgoing<T>(batch: &Batch<T>) -> Vec<OutgoingMessage> {
    batch
        .entries()
        .map(|entry| entry.pending.message.clone())
        .collect()
}
