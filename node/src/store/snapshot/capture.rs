//! The sender's side: a state held still, spooled and read in chunks.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use roadstead_core::shard::PayloadRef;

use super::chunk::{self, Builder, CHUNK_BYTES};
use super::{SnapshotError, SnapshotInfo};
use crate::raft::types::GroupId;
use crate::store::disk::{Disk, DiskFile};
use crate::store::env::{Env, EnvError, EnvView, Table};
use crate::store::jobs::Jobs;
use crate::store::payloads::Payloads;
use crate::store::rows::Requests;
use crate::store::rows::keys::Space;
use crate::store::rows::layers::{Changed, Shared};

/// Directory of spooled snapshots; emptied at every start.
pub(in crate::store) const SPOOL: &str = "spool";

/// A state held still while it is read; see [`crate::store::GroupRows::capture`]. Short-lived:
/// hand it to [`crate::store::Store::open_snapshot`] at once.
pub struct SnapshotCapture {
    info: SnapshotInfo,
    space: Space,
    changed: Changed,
    view: Box<dyn EnvView>,
    live: Vec<PayloadRef>,
    hold: Hold,
}

/// While it lives, the group's freed payloads and the journal's segments stay.
struct Hold(Arc<Shared>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.layers().holds -= 1;
    }
}

impl SnapshotCapture {
    pub(in crate::store) fn new(
        shared: &Arc<Shared>,
        env: &dyn Env,
        live: Vec<PayloadRef>,
    ) -> Result<Self, EnvError> {
        let mut layers = shared.layers();
        let view = env.view()?;
        layers.holds += 1;
        Ok(Self {
            info: SnapshotInfo {
                applied: layers.applied,
                membership: layers.membership.clone(),
            },
            space: layers.space(shared.group),
            changed: layers.all(),
            view,
            live,
            hold: Hold(shared.clone()),
        })
    }

    /// What it holds.
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }
}

/// Gives the chunks of a captured state, rows first, then payloads. Until it is dropped no segment
/// of the journal is used again: whoever sends it sets a deadline.
pub struct SnapshotReader {
    info: SnapshotInfo,
    group: GroupId,
    rows: u64,
    payloads: u64,
    /// Lengths of the spooled chunks.
    spooled: VecDeque<u32>,
    at: u64,
    live: VecDeque<PayloadRef>,
    ended: bool,
    spool: Spool,
    source: Payloads,
    jobs: Jobs,
    requests: Requests,
    hold: Option<Hold>,
}

struct Spool {
    disk: Arc<dyn Disk>,
    name: String,
    file: Arc<dyn DiskFile>,
}

impl Spool {
    fn error(&self, source: io::Error) -> SnapshotError {
        SnapshotError::Spool {
            file: self.name.clone(),
            source,
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        let _ = self.disk.remove(&self.name);
    }
}

/// What a reader needs of the store.
pub(in crate::store) struct Needs {
    pub disk: Arc<dyn Disk>,
    pub name: String,
    pub payloads: Payloads,
    pub jobs: Jobs,
    pub requests: Requests,
}

impl SnapshotReader {
    /// Writes the rows to the spool, so that the state need not be held still. Blocks.
    pub(in crate::store) fn spool(
        capture: SnapshotCapture,
        needs: Needs,
    ) -> Result<Self, SnapshotError> {
        let spool_error = |source| SnapshotError::Spool {
            file: needs.name.clone(),
            source,
        };
        let file = needs.disk.create(&needs.name).map_err(spool_error)?;
        let spool = Spool {
            disk: needs.disk,
            name: needs.name,
            file,
        };
        let SnapshotCapture {
            info,
            space,
            changed,
            view,
            live,
            hold,
        } = capture;
        let mut writer = SpoolWriter {
            file: &*spool.file,
            chunk: Builder::rows(),
            lengths: VecDeque::new(),
            at: 0,
            rows: 0,
            error: None,
        };
        writer.all(&*view, space, changed)?;
        let (rows, lengths, error) = (writer.rows, writer.lengths, writer.error);
        if let Some(source) = error {
            return Err(spool.error(source));
        }
        Ok(Self {
            group: space.group,
            info,
            rows,
            payloads: live.len() as u64,
            spooled: lengths,
            at: 0,
            live: live.into(),
            ended: false,
            spool,
            source: needs.payloads,
            jobs: needs.jobs,
            requests: needs.requests,
            hold: Some(hold),
        })
    }

    /// What it holds.
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// The next chunk (≤ 256 KiB, or one payload), or nothing after the last one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if let Some(length) = self.spooled.pop_front() {
            let (file, at) = (self.spool.file.clone(), self.at);
            self.at += u64::from(length);
            let read = move || {
                let mut buffer = vec![0; length as usize];
                file.read_exact_at(&mut buffer, at)
                    .map(|()| Bytes::from(buffer))
            };
            let read = self.jobs.run(read).await.ok_or_else(closed)?;
            return read.map(Some).map_err(|source| self.spool.error(source));
        }
        if !self.live.is_empty() {
            let (mut refs, mut bytes) = (Vec::new(), 0);
            while let Some(at) = self
                .live
                .front()
                .filter(|at| refs.is_empty() || bytes + at.len as usize + 16 <= CHUNK_BYTES)
            {
                bytes += at.len as usize + 16;
                refs.push(*at);
                self.live.pop_front();
            }
            let found = self.source.get(self.group, refs.clone()).await?;
            let mut chunk = Builder::payloads();
            refs.iter()
                .zip(&found)
                .for_each(|(at, bytes)| chunk.payload(*at, bytes));
            return Ok(Some(chunk.finish()));
        }
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        Ok(Some(chunk::end(self.rows, self.payloads, &self.info)))
    }
}

impl Drop for SnapshotReader {
    fn drop(&mut self) {
        self.hold = None;
        self.requests.look_for_garbage();
    }
}

fn closed() -> SnapshotError {
    SnapshotError::Stopped("the store is closed".into())
}

struct SpoolWriter<'a> {
    file: &'a dyn DiskFile,
    chunk: Builder,
    lengths: VecDeque<u32>,
    at: u64,
    rows: u64,
    error: Option<io::Error>,
}

impl SpoolWriter<'_> {
    /// Writes the rows of the view with the changed ones in their places.
    fn all(
        &mut self,
        view: &dyn EnvView,
        space: Space,
        changed: Changed,
    ) -> Result<(), SnapshotError> {
        let mut changed = changed.into_iter().peekable();
        let scanned = view.scan(
            Table::Rows,
            &space.prefix(),
            &space.end(),
            &mut |key, value| {
                let key = &key[6..];
                while let Some((newer, value)) =
                    changed.next_if(|(newer, _)| newer.as_slice() < key)
                {
                    self.row(&newer, value.as_deref());
                }
                match changed.next_if(|(newer, _)| newer.as_slice() == key) {
                    Some((key, value)) => self.row(&key, value.as_deref()),
                    None => self.row(key, Some(value)),
                }
                if self.error.is_none() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            },
        );
        scanned.map_err(|e| SnapshotError::Stopped(e.to_string()))?;
        for (key, value) in changed {
            self.row(&key, value.as_deref());
        }
        self.flush();
        Ok(())
    }

    fn row(&mut self, key: &[u8], value: Option<&[u8]>) {
        if let Some(value) = value {
            self.rows += 1;
            self.chunk.row(key, value);
            if self.chunk.is_full() {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if self.error.is_some() || self.chunk.is_empty() {
            return;
        }
        let bytes = std::mem::replace(&mut self.chunk, Builder::rows()).finish();
        match self.file.write_all_at(&bytes, self.at) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                self.lengths.push_back(bytes.len() as u32);
            }
            Err(error) => self.error = Some(error),
        }
    }
}
