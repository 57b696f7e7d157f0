//! Raft: openraft's types, state machines and network, as Roadstead fills them in.

mod append_stream;
pub mod digests;
mod disk_watch;
pub mod group;
mod leadership;
pub mod membership;
mod network;
pub mod snapshot;
pub mod state_machine;
pub mod timing;
pub mod types;

pub use group::{Group, ProposeError};
