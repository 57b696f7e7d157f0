//! Snapshots of a group: captured, sent in chunks, staged beside the old state, flipped in.

use bytes::Bytes;
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

/// A state held still while it is read; see [`super::GroupRows::capture`].
pub struct SnapshotCapture {}

impl SnapshotCapture {
    /// What it holds.
    pub fn info(&self) -> SnapshotInfo {
        SnapshotInfo::default()
    }
}

/// Gives the chunks of a captured state, rows first, then payloads.
pub struct SnapshotReader {}

impl SnapshotReader {
    /// What it holds.
    pub fn info(&self) -> SnapshotInfo {
        SnapshotInfo::default()
    }

    /// The next chunk (≤ 256 KiB, or one payload), or nothing after the last one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        Err(SnapshotError::Stopped("not written yet".into()))
    }
}

/// Receives the chunks of a snapshot into a new generation of the group's rows.
pub struct SnapshotInstaller {}

impl SnapshotInstaller {
    /// Takes the next chunk; it is durable when this returns.
    pub async fn write(&mut self, _chunk: Bytes) -> Result<(), SnapshotError> {
        Err(SnapshotError::Stopped("not written yet".into()))
    }

    /// After the last chunk: what can be installed.
    pub fn finish(self) -> Result<Staged, SnapshotError> {
        Err(SnapshotError::Stopped("not written yet".into()))
    }
}

/// A whole snapshot beside the group's state, ready for [`super::Store::install`].
pub struct Staged {
    pub(super) info: SnapshotInfo,
}

impl Staged {
    /// What it holds.
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }
}
