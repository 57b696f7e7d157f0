//! Snapshots of a group: captured, sent in chunks, staged beside the old state, flipped in.

mod capture;
mod chunk;
mod install;

pub(super) use capture::{Needs, SPOOL};
pub use capture::{SnapshotCapture, SnapshotReader};
pub use install::{SnapshotInstaller, Staged};
use thiserror::Error;

use crate::raft::types::{GroupId, LogId, StoredMembership};

/// Why a snapshot cannot be sent or installed.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// A chunk is not what the sender wrote.
    #[error("snapshot chunk {chunk} of group {group} is unreadable: {what}; ask for it anew")]
    Malformed {
        /// The group.
        group: GroupId,
        /// Number of the chunk, from 0.
        chunk: u64,
        /// What was found.
        what: String,
    },
    /// A payload of the captured state is gone.
    #[error(transparent)]
    Payload(#[from] super::PayloadError),
    /// The file that holds a captured state meanwhile cannot be written or read.
    #[error("snapshot spool {file}: {source}; check the disk")]
    Spool {
        /// The file.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The store has failed or was closed.
    #[error("snapshot stopped: {0}")]
    Stopped(String),
}

/// What a snapshot holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Last entry of the state.
    pub applied: Option<LogId>,
    /// Its membership.
    pub membership: StoredMembership,
}
