//! A Roadstead node: Raft-replicated queues over a journal and LMDB.

pub mod api;
pub mod auth;
pub mod catalog;
pub mod config;
pub mod controls;
pub mod gateway;
pub mod http;
pub mod metrics;
pub mod node;
pub mod ordered;
pub mod peers;
pub mod process;
pub mod raft;
pub mod runtime;
pub mod scope;
pub mod shard;
pub mod store;
pub mod tls;
pub mod transport;
