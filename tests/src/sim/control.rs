//! Control runs: with one protection switched off the oracle must find something.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use roadstead_node::store::disk::{Disk, DiskFile, DiskSpace, SimDisk};

/// Which protection is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Control {
    /// None: an ordinary run.
    #[default]
    None,
    /// The disk says that it has synced the journal, and has not.
    NoSync,
    /// The clock that leases are measured by jumps ahead.
    ClockJumps,
}

/// A disk that does not sync the journal.
pub struct LyingDisk(pub SimDisk);

struct LyingFile(Arc<dyn DiskFile>);

impl LyingDisk {
    fn file(name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if name.starts_with("journal") {
            Arc::new(LyingFile(file))
        } else {
            file
        }
    }
}

impl Disk for LyingDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Self::file(name, self.0.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Self::file(name, self.0.create(name)?))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.0.create_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.0.space()
    }

    fn pause(&self) -> Option<Duration> {
        self.0.pause()
    }
}

impl DiskFile for LyingFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.0.allocate(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}
