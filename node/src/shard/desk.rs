//! What the parts of a shard's service share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_rt::Instant as _;
use roadstead_core::shard::{Action, Op, PartitionId, Received, Settle, Settlement};
use tokio::sync::Notify;

use super::consumer::ConsumerId;
use super::consumers::Consumers;
use super::deliver::{Leased, WINDOW, WINDOW_MIN};
use super::intake::Intake;
use super::load::WakeUps;
use super::pace::Paces;
use super::replica::Replica;
use super::sessions::Sessions;
use crate::metrics::Latency;
use crate::runtime::Runtime;

/// Bounds and times of a shard's service.
#[derive(Debug, Clone, Copy)]
pub struct ShardOptions {
    /// Bytes of sends that may wait or be being written.
    pub intake_bytes: usize,
    /// Bytes of deliveries that consumers may have unread, together.
    pub unread_bytes: usize,
    /// How long the leases of a session without a stream are kept.
    pub session_grace: Duration,
    /// Between two pieces of the rows that are hashed to compare replicas.
    pub digest_pause: Duration,
    /// Between two passes over all rows.
    pub digest_interval: Duration,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            intake_bytes: 32 << 20,
            unread_bytes: 64 << 20,
            session_grace: Duration::from_secs(10),
            digest_pause: Duration::from_secs(1),
            digest_interval: Duration::from_hours(1),
        }
    }
}

/// Consumers and the sessions whose stream is gone.
#[derive(Debug, Default)]
pub struct Seats {
    /// Open subscriptions.
    pub consumers: Consumers,
    /// Sessions without one.
    pub sessions: Sessions,
    /// Groups without consumers that got something to do.
    pub wake_ups: WakeUps,
}

/// Shared by the proposer, the subscriptions, the courier and the calls of one shard.
#[derive(Debug)]
pub struct Desk<R: Runtime, P> {
    /// The Raft group.
    pub replica: Arc<P>,
    /// What waits for the proposer.
    pub intake: Intake,
    /// Bounds and times.
    pub options: ShardOptions,
    /// What is held up by the rates of queues.
    pub paces: Paces,
    /// Rung when an outbox may hold something.
    pub outbox: Notify,
    /// Rung when a group without consumers gets something to do.
    pub load: Notify,
    /// Rises with each of these.
    pub load_version: AtomicU64,
    /// How long entries took from proposal to applied.
    pub commits: Latency,
    seats: Mutex<Seats>,
    leads: AtomicBool,
    start: R::Instant,
}

impl<R: Runtime, P: Replica> Desk<R, P> {
    /// A desk without consumers.
    pub fn new(replica: Arc<P>, options: ShardOptions) -> Self {
        Self {
            replica,
            intake: Intake::new(options.intake_bytes),
            options,
            paces: Paces::default(),
            outbox: Notify::new(),
            load: Notify::new(),
            load_version: AtomicU64::new(0),
            commits: Latency::default(),
            seats: Mutex::default(),
            leads: AtomicBool::new(false),
            start: R::Instant::now(),
        }
    }

    /// Consumers and sessions. Never taken while the replica's state is read.
    pub fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one consumer may have unread: its part of what all may, within bounds.
    pub fn window(&self) -> usize {
        let consumers = self.seats().consumers.count().max(1);
        (self.options.unread_bytes / consumers).clamp(WINDOW_MIN, WINDOW)
    }

    /// Milliseconds of this desk's own monotonic clock.
    pub fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// The proposer has noticed that this replica leads, and serves.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// Says whether the proposer serves.
    pub fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Release);
    }

    /// A subscription is over: its session's leases are kept for a while.
    pub fn leave(&self, id: ConsumerId) {
        let due_ms = self.now_ms() + self.options.session_grace.as_millis() as u64;
        let mut seats = self.seats();
        let Some(consumer) = seats.consumers.close(id) else {
            return;
        };
        if let Some(session) = consumer.wish.session.filter(|_| !consumer.wish.one_time) {
            let gone = consumer.wish.lines();
            let gone = gone.filter(|line| !seats.consumers.has_session(session, *line));
            let gone: Vec<_> = gone.map(|(partition, _)| partition).collect();
            seats.sessions.left(session, gone, due_ms);
        }
        drop(seats);
        self.intake.wake();
    }

    /// Hands messages back as if they had not been delivered: who should get them is gone.
    pub fn hand_back(&self, received: &Received) {
        if received.delivery == 0 || received.messages.is_empty() {
            return;
        }
        let unstarted = Action::Nack {
            delay_ms: None,
            error: bytes::Bytes::new(),
            unstarted: true,
        };
        let receipts = received
            .messages
            .iter()
            .filter_map(|message| received.receipt(message));
        let items = receipts
            .map(|receipt| Settlement::new(&receipt, unstarted.clone()))
            .collect();
        let settle = Settle {
            partition: received.partition,
            group: received.group,
            items,
        };
        let bytes = settle_bytes(&settle);
        // Nobody waits for the answer; when it is not taken, the leases end by themselves.
        drop(self.intake.push(Op::Settle(settle), bytes));
    }

    /// The same for all of these.
    pub fn hand_back_all(&self, leased: &mut Leased) {
        for received in leased.take(usize::MAX) {
            self.hand_back(&received);
        }
    }

    /// Lets readers of the load look at a partition at once.
    pub fn ring_load(&self, partition: PartitionId) {
        tracing::trace!(%partition, "work for a group without consumers");
        self.load_version.fetch_add(1, Ordering::AcqRel);
        self.load.notify_waiters();
    }
}

/// Bytes that a settle adds to an entry, at most.
pub fn settle_bytes(settle: &Settle) -> usize {
    let item = |item: &Settlement| match &item.action {
        Action::Nack { error, .. } | Action::Reject { error } => error.len() + 40,
        Action::Ack | Action::Extend { .. } => 32,
    };
    32 + settle.items.iter().map(item).sum::<usize>()
}
