//! One shard, served by its leader: proposer, deliveries, outbox.
//!
//! ```text
//! send, settle, receive ─► intake ─► proposer ─► Raft ─► applied ─► answers
//!                                       ▲                   │
//!            credit ─► consumers ───────┘                   └─► deliveries
//! ```
//! One task per shard writes entries (`proposer`), one per subscription writes frames to its
//! consumer (`subscription`), one carries messages to other queues (`courier`), one follows the
//! catalog (`configure`) and one has rows hashed to compare replicas (`digest`). What they share
//! is the `desk`.

mod accept;
mod batch;
mod belongs;
pub mod blob;
mod by_location;
mod carry;
mod complete;
mod configure;
mod consumer;
mod consumers;
mod courier;
mod dead_letter;
mod delete;
pub mod deliver;
mod desk;
mod digest;
mod draining;
pub(crate) mod drains;
mod events;
mod filter;
mod home;
mod inspect;
mod intake;
mod limits;
mod load;
pub mod location;
mod moved;
mod over;
mod pace;
mod peek;
mod proposer;
mod receive;
mod redrive;
mod refusal;
mod replica;
mod roster;
mod seek;
mod send;
mod sent;
mod service;
mod sessions;
mod settle;
mod sticky;
mod subscription;
mod waiting;
mod walk;
pub mod wire;

#[cfg(test)]
mod credit_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_limits;
#[cfg(test)]
mod tests_sticky;
#[cfg(test)]
mod tests_support;
#[cfg(test)]
mod tests_upkeep;
#[cfg(test)]
mod tests_waits;
#[cfg(test)]
pub(crate) mod twin;

pub use consumer::Rank;
pub use courier::Parked;
pub use desk::ShardOptions;
pub use filter::Filter;
pub use inspect::add as add_stats;
pub use redrive::add as add_redriven;
pub use refusal::{entry_error, refused};
pub use replica::{Replica, Unapplied, View};
pub use roster::merge as merge_consumer;
pub use service::ShardService;
pub use settle::{malformed as malformed_receipt, stale as stale_receipt};
pub use walk::LOOK_MAX;
