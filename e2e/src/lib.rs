//! Roadstead on a real Kubernetes: one story per file.
//!
//! The stories in `tests/stories/` drive it from outside, by kubectl, helm and client pods. This
//! library is what they share: a cluster that is ours, a namespace for each story, waiting with
//! errors that say how far it came, load in pods and its ledgers, and the API server's audit log.

pub mod audit;
pub mod command;
pub mod control;
mod followers;
pub mod gap;
pub mod kubectl;
pub mod ledger;
pub mod load;
pub mod manifests;
pub mod nodes;
pub mod restart;
pub mod runner;
pub mod sends;
pub mod site;
pub mod story;
pub mod until;
pub mod world;
