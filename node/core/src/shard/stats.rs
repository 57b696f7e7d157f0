//! Counts that a leader tells.

/// Counts of one group of one partition. A message that the group has not settled is in exactly one
/// of the first four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Receivable now. Where messages have keys, those that no receive has looked at yet count as
    /// ready, also behind another message of their key.
    pub ready: u64,
    /// Leased.
    pub in_flight: u64,
    /// Delayed by their sender or backing off after a nack.
    pub delayed: u64,
    /// Not receivable before another message of their key is settled.
    pub blocked: u64,
    /// Bytes of live messages of the partition.
    pub bytes: u64,
    /// Live messages of the partition: some group has never settled them.
    pub messages: u64,
    /// Messages of the partition that all groups have settled, and that can be replayed or are.
    pub retained: u64,
    /// Their bytes.
    pub retained_bytes: u64,
    /// Messages in the partition's outboxes.
    pub outbox: u64,
    /// Deduplication ids that are remembered.
    pub ids: u64,
    /// When the oldest ready message was first accepted, in ms since 1970.
    pub oldest_ready_at: Option<u64>,
    /// When something delayed falls due at the earliest, in ms since 1970; may be early.
    pub next_due_at: Option<u64>,
    /// Of the group's circuit breaker; closed where it has none.
    pub breaker: BreakerState,
    /// What the group's rate lets it have; None: it has no rate.
    pub rate: Option<RateState>,
    /// Totals since the partition was created.
    pub totals: Totals,
}

/// How far the rate of a group is used up in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// When it lets the group have a message, in ms since 1970; may be long ago.
    pub next_at: u64,
    /// Messages that it may have at once after a rest, at least 1.
    pub burst: u64,
}

/// Whether the circuit breaker of a group lets it have deliveries of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BreakerState {
    /// It does.
    #[default]
    Closed,
    /// It does not.
    Open {
        /// When one message is tried, in ms since 1970.
        until: u64,
    },
    /// One message is tried at a time.
    HalfOpen,
}

/// Totals of one group of one partition since it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Messages accepted, from producers and from outboxes.
    pub sent: u64,
    /// Messages delivered, again and again.
    pub delivered: u64,
    /// Messages delivered for the second time or more.
    pub redelivered: u64,
    /// Acked, or delivered at most once.
    pub acked: u64,
    /// Nacked, unstarted ones not counted.
    pub nacked: u64,
    /// Leases that ran out or were released with their session.
    pub lease_expired: u64,
    /// Dead-lettered.
    pub dead_lettered: u64,
    /// Failed where there is no dead-letter queue.
    pub dropped: u64,
    /// Waited longer than the time to live.
    pub expired: u64,
    /// Purged or deleted one by one.
    pub purged: u64,
    /// Moved to another queue by somebody.
    pub redriven: u64,
}
