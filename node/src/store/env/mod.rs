//! The ordered, transactional store behind the rows: LMDB, or a map in memory for simulations.

mod lmdb;
mod memory;

use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;
pub use lmdb::LmdbEnv;
pub use memory::MemoryEnv;
use thiserror::Error;

/// The tables of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// One row per group: generation, applied id, membership, marks.
    Groups,
    /// State rows: group, generation, key.
    Rows,
    /// Chunks of payloads: group, generation, index, offset, chunk.
    Payloads,
    /// What is to be deleted in pieces.
    Garbage,
}

/// Why a transaction did not happen.
#[derive(Debug, Error)]
pub enum EnvError {
    /// No space: in the map or on the disk. Nothing was written.
    #[error("no space left for state rows: {0}; free disk space or raise the map size")]
    Full(String),
    /// The file is not what was written.
    #[error("the state file is damaged: {0}")]
    Damaged(String),
    /// A write or sync failed.
    #[error("the state file cannot be read or written: {0}")]
    Io(#[from] io::Error),
}

/// A batch of changes made by one writer in one transaction.
pub trait Change {
    /// Calls `write` with every change, in order; the last one of a key counts.
    fn each(&self, write: &mut Write<'_>) -> Result<(), EnvError>;
}

/// Takes one change: table, key, value or deletion.
pub type Write<'a> = dyn FnMut(Table, &[u8], Option<&[u8]>) -> Result<(), EnvError> + 'a;

/// Is given rows, in order, until it breaks.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A state held still. Short-lived: what it holds cannot be reused meanwhile.
pub trait EnvView: Send {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EnvError>;

    /// Visits rows `from <= key < end` in order.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), EnvError>;
}

/// Tables of ordered rows. Calls block; one thread commits at a time.
pub trait Env: Send + Sync + 'static {
    /// The last committed state.
    fn view(&self) -> Result<Box<dyn EnvView>, EnvError>;

    /// The last committed value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EnvError> {
        self.view()?.get(table, key)
    }

    /// Makes all changes durable and visible at once, or none of them.
    fn commit(&self, change: &dyn Change) -> Result<(), EnvError>;

    /// Bytes on disk.
    fn size(&self) -> u64;

    /// Bytes of these, about, that hold nothing now and are used again.
    fn reusable(&self) -> u64 {
        0
    }

    /// Forgets the views of processes that ended without giving theirs back.
    fn forget_dead_readers(&self) {}
}
