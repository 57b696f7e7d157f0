//! Messages that are shown without being leased.

use super::browse::BrowseFrom;
use super::id::{MessageId, PayloadRef};
use super::location::Location;

/// State of a message for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// Receivable.
    Ready,
    /// Leased.
    InFlight,
    /// Delayed by its sender or backing off.
    Delayed,
    /// Behind another message of its key.
    Blocked,
}

/// A piece of a walk through a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Browsed {
    /// Messages that were met.
    pub messages: Vec<Peeked>,
    /// Where the piece began; None where the partition is not here.
    pub from: Option<BrowseFrom>,
    /// Where to go on; None: the walk is over.
    pub next: Option<BrowseFrom>,
}

/// A message that is shown without being leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peeked {
    /// Where it was first accepted.
    pub id: MessageId,
    /// Sequence in this partition.
    pub sequence: u64,
    /// Where it stands.
    pub location: Location,
    /// Hash of its ordering key.
    pub key: Option<u64>,
    /// 0..=9.
    pub priority: u8,
    /// Hash of its tenant.
    pub tenant: Option<u64>,
    /// Its bytes.
    pub payload: PayloadRef,
    /// When it was first accepted, in ms since 1970.
    pub enqueued_at: u64,
    /// When its time to live is over, in ms since 1970.
    pub expires_at: Option<u64>,
    /// Not receivable before this, in ms since 1970; of one that is delayed or will be.
    pub due: Option<u64>,
    /// Deliveries to the group so far; for a leased one this is counted too.
    pub delivery_count: u32,
    /// When the first of them was made, in ms since 1970; 0: there was none.
    pub first_delivered_at: u64,
    /// When the last of them was made, in ms since 1970; 0: there was none.
    pub last_delivered_at: u64,
    /// Its state for the group.
    pub state: MessageState,
}
