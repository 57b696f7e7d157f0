//! Whole clusters of the real node code on virtual time, with everything around them simulated.
//!
//! ```text
//!  producers, consumers ──lossy channel──▶ Gateway ─ Node ─ Raft ─ Store ──▶ SimDisk, MemoryEnv
//!         │                                   │  one process per boot of a node
//!      ledger ──▶ oracle                      └──links that delay, stall and break──▶ other nodes
//! ```
//! Everything random comes from one seed; the same seed gives the same run. A process is all tasks
//! that a node has spawned since it booted, openraft's too: a crash drops them at one instant, and
//! the disk loses what was not synced.

pub mod client;
pub mod cluster;
pub mod consumer;
pub mod context;
pub mod control;
pub mod coverage;
pub mod faults;
pub mod history;
pub mod host;
pub mod ledger;
pub mod net;
pub mod oracle;
pub mod process;
pub mod producer;
pub mod queues;
pub mod run;
pub mod runtime;

pub use run::{Outcome, Plan, run};
pub use runtime::Sim;
