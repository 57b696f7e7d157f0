//! The state rows of a group.

mod batch;
mod committer;
pub(super) mod keys;
pub(super) mod layers;
mod requests;

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
pub(super) use committer::{Around, Committer, Groups, failure};
pub(super) use requests::{Request, Requests};
use roadstead_core::kv::{Kv, KvError};
use roadstead_core::shard::PayloadRef;

use self::keys::LONGEST_KEY;
use self::layers::Shared;
use super::env::{Env, EnvError, Table};
use super::snapshot::SnapshotCapture;
use crate::raft::types::{LogId, StoredMembership};

/// Rows asked of each source at a time when a scan goes on.
const MOST_ROWS: usize = 512;

/// Rows of one group, for its applier.
///
/// What was put is seen at once. Rows become durable together with the id of the entry they come
/// from, some 50 ms later, never a part of an entry. Keys have at most 505 bytes.
pub struct GroupRows {
    shared: Arc<Shared>,
    env: Arc<dyn Env>,
}

impl GroupRows {
    pub(super) fn new(shared: Arc<Shared>, env: Arc<dyn Env>) -> Self {
        Self { shared, env }
    }

    /// The last entry whose rows are all here.
    pub fn applied(&self) -> Option<LogId> {
        self.shared.layers().applied
    }

    /// The last membership applied.
    pub fn membership(&self) -> StoredMembership {
        self.shared.layers().membership.clone()
    }

    /// Ends the entry `applied`: its rows, this id and the membership (if the entry held one) may
    /// become durable, together, from now on. Every entry ends so, blank ones too.
    pub fn finish_entry(&mut self, applied: LogId, membership: Option<StoredMembership>) {
        self.shared.finish(applied, membership);
    }

    /// Payloads that the entry being applied made unreachable; part of the entry like its rows.
    pub fn free(&mut self, refs: &[PayloadRef]) {
        if !refs.is_empty() {
            self.shared.free(refs);
        }
    }

    /// A handle that tells what is durable without the rows.
    pub fn durable(&self) -> DurableApplied {
        DurableApplied {
            shared: self.shared.clone(),
        }
    }

    /// The state as of the last finished entry, for a snapshot; `live` lists every live payload
    /// of that state. Quick: call it under the group's lock. While the capture or its reader
    /// lives, the group's payloads stay.
    pub fn capture(&self, live: Vec<PayloadRef>) -> Result<SnapshotCapture, EnvError> {
        SnapshotCapture::new(&self.shared, &*self.env, live)
    }

    /// Some rows from `from` on, and where to go on if there may be more.
    fn piece(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Piece, EnvError> {
        // The overlay first: what leaves it meanwhile is in the environment afterwards.
        let (space, (mut rows, mut horizon)) = {
            let layers = self.shared.layers();
            (
                layers.space(self.shared.group),
                layers.range(from, end, limit),
            )
        };
        let mut count = 0;
        let (first, last) = (space.row(from), space.row(end));
        self.env
            .view()?
            .scan(Table::Rows, &first, &last, &mut |key, value| {
                let key = &key[6..];
                if horizon.as_ref().is_some_and(|known| key > known.as_slice()) {
                    return ControlFlow::Break(());
                }
                count += 1;
                rows.entry(key.to_vec())
                    .or_insert_with(|| Some(Bytes::copy_from_slice(value)));
                if count == limit {
                    horizon = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
        let next = horizon.map(|mut key| {
            rows.split_off(&[&key[..], &[0]].concat());
            key.push(0);
            key
        });
        Ok(Piece { rows, next })
    }
}

struct Piece {
    rows: layers::Changed,
    next: Option<Vec<u8>>,
}

fn broken(error: &EnvError) -> KvError {
    KvError(error.to_string())
}

impl Kv for GroupRows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        let space = {
            let layers = self.shared.layers();
            if let Some(known) = layers.get(key) {
                return Ok(known);
            }
            layers.space(self.shared.group)
        };
        if key.len() > LONGEST_KEY {
            return Ok(None);
        }
        let mut buffer = [0; LONGEST_KEY + 6];
        buffer[..6].copy_from_slice(&space.prefix());
        buffer[6..6 + key.len()].copy_from_slice(key);
        self.env
            .get(Table::Rows, &buffer[..6 + key.len()])
            .map_err(|e| broken(&e))
    }

    fn scan(
        &self,
        from: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let mut from = from.to_vec();
        // Most scans look for the first row or a few.
        let mut limit = 8;
        while from.as_slice() < end {
            let piece = self.piece(&from, end, limit).map_err(|e| broken(&e))?;
            for (key, value) in &piece.rows {
                if let Some(value) = value
                    && visit(key, value).is_break()
                {
                    return Ok(());
                }
            }
            let Some(next) = piece.next else { break };
            from = next;
            limit = (limit * 4).min(MOST_ROWS);
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: Bytes) {
        self.shared.change(key, Some(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.shared.change(key, None);
    }
}

/// Tells how far a group's rows are durable. Clones are the same.
#[derive(Clone)]
pub struct DurableApplied {
    shared: Arc<Shared>,
}

impl DurableApplied {
    /// The last entry whose rows survive a crash.
    pub fn get(&self) -> Option<LogId> {
        self.shared.layers().durable.applied
    }

    /// Waits until the rows of entry `index` survive a crash. The entry must be finished or be
    /// finished soon by somebody else.
    pub async fn reached(&self, index: u64) {
        loop {
            let changed = self.shared.durable_changed.notified();
            if self.get().is_some_and(|id| id.index >= index) {
                return;
            }
            self.shared.overlay.wake_committer();
            changed.await;
        }
    }

    /// Waits while too many bytes of rows, of all groups, are uncommitted.
    pub async fn room(&self) {
        self.shared.overlay.room().await;
    }
}
