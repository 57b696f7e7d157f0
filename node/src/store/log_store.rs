//! openraft's view of a group's log.

use std::marker::PhantomData;

use crate::raft::types::GroupId;
use crate::runtime::Runtime;

/// The log of one group; implements `RaftLogStorage` and `RaftLogReader` for every runtime.
pub struct LogStore<R> {
    group: GroupId,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> LogStore<R> {
    pub(super) fn new(group: GroupId) -> Self {
        Self {
            group,
            runtime: PhantomData,
        }
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }
}
