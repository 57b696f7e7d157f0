//! The state rows of a group.

use bytes::Bytes;

use super::payloads::PayloadRef;
use super::snapshot::SnapshotCapture;
use crate::raft::types::{LogId, StoredMembership};

/// Rows of one group, for its applier; implements [`roadstead_core`]'s `Kv`.
///
/// What was put is seen at once. Rows become durable together with the id of the entry they come
/// from, some 50 ms later, never a part of an entry.
pub struct GroupRows {}

impl GroupRows {
    /// The last entry whose rows are all here.
    pub fn applied(&self) -> Option<LogId> {
        None
    }

    /// The last membership applied.
    pub fn membership(&self) -> StoredMembership {
        StoredMembership::default()
    }

    /// Ends the entry `applied`: its rows, this id and the membership (if the entry held one) may
    /// become durable, together, from now on. Every entry ends so, blank ones too.
    pub fn finish_entry(&mut self, _applied: LogId, _membership: Option<StoredMembership>) {}

    /// Payloads that the entry being applied made unreachable; part of the entry like its rows.
    pub fn free(&mut self, _refs: &[PayloadRef]) {}

    /// The last entry whose rows survive a crash.
    pub fn durable_applied(&self) -> Option<LogId> {
        None
    }

    /// A handle that tells what is durable without the rows.
    pub fn durable(&self) -> DurableApplied {
        DurableApplied {}
    }

    /// The state as of the last finished entry, for a snapshot; `live` lists every live payload
    /// of that state. Quick: call it under the group's lock. While the capture or its reader
    /// lives, the group's payloads stay.
    pub fn capture(&self, _live: Vec<PayloadRef>) -> SnapshotCapture {
        SnapshotCapture {}
    }
}

/// Tells how far a group's rows are durable. Clones are the same.
#[derive(Clone)]
pub struct DurableApplied {}

impl DurableApplied {
    /// The last entry whose rows survive a crash.
    pub fn get(&self) -> Option<LogId> {
        None
    }

    /// Waits while too many bytes of rows, of all groups, are uncommitted.
    pub async fn room(&self) {}
}

/// Kept here until the core's trait is there.
pub type Row = (Bytes, Bytes);
