//! The proposer: one task per shard that turns what waits into log entries.
//!
//! What arrives while entries are being written is joined into the next one. An idle shard writes
//! at once; a busy one keeps up to [`IN_FLIGHT_MAX`] entries in flight and fills them. The same
//! task ticks when a deadline has passed and releases sessions that did not come back.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use openraft_rt::{Instant as _, Select4};
use roadstead_core::shard::{Applied, EventKind, Op, Reply};

use super::batch::{self, Batch, Incoming};
use super::consumer::Line;
use super::desk::Desk;
use super::events;
use super::intake::Lanes;
use super::replica::{Replica, Unapplied, View};
use crate::ordered::in_order;
use crate::runtime::{Runtime, yield_once};

/// Entries in flight at most.
const IN_FLIGHT_MAX: usize = 4;
/// While so many are in flight, the next one is written whatever its size.
const IN_FLIGHT_EAGER: usize = 2;
/// Beyond, it is written when it has so many bytes.
const WORTHWHILE_BYTES: usize = 64 << 10;
/// Pause between two ticks.
const TICK_PAUSE_MS: u64 = 10;
/// While deadlines are pending, cluster time is logged at least that often.
const TIME_KEEPING_MS: u64 = 10_000;
const NAP: Duration = Duration::from_hours(1);
/// Pause behind an entry that was not written: a Raft that has stopped says so at once, and whoever
/// waits here would be asked for again and again.
const UNWRITTEN_PAUSE: Duration = Duration::from_millis(10);

type Writing = Pin<Box<dyn Future<Output = (Batch, Result<Applied, Unapplied>)> + Send>>;

/// State of the task.
pub struct Proposer<R: Runtime, P> {
    pub(super) desk: Arc<Desk<R, P>>,
    view: View,
    pub(super) lanes: Lanes,
    writing: FuturesOrdered<Writing>,
    incoming: Incoming,
    ticking: bool,
    ticked_ms: u64,
    /// When to look for sessions that have not come to this leader; in ms of the desk's clock.
    pub(super) absent_due_ms: Option<u64>,
}

impl<R: Runtime, P: Replica> Proposer<R, P> {
    /// A proposer for the desk's shard; there is one.
    pub fn new(desk: Arc<Desk<R, P>>) -> Self {
        let view = View {
            term: 0,
            leader: None,
            is_leader: false,
            epoch: u64::MAX,
        };
        Self {
            desk,
            view,
            lanes: Lanes::default(),
            writing: FuturesOrdered::new(),
            incoming: Incoming::new(),
            ticking: false,
            ticked_ms: 0,
            absent_due_ms: None,
        }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let desk = self.desk.clone();
        self.look(desk.replica.view());
        let mut moved = Box::pin(desk.replica.view_changed(self.view.epoch));
        let mut woken = Box::pin(desk.intake.woken());
        loop {
            desk.intake.take(&mut self.lanes);
            let nap = if self.view.is_leader {
                self.serve()
            } else {
                self.refuse()
            };
            let done = async {
                match self.writing.next().await {
                    Some(done) => done,
                    None => std::future::pending().await,
                }
            };
            let event = R::select4(pin!(done), &mut moved, &mut woken, R::sleep(nap)).await;
            match event {
                Select4::First((batch, outcome)) => {
                    let failed = outcome.is_err();
                    self.written(batch, outcome);
                    if failed {
                        R::sleep(UNWRITTEN_PAUSE).await;
                    }
                }
                Select4::Second(view) => {
                    self.look(view);
                    moved.set(desk.replica.view_changed(self.view.epoch));
                }
                Select4::Third(()) => {
                    woken.set(desk.intake.woken());
                    // Whoever is about to queue something gets into the same entry.
                    yield_once().await;
                }
                Select4::Fourth(()) => {}
            }
        }
    }

    /// Takes note of who leads.
    fn look(&mut self, view: View) {
        let led = self.view.is_leader;
        self.view = view;
        let desk = &self.desk;
        if view.is_leader && !led {
            tracing::info!(
                shard = desk.replica.id(),
                term = view.term,
                "serving the shard"
            );
            self.incoming.clear();
            let grace = desk.options.session_grace.as_millis() as u64;
            self.absent_due_ms = Some(desk.now_ms() + grace);
            desk.set_leads(true);
            desk.outbox.notify_one();
        } else if !view.is_leader && led {
            tracing::info!(
                shard = desk.replica.id(),
                term = view.term,
                "not leading any more"
            );
            desk.set_leads(false);
            self.absent_due_ms = None;
            let mut seats = desk.seats();
            seats
                .consumers
                .close_all(&Unapplied::NotLeader(view.leader));
            seats.sessions.clear();
            seats.wake_ups.clear();
        }
    }

    /// Answers what waits at a replica that does not lead.
    fn refuse(&mut self) -> Duration {
        let waiting = self.lanes.bytes;
        for job in self.lanes.drain() {
            // Or it would be waited for, and nothing would fall due when this replica leads again.
            self.ticking &= !matches!(job.op, Op::Tick);
            let _ = job.done.send(Err(Unapplied::NotLeader(self.view.leader)));
        }
        self.desk.intake.taken(waiting);
        // A subscription may have slipped in while leadership was lost.
        let mut seats = self.desk.seats();
        seats
            .consumers
            .close_all(&Unapplied::NotLeader(self.view.leader));
        NAP
    }

    /// Writes what is worth an entry; returns how long nothing can become due.
    fn serve(&mut self) -> Duration {
        self.end_what_is_over();
        self.tick_if_due();
        let time = self.desk.replica.cluster_time();
        self.desk.seats().consumers.look_at_rates(time);
        while self.may_write() && self.write() {}
        self.nap()
    }

    fn may_write(&self) -> bool {
        match self.writing.len() {
            entries if entries < IN_FLIGHT_EAGER => true,
            entries if entries < IN_FLIGHT_MAX => self.lanes.bytes >= WORTHWHILE_BYTES,
            _ => false,
        }
    }

    /// Writes one entry; false when there is nothing to write.
    fn write(&mut self) -> bool {
        let desk = self.desk.clone();
        let mut seats = desk.seats();
        let time = desk.replica.cluster_time();
        let waiting = !desk.intake.is_draining() && seats.consumers.is_dirty();
        if self.lanes.is_empty() && !waiting {
            return false;
        }
        let (lanes, incoming) = (&mut self.lanes, &mut self.incoming);
        let consumers = &mut seats.consumers;
        let filled = desk
            .replica
            .read(|machine, kv| batch::fill(lanes, consumers, incoming, (machine, kv), time));
        drop(seats);
        let Some((entry, batch)) = filled else {
            return false;
        };
        self.ticking |= batch.tick;
        let proposed = R::Instant::now();
        self.writing.push_back(Box::pin(in_order(async move {
            let outcome = desk.replica.propose(entry).await;
            if outcome.is_ok() {
                desk.commits.note(proposed.elapsed());
            }
            (batch, outcome)
        })));
        true
    }

    /// An entry was applied, or its outcome is not known.
    fn written(&mut self, batch: Batch, outcome: Result<Applied, Unapplied>) {
        let desk = self.desk.clone();
        batch::settled(&batch, &mut self.incoming);
        desk.intake.taken(batch.bytes);
        if batch.tick {
            self.ticking = false;
            self.ticked_ms = desk.now_ms();
        }
        match outcome {
            Ok(applied) => self.applied(batch, applied),
            Err(unapplied) => {
                for done in batch.answers {
                    let _ = done.send(Err(unapplied.clone()));
                }
                let mut seats = desk.seats();
                for asked in &batch.asked {
                    seats.consumers.answered(asked, None, 0);
                }
            }
        }
    }

    fn applied(&mut self, batch: Batch, applied: Applied) {
        let desk = self.desk.clone();
        let mut replies = applied.replies.into_iter();
        for (done, reply) in batch.answers.into_iter().zip(&mut replies) {
            let _ = done.send(Ok(reply));
        }
        let asked = batch.asked.iter().map(|asked| asked.receive);
        let incoming = batch.incoming.keys().copied();
        let (ready, lines): (Vec<u64>, BTreeSet<Line>) = desk.replica.read(|machine, _| {
            let ready = asked.map(|receive| {
                let ready = machine.ready_for_receive(&receive);
                // What its rate holds back is looked at again by itself.
                let rate = machine.delivery_rate(receive.partition, receive.group, machine.time());
                rate.map_or(ready, |(room, _)| ready.min(room))
            });
            let lines = incoming.flat_map(|(partition, group, _)| {
                let groups = match group {
                    None => machine.delivering(partition),
                    // As a receipt says, which anybody can make up.
                    Some(one) => Vec::from_iter(machine.delivers(partition, one).then_some(one)),
                };
                groups.into_iter().map(move |group| (partition, group))
            });
            (ready.collect(), lines.collect())
        });
        let mut homeless = Vec::new();
        let mut seats = desk.seats();
        for ((asked, reply), ready) in batch.asked.iter().zip(replies).zip(ready) {
            let got = match reply {
                Reply::Received(received) => Some(received),
                _ => None,
            };
            let left = seats.consumers.answered(asked, got, ready);
            // A session keeps its leases for a while; a one-time receive is over.
            homeless.extend(left.filter(|_| asked.receive.session.is_none()));
        }
        for partition in batch
            .touched
            .iter()
            .chain(applied.events.iter().map(|e| &e.partition))
        {
            seats.consumers.touched(*partition);
        }
        if batch.tick {
            seats.consumers.touched_all();
        }
        let mut woken = Vec::new();
        for line in lines {
            if !seats.consumers.waits_at(line) && seats.wake_ups.rings(line) {
                woken.push(line.0);
            }
        }
        drop(seats);
        for partition in woken {
            desk.ring_load(partition);
        }
        for received in &homeless {
            desk.hand_back(received);
        }
        events::log(desk.replica.id(), &applied.events);
        let leaves =
            |kind: &EventKind| matches!(kind, EventKind::DeadLettered(..) | EventKind::Redriven(_));
        if batch.outputs || applied.events.iter().any(|event| leaves(&event.kind)) {
            desk.outbox.notify_one();
        }
    }

    fn tick_if_due(&mut self) {
        let desk = &self.desk;
        if self.ticking || desk.now_ms() < self.ticked_ms + TICK_PAUSE_MS {
            return;
        }
        let Some(due) = self.next_tick() else {
            return;
        };
        if due <= desk.replica.cluster_time() && desk.intake.push(Op::Tick, 1).is_ok() {
            self.ticking = true;
            desk.intake.take(&mut self.lanes);
        }
    }

    /// When the next tick is due, in cluster time: at the next deadline, and before that now and
    /// then, so that every replica's clock follows the leader's.
    fn next_tick(&self) -> Option<u64> {
        self.desk.replica.read(|machine, _| {
            machine
                .next_deadline()
                .map(|due| due.min(machine.time() + TIME_KEEPING_MS))
        })
    }

    fn nap(&self) -> Duration {
        let desk = &self.desk;
        let seats = desk.seats();
        let due = [
            seats.sessions.next_due_ms(),
            seats.consumers.due_ms(),
            self.absent_due_ms,
        ];
        let rates = seats.consumers.rates_due_ms();
        drop(seats);
        let rates = rates.map(|due| due.saturating_sub(desk.replica.cluster_time()));
        let now = desk.now_ms();
        let own = due.into_iter().flatten().map(|due| due.saturating_sub(now));
        let tick = if self.ticking {
            None
        } else {
            let due = self.next_tick();
            let left = due.map(|due| (due + 1).saturating_sub(desk.replica.cluster_time()));
            let pause = (self.ticked_ms + TICK_PAUSE_MS).saturating_sub(desk.now_ms());
            left.map(|left| left.max(pause))
        };
        let next = own.chain(tick).chain(rates).min();
        next.map_or(NAP, |ms| Duration::from_millis(ms.max(1)).min(NAP))
    }
}
