//! The state machine of one shard: the partitions of many queues, and their messages.
//!
//! A proposer builds an entry ([`EntryBuilder`]) of one cluster time and some ops ([`Op`]); every
//! replica applies it ([`ShardMachine::apply`]) and gets one [`Reply`] per op. Time enters with
//! entries only, and what falls due (a lease, a delay, a time to live) happens only when an
//! [`Op::Tick`] says so. Whatever a client can do wrong is a reply; an [`ApplyError`] means that
//! the log or the rows cannot be read, and the group must stop.

mod add;
mod backoff;
mod block;
mod blocks;
mod config;
mod deduplication;
mod delivery;
mod due;
mod entry;
mod group;
mod group_config;
mod header;
mod hot;
mod id;
mod ids;
mod keys;
mod lease;
mod live;
mod machine;
mod op;
mod order;
mod outbox;
mod partition;
mod payload;
mod place;
mod producer;
mod read;
mod reply;
mod retain;
mod seek;
mod settle;
mod side;
mod state;
mod sweep;
mod take;
mod timer;
mod walk;

pub use backoff::{Backoff, Growth};
pub use config::{DeadLetterTarget, Delivery, OnExpiry, Ordering, PartitionConfig};
pub use deduplication::{DeduplicateBy, Deduplication, DeduplicationScope, Identity};
pub(crate) use entry::read_time;
pub use entry::{EntryBuilder, inspect};
pub use group_config::{GroupConfig, GroupStart, MAX_GROUPS};
pub use id::{
    DEFAULT_GROUP, MessageId, PartitionId, PayloadRef, Receipt, SessionId, key_hash,
    partition_of_key, split_payload,
};
pub use machine::{ApplyError, ShardMachine};
pub use op::{
    Accept, Action, Configure, Digest, DropPartition, MAX_DELAY_MS, MAX_DIGEST_BYTES,
    MAX_DIGEST_ROWS, MAX_ERROR_BYTES, MAX_RECEIVE, MAX_SEND, MAX_SETTLE, MovedMessage, NewMessage,
    Op, OutboxDone, ProducerRef, Purge, PurgeFrom, Receive, ReleaseSession, Seek, SeekTo, Send,
    Settle, Settlement, TICK_BUDGET,
};
pub use reply::{
    Applied, DeadLetterReason, Delivered, Digested, Event, EventKind, MessageState, Outbox,
    OutboxMessage, Peeked, Received, Refusal, Reply, SendOutcome, SettleOutcome, Stats, Totals,
};
