//! From a payload's ref to its bytes.

use bytes::Bytes;
use thiserror::Error;

use crate::raft::types::GroupId;

/// Names a payload: the entry that carries it and the bytes within the entry's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PayloadRef {
    /// Log index of the entry.
    pub index: u64,
    /// First byte in the entry's data.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Knows which payloads are still wanted. Called on the mover's thread; may block on a group's lock.
pub trait LivePayloads: Send + Sync + 'static {
    /// Refs of the group's live payloads in entries `first..=last` as of the last finished entry,
    /// in order. None of a group that this node no longer holds.
    fn live(&self, group: GroupId, first: u64, last: u64) -> Result<Vec<PayloadRef>, String>;

    /// The journal needs space: entries up to `index` are durably applied and should be purged
    /// (snapshot, then purge). Asked again until done.
    fn purge_wanted(&self, group: GroupId, index: u64);
}

/// Why a payload cannot be read.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// It is nowhere: freed already, or never here.
    #[error("group {group} has no payload at {at:?}; it was freed or never written here")]
    Missing {
        /// The group.
        group: GroupId,
        /// The ref.
        at: PayloadRef,
    },
    /// What is on disk is not what was written.
    #[error(transparent)]
    Damage(#[from] super::Damage),
    /// The store has failed or was closed.
    #[error("payload not read: {0}")]
    Stopped(String),
}

/// Reads payloads. Clones are the same.
#[derive(Clone)]
pub struct Payloads {}

impl Payloads {
    /// The payload, if its entry is in memory. Never blocks.
    pub fn try_get(&self, _group: GroupId, _at: PayloadRef) -> Option<Bytes> {
        None
    }

    /// The payloads, in the order of `refs`, read off the caller's thread.
    pub async fn get(
        &self,
        group: GroupId,
        refs: Vec<PayloadRef>,
    ) -> Result<Vec<Bytes>, PayloadError> {
        match refs.first() {
            Some(&at) => Err(PayloadError::Missing { group, at }),
            None => Ok(Vec::new()),
        }
    }
}
