//! What a group's applier has done and the environment has not.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use roadstead_core::shard::PayloadRef;
use tokio::sync::Notify;

use super::keys::{GroupRow, Space};
use crate::raft::types::{GroupId, LogId, StoredMembership};
use crate::store::drivers::Wakeup;

/// Rows changed since a commit; `None` is a deletion.
pub(in crate::store) type Changed = BTreeMap<Vec<u8>, Option<Bytes>>;

/// The changes of some whole entries.
#[derive(Default)]
pub(in crate::store) struct Layer {
    pub rows: Changed,
    pub frees: Vec<PayloadRef>,
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
    bytes: usize,
    dirty: bool,
}

/// Everything about a group that the applier and the committer share.
pub(in crate::store) struct Shared {
    pub group: GroupId,
    pub overlay: Overlay,
    state: Mutex<Layers>,
    pub durable_changed: Notify,
}

pub(in crate::store) struct Layers {
    /// What is durable, as far as the committer knows.
    pub durable: GroupRow,
    /// Of the last finished entry.
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
    active: Layer,
    committing: Option<Arc<Layer>>,
    /// An entry has changed rows and is not finished.
    step_open: bool,
    /// The committer came while an entry was open: the applier hands the layer over.
    wanted: bool,
    /// Payloads of entries before this are being moved.
    pub moving: Option<u64>,
    /// Freed since the move began.
    pub freed_meanwhile: BTreeSet<PayloadRef>,
    /// Snapshots being read: payloads must stay.
    pub holds: usize,
    /// The highest generation given out.
    last_generation: u32,
}

/// Bytes of uncommitted rows over all groups. Clones are the same.
#[derive(Clone)]
pub(in crate::store) struct Overlay(Arc<OverlayInner>);

struct OverlayInner {
    bytes: AtomicUsize,
    commit_at: usize,
    limit: usize,
    committer: Wakeup,
    shrunk: Notify,
}

impl Overlay {
    pub(in crate::store) fn new(commit_at: usize, limit: usize, committer: Wakeup) -> Self {
        let (bytes, shrunk) = (AtomicUsize::new(0), Notify::new());
        Self(Arc::new(OverlayInner {
            bytes,
            commit_at,
            limit,
            committer,
            shrunk,
        }))
    }

    pub(in crate::store) fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn grow(&self, bytes: usize) {
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before < self.0.commit_at && before + bytes >= self.0.commit_at {
            self.0.committer.wake();
        }
    }

    fn shrink(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.0.shrunk.notify_waiters();
    }

    pub(in crate::store) async fn room(&self) {
        loop {
            let shrunk = self.0.shrunk.notified();
            if self.bytes() < self.0.limit {
                return;
            }
            self.0.committer.wake();
            shrunk.await;
        }
    }

    pub(in crate::store) fn wake_committer(&self) {
        self.0.committer.wake();
    }
}

impl Shared {
    pub(in crate::store) fn new(group: GroupId, overlay: Overlay, durable: GroupRow) -> Self {
        let (applied, membership) = (durable.applied, durable.membership.clone());
        let last_generation = durable.last_generation.max(durable.generation);
        let state = Mutex::new(Layers {
            durable,
            applied,
            membership,
            active: Layer::default(),
            committing: None,
            step_open: false,
            wanted: false,
            moving: None,
            freed_meanwhile: BTreeSet::new(),
            holds: 0,
            last_generation,
        });
        Self {
            group,
            overlay,
            state,
            durable_changed: Notify::new(),
        }
    }

    pub(in crate::store) fn layers(&self) -> MutexGuard<'_, Layers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, key: &[u8], value: Option<Bytes>) {
        let added = {
            let mut layers = self.layers();
            layers.step_open = true;
            layers.active.change(key, value)
        };
        self.overlay.grow(added);
    }

    pub(super) fn free(&self, refs: &[PayloadRef]) {
        let mut layers = self.layers();
        let layers = &mut *layers;
        let before = layers.moving.unwrap_or(0).max(layers.durable.moved);
        // A payload that is only in the journal goes with its segment.
        for &at in refs.iter().filter(|at| at.index < before) {
            layers.active.frees.push(at);
            if layers.moving.is_some() {
                layers.freed_meanwhile.insert(at);
            }
        }
        layers.active.dirty = true;
        layers.step_open = true;
    }

    pub(super) fn finish(&self, applied: LogId, membership: Option<StoredMembership>) {
        let mut layers = self.layers();
        let layers = &mut *layers;
        layers.applied = Some(applied);
        if let Some(membership) = membership {
            layers.membership = membership;
        }
        layers.active.applied = Some(applied);
        layers.active.dirty = true;
        layers.step_open = false;
        if layers.wanted {
            layers.hand_over();
            self.overlay.wake_committer();
        }
    }

    /// The layer to be committed next, if any: the one whose commit did not succeed first.
    pub(in crate::store) fn take(&self) -> Option<Arc<Layer>> {
        let mut layers = self.layers();
        if layers.committing.is_none() {
            if layers.step_open {
                layers.wanted = true;
            } else {
                layers.hand_over();
            }
        }
        layers.committing.clone()
    }

    /// The row is durable, and the layer that was taken if it was part of the transaction.
    pub(in crate::store) fn committed(&self, row: GroupRow, layer: bool) {
        let mut layers = self.layers();
        layers.durable = row;
        if let Some(layer) = layers.committing.take_if(|_| layer) {
            self.overlay.shrink(layer.bytes);
        }
        drop(layers);
        self.durable_changed.notify_waiters();
    }

    /// Another generation takes the place of everything.
    pub(in crate::store) fn replaced(&self, row: GroupRow) {
        let mut layers = self.layers();
        let active = std::mem::take(&mut layers.active);
        let committing = layers.committing.take().map_or(0, |layer| layer.bytes);
        self.overlay.shrink(active.bytes + committing);
        layers.applied = row.applied;
        layers.membership = row.membership.clone();
        layers.durable = row;
        layers.step_open = false;
        drop(layers);
        self.durable_changed.notify_waiters();
    }

    /// Whether a change waits to be committed.
    pub(in crate::store) fn is_dirty(&self) -> bool {
        let layers = self.layers();
        layers.active.dirty || layers.committing.is_some()
    }
}

impl Layers {
    pub(in crate::store) fn space(&self, group: GroupId) -> Space {
        Space {
            group,
            generation: self.durable.generation,
        }
    }

    /// A generation that was never used before.
    pub(in crate::store) fn next_generation(&mut self) -> u32 {
        self.last_generation += 1;
        self.last_generation
    }

    pub(in crate::store) fn last_generation(&self) -> u32 {
        self.last_generation
    }

    fn hand_over(&mut self) {
        self.wanted = false;
        if self.committing.is_none() && self.active.dirty {
            let mut layer = std::mem::take(&mut self.active);
            layer.applied = self.applied;
            layer.membership = self.membership.clone();
            self.committing = Some(Arc::new(layer));
        }
    }

    /// A changed row: `None` if nothing is known here, `Some(None)` if it was deleted.
    #[expect(clippy::option_option, reason = "unknown and deleted are two things")]
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let committing = || {
            self.committing
                .as_ref()
                .and_then(|layer| layer.rows.get(key))
        };
        self.active.rows.get(key).or_else(committing).cloned()
    }

    /// Changed rows `from <= key < end`, and the key up to which none is left out because of
    /// `limit`.
    pub(super) fn range(
        &self,
        from: &[u8],
        end: &[u8],
        limit: usize,
    ) -> (Changed, Option<Vec<u8>>) {
        let mut found = Changed::new();
        let mut horizon: Option<Vec<u8>> = None;
        let range = (Bound::Included(from), Bound::Excluded(end));
        let layers = [Some(&self.active), self.committing.as_deref()];
        for layer in layers.into_iter().flatten() {
            let mut count = 0;
            for (key, value) in layer.rows.range::<[u8], _>(range).take(limit) {
                found.entry(key.clone()).or_insert_with(|| value.clone());
                count += 1;
                if count == limit && horizon.as_ref().is_none_or(|known| key < known) {
                    horizon = Some(key.clone());
                }
            }
        }
        (found, horizon)
    }

    /// All changed rows, for a snapshot.
    pub(in crate::store) fn all(&self) -> Changed {
        let mut rows = self
            .committing
            .as_ref()
            .map(|layer| layer.rows.clone())
            .unwrap_or_default();
        rows.extend(
            self.active
                .rows
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        rows
    }
}

impl Layer {
    /// Returns the bytes added, at least.
    fn change(&mut self, key: &[u8], value: Option<Bytes>) -> usize {
        self.dirty = true;
        let length = value.as_ref().map_or(0, Bytes::len);
        let added = if let Some(old) = self.rows.get_mut(key) {
            let before = old.as_ref().map_or(0, Bytes::len);
            *old = value;
            length.saturating_sub(before)
        } else {
            self.rows.insert(key.to_vec(), value);
            key.len() + length + 96
        };
        self.bytes += added;
        added
    }
}
