//! Everything that one transaction does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use roadstead_core::shard::PayloadRef;

use super::keys::{CHUNK, GroupRow, Space, chunks};
use super::layers::{Layer, Shared};
use super::requests::{Request, Told};
use crate::raft::types::{GroupId, LogId};
use crate::store::env::{Change, EnvError, Table, Write};

/// What is known of one group in a batch.
pub(super) struct GroupChange {
    pub shared: Arc<Shared>,
    pub row: GroupRow,
    /// The space the layer and the freed payloads belong to.
    pub space: Space,
    pub layer: Option<Arc<Layer>>,
    /// Another generation takes the place of the group's rows.
    pub replaced: bool,
    /// Freed payloads must stay for a snapshot.
    pub held: bool,
}

/// A batch; it stays the same until it is committed, however often that is tried.
#[derive(Default)]
pub(super) struct Batch {
    pub groups: BTreeMap<GroupId, GroupChange>,
    pub requests: Vec<(Request, Told)>,
    pub garbage: Vec<(Table, Vec<u8>)>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.requests.is_empty() && self.garbage.is_empty()
    }

    /// The group's part, made when it is first asked for.
    pub(super) fn group(&mut self, shared: &Arc<Shared>) -> &mut GroupChange {
        self.groups.entry(shared.group).or_insert_with(|| {
            let layers = shared.layers();
            GroupChange {
                shared: shared.clone(),
                row: layers.durable.clone(),
                space: layers.space(shared.group),
                layer: None,
                replaced: false,
                held: layers.holds > 0,
            }
        })
    }

    /// Takes a request in. Returns it if its group is not open.
    pub(super) fn add(
        &mut self,
        groups: &BTreeMap<GroupId, Arc<Shared>>,
        mut request: Request,
        told: Told,
    ) -> Result<(), Told> {
        match &mut request {
            Request::Flush | Request::Stage { .. } => {}
            Request::Begin(space) => {
                let Some(shared) = groups.get(&space.group) else {
                    return Err(told);
                };
                let row = &mut self.group(shared).row;
                row.last_generation = row.last_generation.max(space.generation);
            }
            Request::Move {
                group,
                payloads,
                moved,
            } => {
                let Some(shared) = groups.get(group) else {
                    return Err(told);
                };
                let change = self.group(shared);
                change.row.moved = moved.unwrap_or(change.row.moved);
                let layers = shared.layers();
                payloads.retain(|(at, _)| !layers.freed_meanwhile.contains(at));
            }
            Request::Flip { group, row } => {
                let Some(shared) = groups.get(group) else {
                    return Err(told);
                };
                let change = self.group(shared);
                change.row = row.clone();
                change.replaced = true;
            }
        }
        self.requests.push((request, told));
        Ok(())
    }

    /// Publishes what was committed.
    pub(super) fn done(self) {
        for change in self.groups.into_values() {
            if change.replaced {
                change.shared.replaced(change.row);
            } else {
                change.shared.committed(change.row, change.layer.is_some());
            }
        }
        for (_, told) in self.requests {
            told(Ok(()));
        }
    }
}

impl Change for Batch {
    fn each(&self, write: &mut Write<'_>) -> Result<(), EnvError> {
        for (request, _) in &self.requests {
            self.request(request, write)?;
        }
        for (group, change) in &self.groups {
            if let Some(layer) = change.layer.as_ref().filter(|_| !change.replaced) {
                for (key, value) in &layer.rows {
                    write(Table::Rows, &change.space.row(key), value.as_deref())?;
                }
                for &at in &layer.frees {
                    if change.held {
                        write(Table::Garbage, &change.space.freed(at), Some(&[]))?;
                    } else {
                        delete_payload(change.space, at, write)?;
                    }
                }
            }
            write(
                Table::Groups,
                &group.to_be_bytes(),
                Some(&change.row.encode()),
            )?;
        }
        for (table, key) in &self.garbage {
            write(*table, key, None)?;
        }
        Ok(())
    }
}

impl Batch {
    fn request(&self, request: &Request, write: &mut Write<'_>) -> Result<(), EnvError> {
        match request {
            Request::Flush => {}
            Request::Begin(space) => write(Table::Garbage, &space.doomed(), Some(&[]))?,
            Request::Move {
                group, payloads, ..
            } => {
                if let Some(change) = self.groups.get(group) {
                    put_payloads(change.space, payloads, write)?;
                }
            }
            Request::Stage {
                space,
                rows,
                payloads,
            } => {
                for (key, value) in rows {
                    write(Table::Rows, &space.row(key), Some(value))?;
                }
                put_payloads(*space, payloads, write)?;
            }
            Request::Flip { group, row } => {
                let new = Space {
                    group: *group,
                    generation: row.generation,
                };
                write(Table::Garbage, &new.doomed(), None)?;
                if let Some(change) = self.groups.get(group) {
                    write(Table::Garbage, &change.space.doomed(), Some(&[]))?;
                }
            }
        }
        Ok(())
    }
}

fn put_payloads(
    space: Space,
    payloads: &[(PayloadRef, Bytes)],
    write: &mut Write<'_>,
) -> Result<(), EnvError> {
    let mut value = Vec::with_capacity(CHUNK + 4);
    for (at, bytes) in payloads {
        for chunk in 0..chunks(at.len) {
            let start = usize::from(chunk) * CHUNK;
            let part = &bytes[start.min(bytes.len())..(start + CHUNK).min(bytes.len())];
            value.clear();
            value.extend_from_slice(&crc32c::crc32c(part).to_le_bytes());
            value.extend_from_slice(part);
            write(Table::Payloads, &space.chunk(*at, chunk), Some(&value))?;
        }
    }
    Ok(())
}

pub(super) fn delete_payload(
    space: Space,
    at: PayloadRef,
    write: &mut Write<'_>,
) -> Result<(), EnvError> {
    (0..chunks(at.len)).try_for_each(|chunk| write(Table::Payloads, &space.chunk(at, chunk), None))
}

/// Takes the changes of every group. Returns the groups of which some wait: behind an open entry,
/// or for the journal. An entry is applied when a majority has it on disk, which this node may not
/// belong to; rows that outlived their entry in a power cut would refer to payloads that are lost.
pub(super) fn take_layers(
    batch: &mut Batch,
    groups: &BTreeMap<GroupId, Arc<Shared>>,
    is_on_disk: impl Fn(GroupId, LogId) -> bool,
) -> BTreeSet<GroupId> {
    let mut behind = BTreeSet::new();
    for (id, shared) in groups {
        if batch.groups.get(id).is_some_and(|change| change.replaced) {
            continue;
        }
        match shared.take() {
            Some(layer) if layer.applied.is_some_and(|last| !is_on_disk(*id, last)) => {
                behind.insert(*id);
            }
            Some(layer) => {
                let change = batch.group(shared);
                change.row.applied = layer.applied;
                change.row.membership = layer.membership.clone();
                change.layer = Some(layer);
            }
            None if shared.is_dirty() => drop(behind.insert(*id)),
            None => {}
        }
    }
    behind
}
