//! What the store asks of a file system, so that a simulated one can take its place.

mod direct;
mod fs;
mod sim;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use direct::DirectFile;
pub use fs::{FsDisk, OpenDirError};
pub use sim::{CrashPlan, SimDisk, SimFaults};

/// Free and total bytes of the file system that holds the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes this process may still write.
    pub free: u64,
    /// Size of the file system in bytes.
    pub total: u64,
}

/// A directory of files, named relative to it with `/`, as in `journal/0003`.
///
/// Calls block. What was written is read back at once. It survives a crash only after
/// [`DiskFile::sync`]; what was created, renamed or removed only after [`Disk::sync_dir`].
pub trait Disk: Send + Sync + 'static {
    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists, to read what the disk itself holds of it. What a disk without a
    /// page cache holds is what every reader sees.
    fn open_uncached(&self, name: &str) -> io::Result<Box<dyn UncachedFile>> {
        Ok(Box::new(Cacheless(self.open(name)?)))
    }

    /// Creates an empty file or empties the one that is there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Names (without the directory) of the files in a directory, sorted; none if it is missing.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Creates a directory and its parents; no error if it is there.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Renames a file over whatever has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in a directory (`""` is the top) as durable as the files.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Free and total space.
    fn space(&self) -> io::Result<DiskSpace>;

    /// How long a simulated loop sleeps between two steps; a real disk takes its time by itself.
    fn pause(&self) -> Option<Duration> {
        None
    }
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync {
    /// Fills `buffer` from `offset`; an error of kind `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` at `offset`; not durable before [`DiskFile::sync`].
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Makes every write that returned before this call durable, and the file's length with it.
    ///
    /// After an error nobody knows what is on disk: the caller stops, it never retries.
    fn sync(&self) -> io::Result<()>;

    /// Reserves space for `length` bytes and makes the file at least that long.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// An open file of a [`Disk`] that is read past the page cache.
pub trait UncachedFile: Send {
    /// Fills `buffer` from `offset` and says how long the disk took, which is no time in a
    /// simulation; an error of kind `UnexpectedEof` if the file ends before.
    ///
    /// What was synced before is seen; of what was written since, any part.
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<Duration>;
}

struct Cacheless(Arc<dyn DiskFile>);

impl UncachedFile for Cacheless {
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<Duration> {
        self.0.read_exact_at(buffer, offset)?;
        Ok(Duration::ZERO)
    }
}
