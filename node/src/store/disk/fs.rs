//! The disk of a real node: one directory, locked, on a local file system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};
use thiserror::Error;

use super::{DirectFile, Disk, DiskFile, DiskSpace, UncachedFile};

/// Magic numbers of file systems whose locks or syncs reach over a network.
const REFUSED: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x517B, "SMB"),
    (0x0102_1997, "9P"),
    (0x00C3_6400, "CephFS"),
    (0x5346_414F, "AFS"),
    (0x7461_636F, "OCFS2"),
];

/// Why a data directory cannot be used by this process.
#[derive(Debug, Error)]
pub enum OpenDirError {
    /// Another process holds the lock.
    #[error(
        "data directory {path} is in use by another process (it holds the lock on {path}/lock); \
         stop that process or give this node its own directory"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory lies on a network file system.
    #[error(
        "data directory {path} lies on {kind}, whose locks and syncs cannot be trusted; \
         use a local disk or a block volume"
    )]
    NetworkFileSystem {
        /// The directory.
        path: PathBuf,
        /// Name of the file system.
        kind: &'static str,
    },
    /// The operating system refused a call.
    #[error("cannot open data directory {path}: {source}; check that it exists and is writable")]
    Io {
        /// The file or directory that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A directory on a local file system, locked against other processes while this value lives.
pub struct FsDisk {
    root: PathBuf,
    _lock: File,
}

impl FsDisk {
    /// Creates the directory if need be, refuses network file systems and takes the lock.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, OpenDirError> {
        let root = root.into();
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| OpenDirError::Io { path, source }
        };
        fs::create_dir_all(&root).map_err(failed(&root))?;
        let stat = rustix::fs::statfs(&root).map_err(|e| failed(&root)(e.into()))?;
        if let Some(kind) = refused(u64::from_ne_bytes(stat.f_type.to_ne_bytes())) {
            return Err(OpenDirError::NetworkFileSystem { path: root, kind });
        }
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed(&path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenDirError::InUse { path: root }),
            Err(e) => Err(failed(&path)(e.into())),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn refused(magic: u64) -> Option<&'static str> {
    REFUSED
        .iter()
        .find(|(m, _)| *m == magic)
        .map(|(_, name)| *name)
}

impl Disk for FsDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.root.join(name))?;
        Ok(Arc::new(FsFile(file)))
    }

    fn open_uncached(&self, name: &str) -> io::Result<Box<dyn UncachedFile>> {
        Ok(Box::new(DirectFile::open(&self.root.join(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.root.join(name))?;
        Ok(Arc::new(FsFile(file)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        fs::create_dir_all(self.root.join(dir))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.root.join(dir))?.sync_all()
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(DiskSpace {
            free: stat.f_bavail * stat.f_frsize,
            total: stat.f_blocks * stat.f_frsize,
        })
    }
}

struct FsFile(File);

impl DiskFile for FsFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            Err(rustix::io::Errno::OPNOTSUPP) => {
                self.0.set_len(length.max(self.0.metadata()?.len()))
            }
            done => Ok(done?),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let first = FsDisk::open(dir.path()).unwrap();
        // flock belongs to the open file, so a second open stands for a second process.
        let error = FsDisk::open(dir.path()).err().unwrap();
        assert!(matches!(error, OpenDirError::InUse { .. }), "{error}");
        assert!(
            error.to_string().contains("in use by another process"),
            "{error}"
        );
        drop(first);
        FsDisk::open(dir.path()).unwrap();
    }

    #[test]
    fn network_file_systems_are_refused_by_magic_number() {
        assert_eq!(refused(0x6969), Some("NFS"));
        assert_eq!(refused(0xEF53), None);
    }

    #[test]
    fn files_are_written_read_listed_renamed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FsDisk::open(dir.path()).unwrap();
        disk.create_dir("a").unwrap();
        let file = disk.create("a/one").unwrap();
        file.allocate(4096).unwrap();
        file.write_all_at(b"hello", 10).unwrap();
        file.sync().unwrap();
        disk.rename("a/one", "a/two").unwrap();
        disk.sync_dir("a").unwrap();
        assert_eq!(disk.list("a").unwrap(), ["two"]);
        let mut buffer = [0; 5];
        disk.open("a/two")
            .unwrap()
            .read_exact_at(&mut buffer, 10)
            .unwrap();
        assert_eq!(&buffer, b"hello");
        assert_eq!(file.len().unwrap(), 4096);
        disk.remove("a/two").unwrap();
        assert_eq!(
            disk.open("a/two").err().unwrap().kind(),
            io::ErrorKind::NotFound
        );
        assert!(disk.list("nowhere").unwrap().is_empty());
        assert!(disk.space().unwrap().total > 0);
    }
}
