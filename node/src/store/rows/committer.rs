//! The loop that makes rows durable: one transaction for all groups, some 20 times a second.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::batch::{Batch, delete_payload, take_layers};
use super::keys::{Garbage, Space};
use super::layers::{Overlay, Shared};
use super::requests::{Request, Requests};
use crate::raft::types::GroupId;
use crate::store::drivers::{BackgroundLoop, Turn, Wakeup};
use crate::store::env::{Env, EnvError, EnvView, Table};
use crate::store::failure::{Damage, Failure, StoreFailure};
use crate::store::journal::Journal;
use crate::store::metrics::StoreMetrics;
use crate::store::payloads::Payloads;
use crate::store::space::Reserve;

/// How long to wait for disk space before the next try.
const SPACE_WAIT: Duration = Duration::from_millis(100);

/// Rows deleted in one transaction when generations or freed payloads are cleared away.
const GARBAGE_PIECE: usize = 1_000;

/// All groups whose rows were opened.
pub(in crate::store) type Groups = Arc<Mutex<BTreeMap<GroupId, Arc<Shared>>>>;

/// The committer.
pub(in crate::store) struct Committer {
    pub env: Arc<dyn Env>,
    pub journal: Journal,
    pub groups: Groups,
    pub requests: Requests,
    pub overlay: Overlay,
    pub around: Around,
    pending: Option<Batch>,
    /// It was said that there is no space.
    waits: bool,
}

/// What the loops share.
#[derive(Clone)]
pub(in crate::store) struct Around {
    pub reserve: Reserve,
    pub failure: Failure,
    pub metrics: StoreMetrics,
    /// Time between two commits.
    pub interval: Duration,
}

impl Committer {
    pub(in crate::store) fn new(
        payloads: &Payloads,
        requests: Requests,
        overlay: Overlay,
        around: Around,
    ) -> Self {
        Self {
            env: payloads.env.clone(),
            journal: payloads.journal.clone(),
            groups: payloads.groups.clone(),
            requests,
            overlay,
            around,
            pending: None,
            waits: false,
        }
    }

    fn build(&self) -> Result<Batch, EnvError> {
        let groups = self
            .groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut batch = Batch::default();
        let (flushes, others): (Vec<_>, Vec<_>) = self
            .requests
            .take()
            .into_iter()
            .partition(|(r, _)| matches!(r, Request::Flush));
        for (request, told) in others {
            if let Err(told) = batch.add(&groups, request, told) {
                told(Err("the group's rows are not open".into()));
            }
        }
        let behind = take_layers(&mut batch, &groups, |group, last| {
            self.journal.group(group).is_on_disk(last.index)
        });
        for (request, told) in flushes {
            if behind.is_empty() {
                batch.requests.push((request, told));
            } else {
                self.requests.put_back(request, told);
            }
        }
        if self.requests.may_have_garbage() {
            self.find_garbage(&mut batch)?;
        }
        Ok(batch)
    }

    fn find_garbage(&self, batch: &mut Batch) -> Result<(), EnvError> {
        let view = self.env.view()?;
        let mut names = Vec::new();
        view.scan(Table::Garbage, b"A", b"Z", &mut |key, _| {
            names.push(key.to_vec());
            if names.len() < GARBAGE_PIECE {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        // What is held or staged now is looked at again when it is let go.
        self.requests.no_garbage();
        for name in names {
            if batch.garbage.len() >= GARBAGE_PIECE {
                break;
            }
            match Garbage::decode(&name) {
                Some(Garbage::Payload(space, at)) if !self.held(space.group) => {
                    delete_payload(space, at, &mut |table, key, _| {
                        batch.garbage.push((table, key.to_vec()));
                        Ok(())
                    })?;
                    batch.garbage.push((Table::Garbage, name));
                }
                Some(Garbage::Generation(space)) if !self.requests.is_staging(space) => {
                    let emptied = collect(&*view, space, &mut batch.garbage)?;
                    if emptied {
                        batch.garbage.push((Table::Garbage, name));
                    }
                }
                _ => {}
            }
        }
        if !batch.garbage.is_empty() {
            self.requests.look_for_garbage();
        }
        Ok(())
    }

    fn held(&self, group: GroupId) -> bool {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups
            .get(&group)
            .is_some_and(|shared| shared.layers().holds > 0)
    }

    fn commit(&mut self, batch: Batch) -> Turn {
        let before = Instant::now();
        match self.env.commit(&batch) {
            Ok(()) => {
                batch.done();
                self.waits = false;
                self.around.metrics.committed(before.elapsed());
                self.around.metrics.overlay(self.overlay.bytes());
                Turn::Wait(Some(self.around.interval))
            }
            Err(EnvError::Full(what)) => {
                self.pending = Some(batch);
                self.around.metrics.waited_for_space();
                if self.around.reserve.release() {
                    tracing::warn!("no space for state rows ({what}): the reserve was given up");
                    return Turn::Again;
                }
                if !std::mem::replace(&mut self.waits, true) {
                    tracing::warn!("no space for state rows ({what}): waiting for some");
                }
                Turn::Wait(Some(SPACE_WAIT))
            }
            Err(error) => {
                self.pending = Some(batch);
                self.fail(&error)
            }
        }
    }

    fn fail(&mut self, error: &EnvError) -> Turn {
        tracing::error!(%error, "the rows stop");
        self.around.failure.set(failure(error));
        self.requests.close();
        let pending = self
            .pending
            .take()
            .map(|batch| batch.requests)
            .unwrap_or_default();
        for (_, told) in pending.into_iter().chain(self.requests.take()) {
            told(Err(error.to_string()));
        }
        Turn::Stop
    }

    fn is_idle(&self) -> bool {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        self.requests.is_idle() && !groups.values().any(|shared| shared.is_dirty())
    }
}

/// Adds keys of a generation to be deleted. Returns whether that is all of it.
fn collect(
    view: &dyn EnvView,
    space: Space,
    found: &mut Vec<(Table, Vec<u8>)>,
) -> Result<bool, EnvError> {
    for table in [Table::Rows, Table::Payloads] {
        view.scan(table, &space.prefix(), &space.end(), &mut |key, _| {
            found.push((table, key.to_vec()));
            if found.len() < GARBAGE_PIECE {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        if found.len() >= GARBAGE_PIECE {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(in crate::store) fn failure(error: &EnvError) -> StoreFailure {
    match error {
        EnvError::Damaged(what) => Damage {
            file: "lmdb/data.mdb".into(),
            offset: 0,
            what: what.clone(),
        }
        .into(),
        other => StoreFailure::Io {
            what: "lmdb/data.mdb".into(),
            error: other.to_string(),
        },
    }
}

impl BackgroundLoop for Committer {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn wakeup(&self) -> Wakeup {
        self.requests.wakeup()
    }

    fn turn(&mut self) -> Turn {
        if self.around.failure.get().is_some() {
            self.requests.close();
            let waiting = self
                .pending
                .take()
                .map(|batch| batch.requests)
                .unwrap_or_default();
            for (_, told) in waiting.into_iter().chain(self.requests.take()) {
                told(Err("the store has failed".into()));
            }
            return Turn::Stop;
        }
        let batch = match self.pending.take() {
            Some(batch) => batch,
            None => match self.build() {
                Ok(batch) => batch,
                Err(error) => return self.fail(&error),
            },
        };
        if !batch.is_empty() {
            return self.commit(batch);
        }
        if self.requests.is_closed() && self.is_idle() {
            return Turn::Stop;
        }
        Turn::Wait(Some(self.around.interval))
    }
}
