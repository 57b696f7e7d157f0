//! The task of one producer: takes messages in, keeps streams to the leaders, hands out answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roadstead_proto::v1::{Queue, QueueRef, SendBatch, SendResult};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::batch::{Accepted, Pending, Verdict};
use super::lanes::{Lanes, Limits, outgoing};
use super::link::{Link, Report};
use super::nodes::Nodes;
use crate::backoff::Backoff;
use crate::client::Shared;
use crate::error::{Fault, SendError};
use crate::topology::Topology;

/// How long a way around a node that did not answer is kept at most.
const REROUTE: Duration = Duration::from_secs(5);
/// An answer that takes longer does not come, when the partition's leader is another node by now.
const STUCK: Duration = Duration::from_secs(1);

/// Whom to tell about one message; its share of the memory budget goes back with it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub sender: oneshot::Sender<Result<Accepted, SendError>>,
    pub _budget: Option<OwnedSemaphorePermit>,
}

/// What a producer asks of its engine.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "flushes are few, and a box per message costs more"
)]
pub(crate) enum Command {
    Send(Option<u32>, Pending<Reply>),
    /// An atomic batch.
    SendTogether(Option<u32>, Vec<Pending<Reply>>),
    /// Answer when everything before it is finished.
    Flush(oneshot::Sender<()>),
}

pub(crate) struct Engine {
    shared: Arc<Shared>,
    queue: QueueRef,
    shards: Vec<u32>,
    producer_id: String,
    lanes: Lanes<Reply>,
    nodes: Nodes,
    /// Where each partition's messages should go: to its leader, while one is known.
    routes: Vec<String>,
    topology: watch::Receiver<Arc<Topology>>,
    next_link: u64,
    reroute_at: Instant,
    /// When it was last asked who leads, for want of an answer.
    asked_at: Instant,
    reports: mpsc::UnboundedSender<Report>,
    flushes: Vec<oneshot::Sender<()>>,
    /// Why nothing can be sent, as far as is known.
    fault: Fault,
}

impl Engine {
    /// Starts the task; it ends when every sender of commands is gone and all is finished.
    pub fn start(
        shared: Arc<Shared>,
        queue: Queue,
        producer_id: String,
        limits: Limits,
    ) -> mpsc::UnboundedSender<Command> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (reports, incoming) = mpsc::unbounded_channel();
        let engine = Self {
            topology: shared.watch(),
            shared,
            queue: queue.queue.unwrap_or_default(),
            shards: queue.shards,
            producer_id,
            lanes: Lanes::new(limits),
            nodes: Nodes::default(),
            routes: Vec::new(),
            next_link: 1,
            reroute_at: Instant::now(),
            asked_at: Instant::now(),
            reports,
            flushes: Vec::new(),
            fault: Fault::unreachable("no connection to the leader of the partition yet"),
        };
        tokio::spawn(engine.run(inbox, incoming));
        commands
    }

    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Command>,
        mut incoming: mpsc::UnboundedReceiver<Report>,
    ) {
        let mut commands = Vec::new();
        let mut reports = Vec::new();
        let mut open = true;
        self.reroute();
        while open || !self.lanes.is_idle() {
            let deadline = self.deadline();
            tokio::select! {
                _ = incoming.recv_many(&mut reports, 256) => {}
                count = inbox.recv_many(&mut commands, 1024), if open => open = count > 0,
                changed = self.topology.changed() => {
                    if changed.is_ok() {
                        self.reroute();
                    }
                }
                () = sleep_until(deadline.into()) => {}
            }
            for report in reports.drain(..) {
                self.hear(report);
            }
            for command in commands.drain(..) {
                match command {
                    Command::Send(partition, pending) => self.lanes.push(partition, pending),
                    Command::SendTogether(partition, batch) => {
                        for pending in batch {
                            self.lanes.push(partition, pending);
                        }
                    }
                    Command::Flush(done) => self.flushes.push(done),
                }
            }
            let now = Instant::now();
            if now >= self.reroute_at || self.nodes.retries().any(|at| at <= now) {
                self.reroute();
            }
            let verdicts = self.lanes.expire(now, &self.fault);
            tell(verdicts);
            self.turn_around(now);
            self.dispatch(now);
            if self.lanes.is_idle() {
                for done in self.flushes.drain(..) {
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
            }
        }
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let stuck = self
            .lanes
            .in_flight()
            .map(|(_, batch)| batch.sent_at + STUCK);
        let once = self.nodes.patience().chain(stuck).filter(|at| *at > now);
        self.nodes
            .retries()
            .chain(once)
            .chain(self.lanes.next_deadline(now))
            .fold(self.reroute_at, Instant::min)
    }

    /// Looks anew where each partition's messages go, and opens links that are missing.
    fn reroute(&mut self) {
        self.reroute_at = Instant::now() + REROUTE;
        let routes = self.shards.iter().map(|&shard| self.shared.route(shard));
        self.routes = routes.collect();
        let wanted: BTreeSet<String> = self.routes.iter().cloned().collect();
        for address in self.nodes.want(&wanted, Instant::now()) {
            self.connect(&address);
        }
    }

    fn connect(&mut self, address: &str) {
        let number = self.next_link;
        self.next_link += 1;
        match self.shared.channels.get(address) {
            Ok(service) => {
                let open = (self.queue.clone(), self.producer_id.clone());
                let link = Link::open(number, service, open, self.reports.clone());
                self.nodes.opening(address, (number, link), Instant::now());
            }
            Err(reason) => {
                self.fault = Fault::unreachable(reason);
                let retry_at = Instant::now() + Backoff::CONNECT.max;
                self.nodes.failed(address, retry_at);
            }
        }
    }

    /// Asks who leads when answers do not come, and sends batches again whose leader is elsewhere
    /// by now. The server knows them again by their numbers.
    fn turn_around(&mut self, now: Instant) {
        let stuck = self.lanes.in_flight();
        let stuck = stuck.filter(|(_, batch)| batch.sent_at + STUCK <= now);
        let stuck: Vec<(u64, u32)> = stuck.map(|(id, batch)| (id, batch.partition)).collect();
        if !stuck.is_empty() && now >= self.asked_at + STUCK {
            self.asked_at = now;
            self.shared.refresh_soon();
        }
        for (id, partition) in stuck {
            let leader = &self.routes[partition as usize];
            if self.nodes.is_open(leader) && !self.nodes.carries(leader, id) {
                self.nodes.landed(id);
                let fault = Fault::unreachable("no answer from a node that does not lead any more");
                tell(self.lanes.lost(id, &fault, now));
            }
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Credit(number, bytes) => {
                if let Some(address) = self.nodes.credit(number, bytes) {
                    self.shared.channels.mark_up(address);
                }
            }
            Report::Answer(batch, results) => {
                self.nodes.landed(batch);
                self.answered(batch, results);
            }
            Report::Lost(number, fault) => self.lost(number, fault),
        }
    }

    fn answered(&mut self, batch: u64, results: Vec<SendResult>) {
        let refused = results.iter().find_map(|result| result.error.as_ref());
        if let Some(error) = refused.filter(|error| error.retryable) {
            self.fault = Fault::from(error.clone());
            self.shared.refresh_soon();
        }
        tell(self.lanes.answered(batch, results, Instant::now()));
    }

    fn lost(&mut self, number: u64, fault: Fault) {
        let now = Instant::now();
        let Some((address, in_flight)) = self.nodes.lost(number, now) else {
            return;
        };
        let fault = self.shared.blame(&address, fault);
        tracing::debug!(%address, %fault, batches = in_flight.len(), "send stream lost");
        for batch in in_flight {
            tell(self.lanes.lost(batch, &fault, now));
        }
        if !fault.retryable {
            // A queue that is gone or a right that is missing: nothing that waits can be sent.
            tell(self.lanes.refuse_all(now, &fault));
        }
        self.fault = fault;
        self.reroute();
    }

    fn dispatch(&mut self, now: Instant) {
        loop {
            let (routes, nodes) = (&self.routes, &self.nodes);
            let open = |partition: u32, bytes: usize| {
                let leader = routes.get(partition as usize);
                let address = leader.and_then(|leader| nodes.way(leader, partition, now));
                address.is_some_and(|address| nodes.takes(address, bytes as u64))
            };
            let Some((id, batch)) = self.lanes.next_batch(now, open) else {
                return;
            };
            let leader = &self.routes[batch.partition as usize];
            let Some(address) = self.nodes.way(leader, batch.partition, now).cloned() else {
                return;
            };
            let bytes = batch.bytes() as u64;
            let Some(link) = self.nodes.dispatch(&address, id, bytes) else {
                return;
            };
            link.batch(SendBatch {
                batch_id: id,
                messages: outgoing(batch),
                partition: Some(batch.partition),
                first_sequence: batch.first_sequence(),
                atomic: batch.atomic,
            });
        }
    }
}

fn tell(verdicts: Vec<Verdict<Reply>>) {
    for (reply, verdict) in verdicts {
        // A sender that no longer waits for the answer is no fault.
        let _ = reply.sender.send(verdict);
    }
}
