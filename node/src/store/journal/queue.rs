//! What waits for the writer, in the order in which it will be on disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log::GroupLog;
use super::record::Record;
use crate::raft::types::{Entry, GroupId, LogId};
use crate::store::drivers::Wakeup;

/// Is told when an operation is on disk, or that it never will be.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A group's log, shared by the writer and its readers.
pub(super) struct Group {
    pub id: GroupId,
    pub log: Mutex<GroupLog>,
}

impl Group {
    pub(super) fn log(&self) -> MutexGuard<'_, GroupLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an operation writes.
pub(super) enum Write {
    Entries(Vec<Entry>),
    Record(Record),
}

/// An operation of one group.
pub(super) struct Operation {
    pub number: u64,
    pub group: Arc<Group>,
    pub write: Write,
    pub done: Option<Done>,
}

/// The queue. Locked after a group's log, never before it.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    pub wakeup: Wakeup,
}

#[derive(Default)]
struct State {
    operations: Vec<Operation>,
    /// Latest committed ids; they ride along with the next write and never cause one.
    committed: BTreeMap<GroupId, LogId>,
    last_number: u64,
    closed: bool,
}

/// What the writer takes at once.
pub(super) struct Taken {
    pub operations: Vec<Operation>,
    pub committed: BTreeMap<GroupId, LogId>,
    pub closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number the next operation will have, while the caller holds its group's log.
    pub(super) fn push(
        &self,
        group: &Arc<Group>,
        done: Option<Done>,
        write: impl FnOnce(u64) -> io::Result<Write>,
    ) -> io::Result<()> {
        let mut state = self.state();
        if state.closed {
            return Err(io::Error::other("the journal is closed"));
        }
        let number = state.last_number + 1;
        let write = write(number)?;
        state.last_number = number;
        state.operations.push(Operation {
            number,
            group: group.clone(),
            write,
            done,
        });
        drop(state);
        self.wakeup.wake();
        Ok(())
    }

    pub(super) fn committed(&self, group: GroupId, id: LogId) {
        self.state().committed.insert(group, id);
    }

    pub(super) fn take(&self) -> Taken {
        let mut state = self.state();
        let operations = std::mem::take(&mut state.operations);
        let committed = if operations.is_empty() && !state.closed {
            BTreeMap::new()
        } else {
            std::mem::take(&mut state.committed)
        };
        Taken {
            operations,
            committed,
            closed: state.closed,
        }
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wakeup.wake();
    }
}
