//! Whole clusters in this process: real nodes on tokio over real disks, linked in memory.
//!
//! Each node has a runtime of its own, so that killing it drops all of its tasks at once.

pub mod clients;
pub mod cluster;
pub mod host;
pub mod load;
pub mod net;

pub use cluster::LiveCluster;
pub use host::LiveHost;
pub use load::Load;
