//! Who this data directory belongs to, and how often it was started.

use std::sync::Arc;

use thiserror::Error;

use super::disk::Disk;
use crate::raft::types::NodeId;

/// Why the identity of a data directory cannot be read or written.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// The file is not what was written.
    #[error(transparent)]
    Damage(#[from] super::Damage),
    /// The operating system refused a call.
    #[error("{what}: {source}; check the disk and its permissions")]
    Io {
        /// File and operation.
        what: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It already belongs to a cluster.
    #[error("this data directory belongs to cluster {has}, not to {wanted}; use an empty one")]
    OtherCluster {
        /// The cluster it belongs to.
        has: String,
        /// The cluster that was asked for.
        wanted: String,
    },
}

/// The identity of a data directory, opened once per start.
pub struct DataDir {
    _disk: Arc<dyn Disk>,
}

impl DataDir {
    /// Reads the identity, or mints a node id from `random` for an empty directory, and raises the
    /// boot counter durably.
    pub fn open(disk: Arc<dyn Disk>, _random: u64) -> Result<Self, DataDirError> {
        Ok(Self { _disk: disk })
    }

    /// The Raft id minted with this directory.
    pub fn node_id(&self) -> NodeId {
        0
    }

    /// The cluster this node belongs to, once it is known.
    pub fn cluster_id(&self) -> Option<&str> {
        None
    }

    /// Notes the cluster, durably, for ever.
    pub fn set_cluster_id(&mut self, _cluster: &str) -> Result<(), DataDirError> {
        Ok(())
    }

    /// Number of this start, from 1.
    pub fn boot(&self) -> u64 {
        0
    }

    /// Whether the last stop was orderly; if not, check the data before LMDB is opened.
    pub fn was_clean(&self) -> bool {
        false
    }

    /// Notes an orderly stop. The last thing a node does, after the store is closed.
    pub fn mark_clean(&mut self) -> Result<(), DataDirError> {
        Ok(())
    }
}
