//! The receiver's side: chunks go into a new generation, which takes the old one's place at once.

use std::sync::Arc;

use bytes::Bytes;

use super::chunk::{Chunk, decode};
use super::{SnapshotError, SnapshotInfo};
use crate::raft::types::GroupId;
use crate::store::rows::keys::{GroupRow, Space};
use crate::store::rows::layers::Shared;
use crate::store::rows::{Request, Requests};

/// A generation that is being filled; it is deleted when this is dropped before it is used.
struct Generation {
    space: Space,
    requests: Requests,
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.requests.unstage(self.space);
    }
}

/// Receives the chunks of a snapshot into a new generation of the group's rows.
pub struct SnapshotInstaller {
    shared: Arc<Shared>,
    generation: Generation,
    begun: bool,
    chunks: u64,
    rows: u64,
    payloads: u64,
    info: Option<SnapshotInfo>,
}

impl SnapshotInstaller {
    pub(in crate::store) fn new(shared: Arc<Shared>, requests: Requests) -> Self {
        let generation = shared.layers().next_generation();
        let space = Space {
            group: shared.group,
            generation,
        };
        Self {
            shared,
            generation: Generation { space, requests },
            begun: false,
            chunks: 0,
            rows: 0,
            payloads: 0,
            info: None,
        }
    }

    /// Takes the next chunk; it is durable when this returns. The other groups' rows go on being
    /// committed meanwhile.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), SnapshotError> {
        if !self.begun {
            self.ask(Request::Begin(self.generation.space)).await?;
            self.begun = true;
        }
        if self.info.is_some() {
            return Err(self.malformed("it comes after the last one"));
        }
        let chunk = decode(&chunk).map_err(|what| self.malformed(&what))?;
        let space = self.generation.space;
        match chunk {
            Chunk::Rows(rows) => {
                self.rows += rows.len() as u64;
                self.ask(Request::Stage {
                    space,
                    rows,
                    payloads: Vec::new(),
                })
                .await?;
            }
            Chunk::Payloads(payloads) => {
                self.payloads += payloads.len() as u64;
                self.ask(Request::Stage {
                    space,
                    rows: Vec::new(),
                    payloads,
                })
                .await?;
            }
            Chunk::End {
                rows,
                payloads,
                info,
            } => {
                if (rows, payloads) != (self.rows, self.payloads) {
                    let (has, had) = (self.rows + self.payloads, rows + payloads);
                    return Err(self.malformed(&format!("{has} of {had} rows and payloads came")));
                }
                self.info = Some(info);
            }
        }
        self.chunks += 1;
        Ok(())
    }

    async fn ask(&self, request: Request) -> Result<(), SnapshotError> {
        self.generation
            .requests
            .wait(request)
            .await
            .map_err(SnapshotError::Stopped)
    }

    fn malformed(&self, what: &str) -> SnapshotError {
        let (group, chunk) = (self.shared.group, self.chunks);
        SnapshotError::Malformed {
            group,
            chunk,
            what: what.to_owned(),
        }
    }

    /// After the last chunk: what can be installed.
    pub fn finish(self) -> Result<Staged, SnapshotError> {
        match self.info.clone() {
            Some(info) => Ok(Staged {
                info,
                shared: self.shared,
                generation: self.generation,
            }),
            None => Err(self.malformed("the last one never came")),
        }
    }
}

/// A whole snapshot beside the group's state, ready for [`crate::store::Store::install`].
pub struct Staged {
    info: SnapshotInfo,
    shared: Arc<Shared>,
    generation: Generation,
}

impl Staged {
    /// What it holds.
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// The group it belongs to.
    pub fn group(&self) -> GroupId {
        self.shared.group
    }

    pub(in crate::store) async fn flip(self) -> Result<(), SnapshotError> {
        let row = GroupRow {
            generation: self.generation.space.generation,
            last_generation: self.shared.layers().last_generation(),
            moved: self.info.applied.map_or(0, |id| id.index + 1),
            applied: self.info.applied,
            membership: self.info.membership.clone(),
        };
        let flip = Request::Flip {
            group: self.shared.group,
            row,
        };
        self.generation
            .requests
            .wait(flip)
            .await
            .map_err(SnapshotError::Stopped)
    }
}
