//! The task of one producer: takes messages in, keeps streams to the leaders, hands out answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use roadstead_proto::v1::{Queue, QueueRef, SendBatch, SendResult};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::batch::{Accepted, Pending, Verdict};
use super::lanes::{Lanes, Limits, outgoing};
use super::link::{Link, Report};
use crate::backoff::Backoff;
use crate::client::Shared;
use crate::error::{Fault, SendError};
use crate::topology::Topology;

/// How long a way around a node that did not answer is kept at most.
const REROUTE: Duration = Duration::from_secs(5);

/// Whom to tell about one message; its share of the memory budget goes back with it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub sender: oneshot::Sender<Result<Accepted, SendError>>,
    pub _budget: OwnedSemaphorePermit,
}

/// What a producer asks of its engine.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "flushes are few, and a box per message costs more"
)]
pub(crate) enum Command {
    Send(Option<u32>, Pending<Reply>),
    /// Answer when everything before it is finished.
    Flush(oneshot::Sender<()>),
}

/// An address and the stream to it, or when to try again.
#[derive(Debug, Default)]
struct Node {
    link: Option<(u64, Link)>,
    credit: u64,
    in_flight: BTreeSet<u64>,
    failures: u32,
    retry_at: Option<Instant>,
}

pub(crate) struct Engine {
    shared: Arc<Shared>,
    queue: QueueRef,
    shards: Vec<u32>,
    producer_id: String,
    lanes: Lanes<Reply>,
    nodes: BTreeMap<String, Node>,
    /// Where each partition's messages go now.
    routes: Vec<String>,
    topology: watch::Receiver<Arc<Topology>>,
    next_link: u64,
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
            nodes: BTreeMap::new(),
            routes: Vec::new(),
            next_link: 1,
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
                () = sleep_until(deadline.into()) => self.reroute(),
            }
            for report in reports.drain(..) {
                self.hear(report);
            }
            for command in commands.drain(..) {
                match command {
                    Command::Send(partition, pending) => self.lanes.push(partition, pending),
                    Command::Flush(done) => self.flushes.push(done),
                }
            }
            let now = Instant::now();
            let verdicts = self.lanes.expire(now, &self.fault);
            tell(verdicts);
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
        let nodes = self.nodes.values().filter_map(|node| node.retry_at);
        let latest = now + REROUTE;
        nodes
            .chain(self.lanes.next_deadline(now))
            .min()
            .unwrap_or(latest)
            .min(latest)
    }

    /// Looks anew where each partition's messages go, and opens links that are missing.
    fn reroute(&mut self) {
        let routes = self.shards.iter().map(|&shard| self.shared.route(shard));
        self.routes = routes.collect();
        let wanted: BTreeSet<String> = self.routes.iter().cloned().collect();
        self.nodes
            .retain(|address, node| wanted.contains(address) || !node.in_flight.is_empty());
        for address in wanted {
            self.connect(&address);
        }
    }

    fn connect(&mut self, address: &str) {
        let node = self.nodes.entry(address.to_owned()).or_default();
        if node.link.is_some() || node.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let number = self.next_link;
        self.next_link += 1;
        match self.shared.channels.get(address) {
            Ok(service) => {
                let open = (self.queue.clone(), self.producer_id.clone());
                let link = Link::open(number, service, open, self.reports.clone());
                node.link = Some((number, link));
                node.credit = 0;
                node.retry_at = None;
            }
            Err(reason) => {
                self.fault = Fault::unreachable(reason);
                node.retry_at = Some(Instant::now() + Backoff::CONNECT.max);
            }
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Credit(number, bytes) => {
                if let Some((address, node)) = node_of(&mut self.nodes, number) {
                    node.credit += bytes;
                    node.failures = 0;
                    self.shared.channels.mark_up(address);
                }
            }
            Report::Answer(number, batch, results) => {
                if let Some((_, node)) = node_of(&mut self.nodes, number) {
                    node.in_flight.remove(&batch);
                }
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
        let Some((address, node)) = node_of(&mut self.nodes, number) else {
            return;
        };
        let address = address.clone();
        node.link = None;
        node.failures += 1;
        node.retry_at = Some(Instant::now() + Backoff::CONNECT.wait(node.failures));
        let in_flight = std::mem::take(&mut node.in_flight);
        let fault = self.shared.blame(&address, fault);
        tracing::debug!(%address, %fault, batches = in_flight.len(), "send stream lost");
        let now = Instant::now();
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
                let node = routes
                    .get(partition as usize)
                    .and_then(|address| nodes.get(address));
                node.is_some_and(|node| node.takes(bytes as u64))
            };
            let Some((id, batch)) = self.lanes.next_batch(now, open) else {
                return;
            };
            let address = &self.routes[batch.partition as usize];
            let Some(node) = self.nodes.get_mut(address) else {
                return;
            };
            let Some((_, link)) = &node.link else { return };
            node.credit = node.credit.saturating_sub(batch.bytes() as u64);
            node.in_flight.insert(id);
            link.batch(SendBatch {
                batch_id: id,
                messages: outgoing(batch),
                partition: Some(batch.partition),
                first_sequence: batch.first_sequence(),
            });
        }
    }
}

impl Node {
    /// A batch larger than all the credit goes when nothing else is in flight.
    fn takes(&self, bytes: u64) -> bool {
        self.link.is_some()
            && self.credit > 0
            && (self.credit >= bytes || self.in_flight.is_empty())
    }
}

fn node_of(nodes: &mut BTreeMap<String, Node>, number: u64) -> Option<(&String, &mut Node)> {
    nodes
        .iter_mut()
        .find(|(_, node)| node.link.as_ref().is_some_and(|(link, _)| *link == number))
}

fn tell(verdicts: Vec<Verdict<Reply>>) {
    for (reply, verdict) in verdicts {
        // A sender that no longer waits for the answer is no fault.
        let _ = reply.sender.send(verdict);
    }
}
