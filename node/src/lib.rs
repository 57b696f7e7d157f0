//! A Roadstead node: Raft-replicated queues over a journal and LMDB.

pub mod raft;
pub mod runtime;
pub mod store;
