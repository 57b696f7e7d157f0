//! The state machine of one shard: the partitions of many queues, and their messages.
//!
//! A proposer builds an entry ([`EntryBuilder`]) of one cluster time and some ops ([`Op`]); every
//! replica applies it ([`ShardMachine::apply`]) and gets one [`Reply`] per op. Time enters with
//! entries only, and what falls due (a lease, a delay, a time to live) happens only when an
//! [`Op::Tick`] says so. Whatever a client can do wrong is a reply; an [`ApplyError`] means that
//! the log or the rows cannot be read, and the group must stop.

mod add;
mod attempts;
mod backoff;
mod block;
mod blocks;
mod breaker;
mod browse;
mod chunk;
mod circuit_breaker;
mod config;
mod deduplication;
mod delivery;
mod delivery_rate;
mod depart;
mod due;
mod entry;
mod group;
mod group_config;
mod header;
mod home;
mod hot;
mod id;
mod ids;
mod in_flight;
mod keys;
mod lanes;
mod lease;
mod leased;
mod lines;
mod live;
mod location;
mod machine;
mod op;
mod order;
mod outbox;
mod overflow;
mod partition;
mod payload;
mod peeked;
mod place;
mod producer;
mod rate;
mod read;
mod reply;
mod retain;
mod seek;
mod settle;
mod side;
mod standing;
mod state;
mod stats;
mod sticky;
mod stream;
mod sweep;
mod take;
mod tenants;
mod timer;
mod tracked;
mod walk;
mod withdraw;

pub use attempts::{Attempt, AttemptEnd, Attempts, MAX_ATTEMPTS, MAX_OLD_ERROR_BYTES};
pub use backoff::{Backoff, Growth};
pub use browse::BrowseFrom;
pub use circuit_breaker::CircuitBreaker;
pub use config::{DeadLetterTarget, Delivery, OnExpiry, Ordering, PartitionConfig};
pub(crate) use config::{put_counts, read_counts};
pub use deduplication::{DeduplicateBy, Deduplication, DeduplicationScope, Identity};
pub(crate) use entry::read_time;
pub use entry::{EntryBuilder, inspect};
pub use group_config::{GroupConfig, GroupStart, MAX_GROUPS};
pub use id::{
    DEFAULT_GROUP, MessageId, PartitionId, PayloadRef, Receipt, SessionId, key_hash,
    partition_of_key, split_payload,
};
pub use location::Location;
pub use machine::{ApplyError, ShardMachine};
pub use op::{
    Accept, Ack, Action, Complete, Configure, DeleteMessage, Digest, DropPartition, LeaseRef,
    MAX_DIGEST_BYTES, MAX_DIGEST_ROWS, MAX_ERROR_BYTES, MAX_OUTPUTS, MAX_RECEIVE, MAX_REDRIVE,
    MAX_SEND, MAX_SETTLE, Move, MovedMessage, NewMessage, NewPayload, Op, OutboxDone, Output,
    ProducerRef, Purge, PurgeFrom, Receive, Redrive, ReleaseSession, Seek, SeekTo, Send, Settle,
    Settlement, TICK_BUDGET,
};
pub use overflow::Overflow;
pub use peeked::{Browsed, MessageState, Peeked};
pub use reply::{
    Applied, DeadLetterReason, Delivered, Digested, Event, EventKind, Outbox, OutboxMessage,
    OutboxReason, Received, Refusal, Removal, Reply, SendOutcome, SettleOutcome,
};
pub use stats::{BreakerState, RateState, Stats, Totals};
pub use sticky::{KEY_SLOTS, KeySlots, slot_of_key};
pub use stream::MAX_PRIORITY;
pub use tenants::{MAX_WEIGHT, MAX_WEIGHTS, TenantWeight};
