//! What applying an entry gives.

use bytes::Bytes;

use super::attempts::Attempts;
use super::id::{MessageId, PartitionId, PayloadRef, Receipt, SessionId};
use super::op::PurgeFrom;

/// What applying one entry gives. Only the leader that proposed it reads `replies`.
#[derive(Debug, Default)]
pub struct Applied {
    /// One per op, in the same order.
    pub replies: Vec<Reply>,
    /// What happened to messages beside the replies: for logs and metrics.
    pub events: Vec<Event>,
    /// Payloads that no row names any more. A reply of the same entry may still name them (a
    /// delivery that is acked by being delivered): read these first.
    pub freed: Vec<PayloadRef>,
}

/// Answer to one op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The op as a whole did nothing.
    Refused(Refusal),
    /// To Configure. False: it had this revision or a newer one already.
    Configured(bool),
    /// To Drop: live messages that went with the partition (0 when it was not there).
    Dropped {
        /// Messages.
        messages: u64,
    },
    /// To Settle: one per settlement, in the same order.
    Settled(Vec<SettleOutcome>),
    /// To Send: one per message, in the same order.
    Sent(Vec<SendOutcome>),
    /// To Receive.
    Received(Received),
    /// To `ReleaseSession`.
    Released {
        /// Messages whose lease was ended.
        messages: u64,
        /// There are more: say it again.
        more: bool,
    },
    /// To Tick.
    Ticked {
        /// Steps taken.
        steps: usize,
        /// More is due already: tick again.
        more: bool,
    },
    /// To Complete: done; the outputs got the sequences from this one on.
    Completed {
        /// Sequence of the first output, also where there is none.
        first: u64,
    },
    /// To Accept: everything up to this number of the outbox has been accepted, now or before.
    Accepted {
        /// Highest number accepted from this source.
        through: u64,
        /// Why it stopped before the last message.
        stopped: Option<Refusal>,
    },
    /// To `OutboxDone`.
    OutboxDone {
        /// Messages forgotten.
        messages: u64,
    },
    /// To Purge.
    Purged {
        /// Messages removed by this op.
        messages: u64,
        /// Where to go on; None: done.
        next: Option<PurgeFrom>,
    },
    /// To Digest.
    Digested(Digested),
    /// To Redrive: one per move, in the same order.
    Redriven(Vec<Removal>),
    /// To `DeleteMessage`.
    Deleted(Removal),
    /// To Seek.
    Sought {
        /// Messages that wait for the group, as far as it has looked.
        messages: u64,
        /// False: it goes on with the ticks.
        done: bool,
    },
}

/// What became of a message that was to leave its queue, by its location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It has left.
    Done,
    /// It stays, as it is leased.
    Leased,
    /// There is none at this location.
    Gone,
}

/// Why an op, or a part of it, did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The shard does not hold this partition.
    #[error("the shard does not hold this partition")]
    NoPartition,
    /// The queue has no such consumer group.
    #[error("no such consumer group")]
    NoGroup,
    /// The ids of the groups do not rise, one of them was used before, or there are too many.
    #[error("the ids of consumer groups must rise and never come again, and 1,024 is the most")]
    BadGroups,
    /// The tenants with weights do not rise, or they or one of their weights are too many.
    #[error("tenants with weights must rise, 100 is the most, and a weight is 1 to 1,000")]
    BadWeights,
    /// Keys cannot be sticky with this ordering, or with weights.
    #[error("sticky keys need ordering per key, and no weights of tenants")]
    BadSticky,
    /// The partition is being deleted.
    #[error("the partition is being deleted")]
    Deleting,
    /// A queue's ordering cannot change.
    #[error("the ordering of a queue cannot change")]
    OrderingFixed,
    /// Whether keys are sticky cannot change.
    #[error("whether the keys of a queue are sticky cannot change")]
    StickyFixed,
    /// It holds messages.
    #[error("the partition holds {0} messages")]
    NotEmpty(u64),
    /// An op carries no item, or more than 1,000.
    #[error("an operation carries 1 to 1,000 items")]
    BadCount,
    /// `max_messages` is reached.
    #[error("the limit of messages is reached")]
    MessageLimit,
    /// `max_bytes` is reached.
    #[error("the limit of bytes is reached")]
    ByteLimit,
    /// The queue has accepted as many messages as it may in this time.
    #[error("the rate limit is reached")]
    RateLimit,
    /// An atomic batch holds more messages than the queue may accept at once.
    #[error("the atomic batch holds more messages than the rate limit lets come in a second")]
    BatchOverRate,
    /// The body is larger than `max_message_bytes`.
    #[error("the message is larger than the queue allows")]
    TooLarge,
    /// The queue orders by key, and the message has none.
    #[error("the queue orders by key and the message has no ordering key")]
    KeyRequired,
    /// The queue's keys are sticky, and the message has a fairness key.
    #[error("the keys of the queue are sticky, so tenants take no turns there")]
    StickyTenant,
    /// It may not be received for more than a year.
    #[error("the message is not receivable for more than a year")]
    TooLate,
    /// A producer's number is too far below its newest one to tell whether it was accepted.
    #[error("the producer's sequence is below the remembered window")]
    OutOfRange,
    /// The queue keeps an order, and the producer's later messages were accepted without this one.
    #[error("later messages of the producer were accepted already")]
    Overtaken,
    /// Too many producers are active in this partition.
    #[error("too many active producers in this partition")]
    ProducerLimit,
    /// The message has a deduplication id, and the queue does not deduplicate by ids.
    #[error("the message has a deduplication id and the queue does not deduplicate by ids")]
    NoDeduplication,
    /// `max_ids` of the deduplication is reached.
    #[error("the limit of deduplication ids is reached, and none goes before its window ends")]
    IdLimit,
    /// Another message of the atomic batch was refused.
    #[error("another message of the atomic batch was refused")]
    BatchRefused,
    /// A receipt of a Complete is stale, or given twice.
    #[error("a receipt is stale: its lease has ended, or the delivery was settled before")]
    StaleReceipt,
    /// As many messages wait in the partition for a queue as may.
    #[error("too many messages wait to get from here to a queue that an output goes to")]
    OutboxFull,
    /// A number of the outbox was left out: `through` of the answer says where to go on.
    #[error("a number of the outbox was left out")]
    Gap,
    /// A message cannot be moved to the queue that it is in.
    #[error("a message cannot be redriven to the queue that it is in")]
    SameQueue,
}

/// What became of one settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleOutcome {
    /// Done.
    Done,
    /// The receipt is stale: the lease has ended, or it was settled before.
    Stale,
}

/// What became of one sent message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// It was added, and got this sequence in the partition.
    Accepted {
        /// From 1.
        sequence: u64,
    },
    /// It, or one with the same deduplication id, had been added before, with this sequence.
    Duplicate {
        /// From 1.
        sequence: u64,
    },
    /// It was not added: its key was at home here and is no more, and nothing of it is ever added
    /// here again.
    Moved,
    /// It was not added.
    Refused(Refusal),
}

/// What a piece of the rows hashes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digested {
    /// XXH3 (64 bits) over the rows in order: of key and value each the length (8 bytes,
    /// big-endian) and the bytes.
    pub hash: u64,
    /// Rows hashed.
    pub rows: usize,
    /// Where to go on: the key of the next row; None: these were the last.
    pub next: Option<Bytes>,
}

/// One delivery: messages leased together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The partition.
    pub partition: PartitionId,
    /// The group.
    pub group: u32,
    /// Number of the delivery; 0 when there are no messages or they need no settling.
    pub delivery: u64,
    /// Epoch of the group.
    pub epoch: u32,
    /// The messages, in the order of delivery.
    pub messages: Vec<Delivered>,
    /// It has looked at as much as one receive may, and there may be more: the next one goes on.
    pub more: bool,
}

impl Received {
    /// The receipt of a message; None where a delivery needs no settling (at most once).
    pub fn receipt(&self, message: &Delivered) -> Option<Receipt> {
        (self.delivery != 0).then_some(Receipt {
            partition: self.partition,
            group: self.group,
            delivery: self.delivery,
            slot: message.slot,
            epoch: self.epoch,
        })
    }
}

/// One message of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Place in the delivery's batch.
    pub slot: u16,
    /// 1 on the first delivery.
    pub delivery_count: u32,
    /// Where it was first accepted.
    pub id: MessageId,
    /// Sequence in this partition.
    pub sequence: u64,
    /// Its bytes.
    pub payload: PayloadRef,
    /// When it was first accepted, in ms since 1970.
    pub enqueued_at: u64,
    /// When the lease ends, in cluster time (ms since 1970).
    pub deadline: u64,
    /// 0..=9.
    pub priority: u8,
    /// When it was first delivered to the group, in ms since 1970; 0: never before.
    pub first_delivered_at: u64,
    /// When it was last delivered to the group before this, in ms since 1970; 0: never. What was
    /// handed back unstarted does not count.
    pub last_delivered_at: u64,
}

/// Why a message was dead-lettered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterReason {
    /// Delivered `max_deliveries` times without an ack.
    MaxDeliveries,
    /// Rejected by a consumer.
    Rejected,
    /// Its time to live was over.
    Expired,
    /// It made room for a newer one.
    Overflow,
}

/// Why a message is on its way to another queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxReason {
    /// It failed for good.
    DeadLettered(DeadLetterReason),
    /// Somebody moves it.
    Redriven,
    /// It came of messages that were acked with it.
    Sent,
}

/// Something that happened to a message, for the log and for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The partition it is in.
    pub partition: PartitionId,
    /// The group it concerns.
    pub group: u32,
    /// The message.
    pub message: MessageId,
    /// What happened.
    pub kind: EventKind,
}

/// Kinds of [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Its lease ran out after this many deliveries; it will be delivered again.
    LeaseExpired(u32),
    /// Its consumer's session was released; it will be delivered again.
    SessionReleased(SessionId),
    /// A consumer nacked it; it will be delivered again.
    Nacked(u32),
    /// It is on its way to a dead-letter queue.
    DeadLettered(DeadLetterReason, PartitionId),
    /// It failed and the queue has no dead-letter queue: it is gone.
    Dropped(DeadLetterReason),
    /// It waited longer than the queue's time to live: it is gone.
    Expired,
    /// Somebody moves it: it is on its way to another queue.
    Redriven(PartitionId),
    /// Too many deliveries to the group have failed, this message's the last of them: its circuit
    /// breaker has opened in the partition.
    BreakerOpened {
        /// When one message is tried, in ms since 1970.
        until: u64,
    },
    /// The message that was tried was acked: the circuit breaker has closed.
    BreakerClosed,
}

/// A message in an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMessage {
    /// Number in the outbox of its source and target, from 1.
    pub number: u64,
    /// Where it was first accepted.
    pub id: MessageId,
    /// When it was first accepted, in ms since 1970.
    pub enqueued_at: u64,
    /// Hash of its ordering key.
    pub key: Option<u64>,
    /// Not receivable before this, in ms since 1970; 0: at once.
    pub due: u64,
    /// Its own time to live in ms, from when it is receivable on; 0: none.
    pub ttl_ms: u64,
    /// 0..=9; kept.
    pub priority: u8,
    /// Hash of its tenant; kept.
    pub tenant: Option<u64>,
    /// Its bytes.
    pub payload: PayloadRef,
    /// Why it left its queue.
    pub reason: OutboxReason,
    /// How often it was delivered there.
    pub delivery_count: u32,
    /// When it left, in ms since 1970.
    pub at: u64,
    /// Those deliveries that have failed. None of what is redriven: it begins anew.
    pub attempts: Attempts,
}

/// An outbox with something in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outbox {
    /// Partition whose messages leave.
    pub source: PartitionId,
    /// Partition that they go to.
    pub target: PartitionId,
    /// Messages in it.
    pub pending: u64,
}
