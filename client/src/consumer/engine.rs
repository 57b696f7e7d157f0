//! The task of one consumer: keeps streams to the leaders, fills the buffer, settles, extends.

mod credit;
mod draining;
mod reroute;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use roadstead_proto::v1::{self as proto, ReceiveStreamOpen};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::Delivery;
use super::buffer::Buffer;
use super::complete::Completing;
use super::credit::Credit;
use super::held::Held;
use super::lane::Lane;
use super::settles::{Asker, Settling};
use super::stream::Report;
use crate::backoff::Backoff;
use crate::client::Shared;
use crate::error::{Fault, ReceiveError, SettleError};
use crate::message::ReceivedMessage;
use crate::topology::Topology;

/// Where streams go is looked at this often; they move when no leader has changed for so long.
const REROUTE: Duration = Duration::from_secs(2);

/// What a consumer asks of its engine.
#[derive(Debug)]
pub(crate) enum Command {
    Settle(Settling),
    /// Ack a delivery and send what came of it.
    Complete(Completing),
    /// That was answered: the delivery is held no more, unless it was refused with this.
    Completed {
        partition: u32,
        receipt: Bytes,
        refused: Option<String>,
    },
    /// The application is done with a delivery that has no lease.
    Done(u32),
    /// The shard of each partition, when it has changed.
    Shards(Vec<u32>),
    /// Fetch no more, give back what is not begun, and end when all is settled.
    Stop,
}

/// What does not change while a consumer lives.
#[derive(Debug)]
pub(crate) struct Settings {
    pub shared: Arc<Shared>,
    pub open: ReceiveStreamOpen,
    pub lease: Duration,
    pub max_in_flight: u32,
    pub end_when_drained: bool,
}

pub(crate) struct Engine {
    settings: Settings,
    shards: Vec<u32>,
    held: Held,
    credit: Credit,
    lanes: BTreeMap<u64, Lane>,
    /// Settlements whose partition has no stream now.
    orphans: Vec<Settling>,
    next_lane: u64,
    failures: u32,
    reroute_at: Instant,
    move_at: Instant,
    extend_at: Instant,
    stopping: bool,
    /// Until when the server delivers nothing of a partition.
    drained: BTreeMap<u32, Instant>,
    topology: watch::Receiver<Arc<Topology>>,
    buffer: Arc<Buffer>,
    commands: mpsc::WeakUnboundedSender<Command>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Engine {
    /// Runs until the consumer is stopped and everything is settled, or the server refuses.
    pub async fn run(
        settings: Settings,
        shards: Vec<u32>,
        buffer: Arc<Buffer>,
        commands: mpsc::WeakUnboundedSender<Command>,
        mut inbox: mpsc::UnboundedReceiver<Command>,
    ) {
        let (reports, mut incoming) = mpsc::unbounded_channel();
        let now = Instant::now();
        let mut engine = Self {
            held: Held::new(settings.lease),
            credit: Credit::new(settings.max_in_flight),
            topology: settings.shared.watch(),
            settings,
            shards,
            lanes: BTreeMap::new(),
            orphans: Vec::new(),
            next_lane: 1,
            failures: 0,
            reroute_at: now,
            move_at: now,
            extend_at: now,
            stopping: false,
            drained: BTreeMap::new(),
            buffer,
            commands,
            reports,
        };
        let mut asked = Vec::new();
        let mut heard = Vec::new();
        let mut asking = true;
        engine.step(now);
        while !(engine.is_done() && engine.lanes.is_empty()) {
            let wake = engine.wake();
            tokio::select! {
                _ = incoming.recv_many(&mut heard, 64) => {}
                count = inbox.recv_many(&mut asked, 256), if asking => {
                    asking = count > 0;
                }
                changed = engine.topology.changed() => if changed.is_ok() { engine.moved() },
                () = sleep_until(wake.into()) => {}
            }
            heard.drain(..).for_each(|report| engine.hear(report));
            asked.drain(..).for_each(|command| engine.ask(command));
            if !asking && !engine.stopping {
                engine.stop();
            }
            engine.step(Instant::now());
        }
        engine.buffer.end(Ok(()));
    }

    /// It is to end and everything is settled.
    fn is_done(&self) -> bool {
        self.stopping && self.orphans.is_empty() && self.held.is_empty()
    }

    fn wake(&self) -> Instant {
        let settles = self.lanes.values().filter(|lane| lane.opened);
        let settles = settles.filter_map(|lane| lane.settles.next_deadline());
        let given_up = self.lanes.values().filter_map(Lane::given_up_at);
        let extend = self.held.pace().map(|_| self.extend_at);
        settles
            .chain(given_up)
            .chain(extend)
            .chain(self.drained.values().copied())
            .chain(self.credit.look_again_at())
            .fold(self.reroute_at, Instant::min)
    }

    /// Leaders change: streams follow when that is over.
    fn moved(&mut self) {
        self.move_at = Instant::now() + REROUTE;
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Opened(number, group_id) => {
                // Streams are of this one from now on, not of one that takes its name.
                self.settings.open.group_id = group_id;
                if let Some(lane) = self.lanes.get_mut(&number) {
                    lane.opened = true;
                    self.failures = 0;
                    self.settings.shared.channels.mark_up(&lane.address);
                }
            }
            Report::Deliveries(number, deliveries) => {
                if let Some(lane) = self.lanes.get(&number) {
                    self.credit.delivered(lane.place, deliveries.len());
                }
                for delivery in deliveries {
                    self.deliver(delivery);
                }
            }
            Report::Settled(number, batch, results) => {
                let Some(lane) = self.lanes.get_mut(&number) else {
                    return;
                };
                let place = lane.place;
                for (settling, outcome) in lane.settles.answered(batch, results, Instant::now()) {
                    if settling.ends_lease() {
                        self.credit.settled(place);
                    }
                    self.settled(settling, outcome);
                }
            }
            Report::Returned(number, messages) => {
                if let Some(lane) = self.lanes.get(&number) {
                    self.credit.returned(lane.place, messages);
                }
            }
            Report::Available(number) => {
                if let Some(lane) = self.lanes.get(&number) {
                    self.credit.available(lane.place);
                }
            }
            Report::Draining(number, left) => self.drained(number, left),
            Report::Ended(number, fault) => self.ended(number, fault),
        }
    }

    fn deliver(&mut self, delivery: proto::Delivery) {
        let Some(commands) = self.commands.upgrade() else {
            return;
        };
        let left = Duration::from_millis(delivery.lease_remaining_ms.into());
        let (message, receipt) = ReceivedMessage::split(delivery);
        if receipt.is_empty() {
            self.held.insert_unleased(message.partition);
        } else if !self
            .held
            .insert(receipt.clone(), message.partition, Instant::now() + left)
        {
            return;
        }
        let delivery = Delivery::new(message, receipt, commands);
        if (self.stopping || self.buffer.is_draining()) && delivery.is_leased() {
            self.give_back(delivery);
        } else {
            self.buffer.push(delivery);
        }
    }

    fn give_back(&mut self, delivery: Delivery) {
        if let Some(settling) = delivery.unstarted() {
            self.settle(settling);
        }
    }

    fn ask(&mut self, command: Command) {
        match command {
            Command::Settle(settling) => self.settle(settling),
            Command::Complete(completing) => self.complete(completing),
            Command::Completed {
                receipt,
                refused: None,
                ..
            } => self.held.remove(&receipt),
            Command::Completed {
                partition,
                receipt,
                refused: Some(error),
            } => self.settle(Settling::refused(partition, receipt, error)),
            Command::Done(partition) => self.held.uncount(partition),
            Command::Shards(shards) => {
                self.shards = shards;
                self.reroute_at = Instant::now();
            }
            Command::Stop => self.stop(),
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.take_back();
        for delivery in self.buffer.end(Ok(())) {
            self.give_back(delivery);
        }
    }

    fn settle(&mut self, settling: Settling) {
        if settling.ends_lease() {
            self.held.settling(&settling.settlement.receipt);
        }
        let mut lanes = self.lanes.values_mut();
        let lane = lanes
            .find(|lane| lane.stream.is_some() && lane.partitions.contains(&settling.partition));
        match lane {
            Some(lane) => lane.settles.push(settling),
            None => self.orphans.push(settling),
        }
    }

    fn complete(&mut self, completing: Completing) {
        // Were nobody left to settle, nobody would have asked.
        let Some(commands) = self.commands.upgrade() else {
            return;
        };
        // Its lease is kept alive until the call is answered.
        let (shared, queue) = (&self.settings.shared, &self.settings.open.queue);
        tokio::spawn(completing.run(shared.clone(), queue.clone(), commands));
    }

    fn settled(&mut self, settling: Settling, outcome: Result<(), SettleError>) {
        let receipt = &settling.settlement.receipt;
        match (&outcome, &settling.asker) {
            (Ok(()), Asker::Extension) => self.held.extended(receipt, Some(settling.since)),
            (Err(SettleError::Stale(fault) | SettleError::Unknown(fault)), Asker::Extension) => {
                tracing::warn!(%fault, "a lease could not be extended");
                self.held.remove(receipt);
            }
            (Err(_), Asker::Extension) => self.held.extended(receipt, None),
            _ if settling.ends_lease() => self.held.remove(receipt),
            _ => {}
        }
        if let Asker::Application(asker) = settling.asker {
            // Whoever settled may not wait for the answer.
            let _ = asker.send(outcome);
        }
    }

    fn ended(&mut self, number: u64, fault: Fault) {
        let Some(mut lane) = self.lanes.remove(&number) else {
            return;
        };
        self.credit.closed(lane.place);
        self.orphans.extend(lane.settles.abandon());
        if lane.closing.is_some() {
            self.reroute_at = Instant::now();
            return;
        }
        let fault = self.settings.shared.blame(&lane.address, fault);
        tracing::debug!(address = %lane.address, %fault, "receive stream lost");
        if !fault.retryable {
            return self.refuse(&fault);
        }
        self.settings.shared.refresh_soon();
        self.moved();
        self.failures += 1;
        self.reroute_at = Instant::now() + Backoff::CONNECT.wait(self.failures);
    }

    /// The server will not deliver: ends the consumer.
    fn refuse(&mut self, fault: &Fault) {
        self.stopping = true;
        let boxed = Box::new(fault.clone());
        let rest = self.buffer.end(Err(ReceiveError::Refused(boxed.clone())));
        for delivery in rest {
            drop(delivery.unstarted());
        }
        for mut lane in std::mem::take(&mut self.lanes).into_values() {
            self.orphans.extend(lane.settles.abandon());
        }
        for settling in std::mem::take(&mut self.orphans) {
            self.settled(settling, Err(SettleError::Refused(boxed.clone())));
        }
        self.held = Held::new(Duration::ZERO);
        self.credit = Credit::new(self.settings.max_in_flight);
    }

    /// Everything that time and state ask for.
    fn step(&mut self, now: Instant) {
        self.extend(now);
        self.look_at_drain(now);
        if now >= self.reroute_at {
            self.reroute(now);
        }
        let done = self.is_done();
        for lane in self.lanes.values_mut() {
            lane.pump(&mut self.held, &mut self.credit, now);
            if done {
                lane.close(&mut self.credit, now);
                lane.pump(&mut self.held, &mut self.credit, now);
            }
        }
        // Credit is sent behind the settlements that make room for it.
        if !done {
            self.grant(now);
        }
        let late = |lane: &Lane| lane.given_up_at().is_some_and(|at| at <= now);
        let late: Vec<u64> = self
            .lanes
            .iter()
            .filter(|(_, lane)| late(lane))
            .map(|(&number, _)| number)
            .collect();
        for number in late {
            self.ended(
                number,
                Fault::unreachable("the server did not open or end the stream in time"),
            );
        }
        self.give_up_settles(now);
    }
}
