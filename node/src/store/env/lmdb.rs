//! The environment of a real node: LMDB, synced on every commit.

use std::fs::{self, File};
use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::Path;

use bytes::Bytes;
use heed::types::Bytes as Raw;
use heed::{CommitOrAbort, Database, EnvFlags, EnvOpenOptions, MdbError, RoTxn, WithoutTls};
use rustix::io::Errno;

use super::{Change, Env, EnvError, EnvView, Table, Visit};

type Rows = Database<'static, Raw, Raw>;

/// LMDB's pages have the size of the machine's.
const PAGE: u64 = 4096;
const NAMES: [&str; 4] = ["groups", "rows", "payloads", "garbage"];

/// An LMDB environment.
pub struct LmdbEnv {
    /// The file of `env`, opened once more.
    file: File,
    env: heed::Env<WithoutTls>,
    tables: [Rows; 4],
}

impl LmdbEnv {
    /// Opens or creates the environment in `dir`; it may grow to `map_bytes`.
    ///
    /// The caller holds the data directory's lock, so no other process has it open.
    #[allow(unsafe_code)]
    pub fn open(dir: &Path, map_bytes: usize) -> Result<Self, EnvError> {
        fs::create_dir_all(dir)?;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options
            .map_size(map_bytes.next_multiple_of(4096))
            .max_dbs(8)
            .max_readers(256);
        // SAFETY: the map changes under us only if somebody else writes the file; the data
        // directory is locked, and the file's shape was checked before.
        let env = unsafe { options.open(dir) }.map_err(refused)?;
        let txn = env.write_txn().map_err(refused)?;
        let tables = env
            .create_databases_and_commit(txn, |make, txn| {
                let [a, b, c, d] = NAMES.map(|name| make.create_database(txn, Some(name)));
                Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((a?, b?, c?, d?)))
            })
            .map_err(refused)?;
        let Some((a, b, c, d)) = tables.commit() else {
            return Err(EnvError::Io(io::Error::other(
                "the tables were not created",
            )));
        };
        Ok(Self {
            file: File::open(dir.join("data.mdb"))?,
            env,
            tables: [a, b, c, d],
        })
    }
}

impl LmdbEnv {
    /// Opens the environment in `dir` to read it beside the process that uses it; never in that
    /// process itself. Nothing is written but a place in the table of readers, and no lock is
    /// held between views.
    #[allow(unsafe_code)]
    pub fn open_beside(dir: &Path) -> Result<Self, EnvError> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.max_dbs(8).max_readers(256);
        // SAFETY: the map is only read, and changes under us by LMDB's own rules alone; where the
        // file is damaged this process, which is made for that, may crash.
        let env = unsafe {
            options.flags(EnvFlags::READ_ONLY);
            options.open(dir)
        };
        let env = env.map_err(refused)?;
        let txn = env.clone().static_read_txn().map_err(refused)?;
        let tables = env
            .open_databases_and_commit(txn, |open, txn| {
                let [a, b, c, d] = NAMES.map(|name| open.open_database(txn, Some(name)));
                let tables = (a?, b?, c?, d?);
                Ok::<_, heed::Error>(match tables {
                    (Some(a), Some(b), Some(c), Some(d)) => CommitOrAbort::Commit((a, b, c, d)),
                    _ => CommitOrAbort::Abort(()),
                })
            })
            .map_err(refused)?;
        let Some((a, b, c, d)) = tables.commit() else {
            return Err(EnvError::Damaged("a table is missing".to_owned()));
        };
        Ok(Self {
            file: File::open(dir.join("data.mdb"))?,
            env,
            tables: [a, b, c, d],
        })
    }

    /// LMDB calls a write that the file system took only a part of an input/output error
    /// (`mdb_page_flush`: "short write, filesystem full?"). Nothing of it was committed. An error
    /// of the disk is told to every open file of it once more, to this one too.
    fn was_cut_short(&self, error: &io::Error) -> bool {
        let is_eio = error.raw_os_error() == Some(Errno::IO.raw_os_error());
        is_eio && self.file.sync_data().is_ok()
    }

    fn write(&self, change: &dyn Change) -> Result<(), EnvError> {
        let mut txn = self.env.write_txn().map_err(refused)?;
        change.each(&mut |table, key, value| {
            let rows = &self.tables[table as usize];
            match value {
                Some(value) => rows.put(&mut txn, key, value).map_err(refused),
                None => rows.delete(&mut txn, key).map(drop).map_err(refused),
            }
        })?;
        txn.commit().map_err(refused)
    }
}

/// What an error of LMDB means to the store.
fn refused(error: heed::Error) -> EnvError {
    match error {
        heed::Error::Io(error) => match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                EnvError::Full(error.to_string())
            }
            _ => EnvError::Io(error),
        },
        heed::Error::Mdb(error @ (MdbError::MapFull | MdbError::TxnFull)) => {
            EnvError::Full(error.to_string())
        }
        heed::Error::Mdb(
            error @ (MdbError::Corrupted
            | MdbError::PageNotFound
            | MdbError::Invalid
            | MdbError::VersionMismatch),
        ) => EnvError::Damaged(error.to_string()),
        other => EnvError::Io(io::Error::other(other)),
    }
}

impl Env for LmdbEnv {
    fn view(&self) -> Result<Box<dyn EnvView>, EnvError> {
        let txn = self.env.clone().static_read_txn().map_err(refused)?;
        Ok(Box::new(View {
            txn,
            tables: self.tables,
        }))
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EnvError> {
        let txn = self.env.read_txn().map_err(refused)?;
        let value = self.tables[table as usize]
            .get(&txn, key)
            .map_err(refused)?;
        Ok(value.map(Bytes::copy_from_slice))
    }

    fn commit(&self, change: &dyn Change) -> Result<(), EnvError> {
        self.write(change).map_err(|error| match error {
            EnvError::Io(error) if self.was_cut_short(&error) => EnvError::Full(error.to_string()),
            error => error,
        })
    }

    fn size(&self) -> u64 {
        self.env.real_disk_size().unwrap_or(0)
    }

    fn forget_dead_readers(&self) {
        if let Err(error) = self.env.clear_stale_readers() {
            tracing::warn!(%error, "LMDB's table of readers could not be cleared");
        }
    }

    fn reusable(&self) -> u64 {
        let Ok(txn) = self.env.read_txn() else {
            return 0;
        };
        let mut used = 0;
        for table in &self.tables {
            let Ok(stat) = table.stat(&txn) else {
                return 0;
            };
            used += stat.non_free_page_size() as u64;
        }
        let pages = self.env.info().last_page_number as u64 + 1;
        (pages * PAGE).saturating_sub(used)
    }
}

struct View {
    txn: RoTxn<'static, WithoutTls>,
    tables: [Rows; 4],
}

impl EnvView for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EnvError> {
        let value = self.tables[table as usize]
            .get(&self.txn, key)
            .map_err(refused)?;
        Ok(value.map(Bytes::copy_from_slice))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), EnvError> {
        if from >= end {
            return Ok(());
        }
        let range = (Bound::Included(from), Bound::Excluded(end));
        for row in self.tables[table as usize]
            .range(&self.txn, &range)
            .map_err(refused)?
        {
            let (key, value) = row.map_err(refused)?;
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
