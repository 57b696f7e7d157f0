//! The pure queue and catalog state machines of Roadstead.
//!
//! Nothing here reads a clock, draws a random number or does I/O: the same log gives the same rows
//! on every replica. [`shard::ShardMachine`] holds the messages of one shard,
//! [`catalog::CatalogMachine`] holds queues, members and placement; both see their rows only
//! through [`kv::Kv`]. [`clock::ClusterClock`] is the arithmetic by which a leader stamps entries.

pub mod catalog;
pub mod clock;
pub mod codec;
pub mod kv;
pub mod placement;
pub mod shard;
