//! Reading a file past the page cache: by direct I/O, else with the cache emptied around the read.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::Advice;
use rustix::io::Errno;

use super::UncachedFile;

/// Place, length and memory of a direct read are multiples of this: the largest that common disks
/// ask for.
const ALIGN: usize = 4096;

/// A file on a local file system, read with `O_DIRECT` where the file system has that. Elsewhere
/// (some `tmpfs` and `overlayfs`) its pages are dropped from the cache before and after each
/// read; pages that a process has mapped stay, and what was read may be the cache's.
pub struct DirectFile {
    direct: Option<File>,
    plain: File,
    buffer: Vec<u8>,
}

impl DirectFile {
    /// Opens a file that exists.
    pub fn open(path: &Path) -> io::Result<Self> {
        let plain = File::open(path)?;
        let mut options = OpenOptions::new();
        let direct = match options.read(true).custom_flags(libc::O_DIRECT).open(path) {
            Ok(file) => Some(file),
            Err(error) if is_unsupported(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            direct,
            plain,
            buffer: Vec::new(),
        })
    }

    /// Whether the cache is surely passed by.
    pub fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Drops pages from the page cache that are neither dirty nor mapped; a file system that
    /// cannot does nothing.
    pub fn drop_cached(&self, offset: u64, length: u64) {
        if let Some(length) = NonZeroU64::new(length) {
            let _ = rustix::fs::fadvise(&self.plain, offset, Some(length), Advice::DontNeed);
        }
    }

    fn read_around(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let length = buffer.len() as u64;
        self.drop_cached(offset, length);
        let read = self.plain.read_exact_at(buffer, offset);
        self.drop_cached(offset, length);
        read
    }
}

impl UncachedFile for DirectFile {
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<Duration> {
        let begun = Instant::now();
        if let Some(file) = &self.direct {
            match read_direct(file, &mut self.buffer, buffer, offset) {
                Ok(()) => return Ok(begun.elapsed()),
                Err(error) if is_unsupported(&error) => self.direct = None,
                Err(error) => return Err(error),
            }
        }
        self.read_around(buffer, offset)?;
        Ok(begun.elapsed())
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Reads the aligned range around what is asked for into `scratch`, and copies that out.
fn read_direct(
    file: &File,
    scratch: &mut Vec<u8>,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<()> {
    let from = offset / ALIGN as u64 * ALIGN as u64;
    let skip = (offset - from) as usize;
    let wanted = skip + buffer.len();
    let length = wanted.next_multiple_of(ALIGN);
    if scratch.len() < length + ALIGN {
        scratch.resize(length + ALIGN, 0);
    }
    let start = scratch.as_ptr().align_offset(ALIGN).min(ALIGN);
    let aligned = &mut scratch[start..start + length];
    let mut got = 0;
    while got < wanted {
        let read = match file.read_at(&mut aligned[got..], from + got as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        got += read;
        // A read that ends within a block has met the end of the file.
        if read % ALIGN != 0 || read == 0 {
            break;
        }
    }
    if got < wanted {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    buffer.copy_from_slice(&aligned[skip..wanted]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 31 + n / 4096) as u8).collect()
    }

    #[test]
    fn any_range_of_a_file_is_read_and_none_beyond_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes = pattern(3 * 4096 + 700);
        std::fs::write(&path, &bytes).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        let mut files = [(); 2].map(|()| DirectFile::open(&path).unwrap());
        files[1].direct = None;
        for file in &mut files {
            for (offset, length) in [
                (0, 1),
                (511, 4098),
                (4096, 4096),
                (12_000, 988),
                (0, 12_988),
            ] {
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, offset as u64).unwrap();
                assert_eq!(buffer, bytes[offset..offset + length], "{offset} {length}");
            }
            let beyond = file.read_exact_at(&mut [0; 989], 12_000).unwrap_err();
            assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
