//! What the committer is asked for beside committing rows.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use roadstead_core::shard::PayloadRef;

use super::keys::{GroupRow, Space};
use crate::raft::types::GroupId;
use crate::store::drivers::Wakeup;

/// Hears what became of a request.
pub(in crate::store) type Told = Box<dyn FnOnce(Result<(), String>) + Send>;

/// One request; it is part of the next transaction.
pub(in crate::store) enum Request {
    /// Nothing but to be told when everything finished before is durable.
    Flush,
    /// Puts payloads beside the rows; live ones of entries before `moved` are then all there.
    Move {
        group: GroupId,
        payloads: Vec<(PayloadRef, Bytes)>,
        moved: Option<u64>,
    },
    /// Begins a generation that is deleted after a crash.
    Begin(Space),
    /// Puts rows and payloads of a generation that is not in use yet.
    Stage {
        space: Space,
        rows: Vec<(Bytes, Bytes)>,
        payloads: Vec<(PayloadRef, Bytes)>,
    },
    /// Puts a staged generation in use, or an empty one; the old one is deleted in pieces.
    Flip { group: GroupId, row: GroupRow },
}

/// The way to the committer. Clones are the same.
#[derive(Clone, Default)]
pub(in crate::store) struct Requests(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    wakeup: Wakeup,
    /// There may be something to clear away.
    garbage: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: Vec<(Request, Told)>,
    /// Generations being staged: not garbage yet.
    staging: BTreeSet<Space>,
    closed: bool,
}

impl Requests {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::store) fn wakeup(&self) -> Wakeup {
        self.0.wakeup.clone()
    }

    /// Asks; `told` hears when it is durable, or why it never will be.
    pub(in crate::store) fn ask(&self, request: Request, told: Told) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            return told(Err("the store is closed".into()));
        }
        if let Request::Begin(space) = &request {
            state.staging.insert(*space);
        }
        state.waiting.push((request, told));
        drop(state);
        self.0.wakeup.wake();
    }

    /// Asks and waits.
    pub(in crate::store) async fn wait(&self, request: Request) -> Result<(), String> {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.ask(request, Box::new(move |done| drop(tell.send(done))));
        told.await
            .unwrap_or_else(|_| Err("the store is closed".into()))
    }

    /// A staged generation is in use or will not be.
    pub(in crate::store) fn unstage(&self, space: Space) {
        self.state().staging.remove(&space);
        self.look_for_garbage();
    }

    pub(super) fn is_staging(&self, space: Space) -> bool {
        self.state().staging.contains(&space)
    }

    pub(in crate::store) fn look_for_garbage(&self) {
        self.0.garbage.store(true, Ordering::Relaxed);
        self.0.wakeup.wake();
    }

    pub(super) fn may_have_garbage(&self) -> bool {
        self.0.garbage.load(Ordering::Relaxed)
    }

    pub(super) fn no_garbage(&self) {
        self.0.garbage.store(false, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> Vec<(Request, Told)> {
        std::mem::take(&mut self.state().waiting)
    }

    /// Puts a request back: it must be part of a later transaction.
    pub(super) fn put_back(&self, request: Request, told: Told) {
        self.state().waiting.push((request, told));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state().waiting.is_empty() && !self.may_have_garbage()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Ends the committer once everything that is finished is durable.
    pub(in crate::store) fn close(&self) {
        self.state().closed = true;
        self.0.wakeup.wake();
    }
}
