//! From a payload's ref to its bytes.

use std::io;
use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};
use roadstead_core::shard::PayloadRef;
use thiserror::Error;

use super::env::{Env, EnvView, Table};
use super::failure::{Damage, Failure};
use super::jobs::Jobs;
use super::journal::Journal;
use super::rows::keys::{Space, chunks};
use super::rows::{Groups, failure};
use crate::raft::types::GroupId;

/// Knows which payloads are still wanted. Called on the mover's thread; may block on a group's
/// lock.
pub trait LivePayloads: Send + Sync + 'static {
    /// Refs of the group's live payloads in entries `first..=last` as of the last finished entry,
    /// in order. An error puts the move off.
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
    Damage(#[from] Damage),
    /// The store has failed or was closed.
    #[error("payload not read: {0}")]
    Stopped(String),
}

/// Reads payloads. Clones are the same.
#[derive(Clone)]
pub struct Payloads {
    pub(super) journal: Journal,
    pub(super) env: Arc<dyn Env>,
    pub(super) groups: Groups,
    pub(super) jobs: Jobs,
    pub(super) failure: Failure,
}

impl Payloads {
    /// The payload, if its entry is in memory. Never blocks.
    pub fn try_get(&self, group: GroupId, at: PayloadRef) -> Option<Bytes> {
        slice(&self.journal.group(group).data_in_memory(at.index)?, at)
    }

    /// The payloads, in the order of `refs`, read off the caller's thread unless all of them are
    /// in memory.
    pub async fn get(
        &self,
        group: GroupId,
        refs: Vec<PayloadRef>,
    ) -> Result<Vec<Bytes>, PayloadError> {
        let here: Option<Vec<_>> = refs.iter().map(|&at| self.try_get(group, at)).collect();
        if let Some(here) = here {
            return Ok(here);
        }
        let payloads = self.clone();
        let read = self
            .jobs
            .run(move || payloads.get_blocking(group, &refs))
            .await;
        read.unwrap_or_else(|| Err(PayloadError::Stopped("the store is closed".into())))
    }

    /// Like [`Payloads::get`]; blocks.
    pub(super) fn get_blocking(
        &self,
        group: GroupId,
        refs: &[PayloadRef],
    ) -> Result<Vec<Bytes>, PayloadError> {
        let journal = self.journal.group(group);
        let mut entry: Option<(u64, Bytes)> = None;
        let mut view = None;
        let mut found = Vec::with_capacity(refs.len());
        for &at in refs {
            let (space, moved) = self.space(group);
            if at.index < moved {
                let view = match &mut view {
                    Some(view) => view,
                    empty => empty.insert(self.env.view().map_err(|e| self.stopped(&e))?),
                };
                if let Some(bytes) = self.moved(&**view, space, at)? {
                    found.push(bytes);
                    continue;
                }
            }
            if entry.as_ref().is_none_or(|(index, _)| *index != at.index) {
                let data = journal
                    .data_blocking(at.index)
                    .map_err(|e| read_error(&e))?;
                entry = data.map(|data| (at.index, data));
            }
            let bytes = entry.as_ref().and_then(|(_, data)| slice(data, at));
            match bytes {
                Some(bytes) => found.push(bytes),
                // It may have been moved since this began: look once more.
                None => match self.moved_now(space, at)? {
                    Some(bytes) => found.push(bytes),
                    None => return Err(PayloadError::Missing { group, at }),
                },
            }
        }
        Ok(found)
    }

    fn space(&self, group: GroupId) -> (Space, u64) {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.get(&group).map_or(
            (
                Space {
                    group,
                    generation: 0,
                },
                0,
            ),
            |shared| {
                let layers = shared.layers();
                (layers.space(group), layers.durable.moved)
            },
        )
    }

    fn moved_now(&self, space: Space, at: PayloadRef) -> Result<Option<Bytes>, PayloadError> {
        let view = self.env.view().map_err(|e| self.stopped(&e))?;
        self.moved(&*view, space, at)
    }

    fn moved(
        &self,
        view: &dyn EnvView,
        space: Space,
        at: PayloadRef,
    ) -> Result<Option<Bytes>, PayloadError> {
        let mut payload = BytesMut::with_capacity(at.len as usize);
        for chunk in 0..chunks(at.len) {
            let row = view.get(Table::Payloads, &space.chunk(at, chunk));
            let Some(row) = row.map_err(|e| self.stopped(&e))? else {
                return Ok(None);
            };
            let part = row
                .split_first_chunk::<4>()
                .filter(|(crc, part)| u32::from_le_bytes(**crc) == crc32c::crc32c(part));
            match part {
                Some((_, part)) if chunks(at.len) == 1 && part.len() == at.len as usize => {
                    return Ok(Some(row.slice(4..)));
                }
                Some((_, part)) => payload.extend_from_slice(part),
                None => return Err(self.damaged(at, "its CRC32C does not match")),
            }
        }
        if payload.len() == at.len as usize {
            Ok(Some(payload.freeze()))
        } else {
            Err(self.damaged(at, "its length does not match"))
        }
    }

    fn damaged(&self, at: PayloadRef, what: &str) -> PayloadError {
        let what = format!("the payload at {at:?} is not what was written: {what}");
        let damage = Damage {
            file: "lmdb/data.mdb".into(),
            offset: 0,
            what,
        };
        self.failure.set(damage.clone().into());
        damage.into()
    }

    fn stopped(&self, error: &super::env::EnvError) -> PayloadError {
        self.failure.set(failure(error));
        PayloadError::Stopped(error.to_string())
    }
}

fn slice(data: &Bytes, at: PayloadRef) -> Option<Bytes> {
    let start = at.offset as usize;
    let end = start.checked_add(at.len as usize)?;
    (end <= data.len()).then(|| data.slice(start..end))
}

fn read_error(error: &io::Error) -> PayloadError {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Damage>())
    {
        Some(damage) => damage.clone().into(),
        None => PayloadError::Stopped(error.to_string()),
    }
}
