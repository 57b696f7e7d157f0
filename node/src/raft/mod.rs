//! Raft: openraft's types, state machines and network, as Roadstead fills them in.

pub mod types;
