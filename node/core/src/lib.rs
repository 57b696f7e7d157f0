//! The pure queue and catalog state machines of Roadstead.

pub mod catalog;
pub mod shard;
