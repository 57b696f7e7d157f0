//! What the disk holds of the state file beside what the page cache holds of it: a node reads the
//! cache, and would not notice bits that rot beneath until it starts anew.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::path::Path;
use std::time::Duration;

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

use super::{Walk, damage};
use crate::store::disk::{DirectFile, UncachedFile};
use crate::store::failure::Damage;

/// Bytes of a page, of LMDB and of the cache.
pub(super) const PAGE: usize = 4096;

/// Pages read at a time.
const PIECE: usize = 64;

/// What a page costs beside, in bytes, that is not in the cache: to ask for it makes the kernel
/// read it once more, alone.
const MISS: u64 = 3 * PAGE as u64;

/// Times between looks at a page that differs: together more than the 30 s after which the kernel
/// has written what is dirty. Direct reads make most file systems do that at once.
const LOOKS: [Duration; 7] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(20),
];

/// A page that never stands still is left to the next pass after this many looks.
const MOST_LOOKS: usize = 40;

/// A file, as the disk and as the page cache hold it.
pub(super) trait Pages {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads what the disk holds and says how long that took.
    fn disk(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<Duration>;

    /// Reads a page if the cache holds it.
    fn cache(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<bool>;

    /// Drops pages from the cache.
    fn drop_cached(&self, offset: u64, length: u64);
}

/// Which pages the cache held when they were looked for; one bit each.
#[derive(Default)]
pub(super) struct Cached {
    bits: Vec<u64>,
    pages: u64,
}

impl Cached {
    fn push(&mut self, cached: bool) {
        if self.pages.is_multiple_of(64) {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= u64::from(cached) << (self.pages % 64);
        }
        self.pages += 1;
    }

    fn has(&self, page: u64) -> bool {
        let word = self.bits.get((page / 64) as usize);
        word.is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Calls `each` with first and length in bytes of every run from page `from` on that it has
    /// not.
    fn gaps(&self, from: u64, each: &mut dyn FnMut(u64, u64)) {
        let mut first = from;
        for page in from..=self.pages {
            if page == self.pages || self.has(page) {
                if first < page {
                    each(first * PAGE as u64, (page - first) * PAGE as u64);
                }
                first = page + 1;
            }
        }
    }
}

/// Compares all pages, and notes which of them were in the cache. Returns the first that differs.
pub(super) fn compare(
    pages: &mut dyn Pages,
    cached: &mut Cached,
    walk: &mut Walk<'_>,
) -> io::Result<Option<Damage>> {
    let length = pages.len()? / PAGE as u64 * PAGE as u64;
    let (mut disk, mut page) = (vec![0; PIECE * PAGE], vec![0; PAGE]);
    let mut at = 0;
    while at < length {
        let size = (length - at).min((PIECE * PAGE) as u64) as usize;
        let first = cached.pages;
        let (mut differ, mut misses) = (Vec::new(), 0);
        // The cache may change between the two reads; whoever differs is looked at again.
        let took = match pages.disk(&mut disk[..size], at) {
            Ok(took) => took,
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                return Ok(Some(damage(
                    at,
                    format!("the disk cannot read it: {error}"),
                )));
            }
            Err(error) => return Err(error),
        };
        for (on_disk, offset) in disk[..size].chunks(PAGE).zip((at..).step_by(PAGE)) {
            let is_cached = pages.cache(&mut page, offset)?;
            cached.push(is_cached);
            misses += u64::from(!is_cached);
            if is_cached && on_disk != page {
                differ.push(offset);
            }
        }
        for offset in differ {
            if differs(pages, offset, walk)? {
                let what = "the disk holds other bits than the page cache";
                return Ok(Some(damage(offset, what.to_owned())));
            }
        }
        cached.gaps(first, &mut |offset, length| {
            pages.drop_cached(offset, length);
        });
        walk.read(size as u64, misses * MISS, took)?;
        at += size as u64;
    }
    Ok(None)
}

/// Whether a page is one thing on disk and another in the cache while neither changes.
fn differs(pages: &mut dyn Pages, offset: u64, walk: &mut Walk<'_>) -> io::Result<bool> {
    let mut before = None;
    let mut still = 0;
    for _ in 0..MOST_LOOKS {
        let mut seen = (vec![0; PAGE], vec![0; PAGE]);
        pages.disk(&mut seen.0, offset)?;
        if !pages.cache(&mut seen.1, offset)? || seen.0 == seen.1 {
            return Ok(false);
        }
        if before.as_ref() != Some(&seen) {
            still = 0;
        }
        before = Some(seen);
        let Some(pause) = LOOKS.get(still) else {
            return Ok(true);
        };
        still += 1;
        walk.rest.rest(*pause)?;
    }
    Ok(false)
}

/// The file of a real node.
pub(super) struct FilePages {
    direct: DirectFile,
    file: File,
}

impl FilePages {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // To ask for a page that is not in the cache must not bring its neighbours in.
        rustix::fs::fadvise(&file, 0, None, Advice::Random)?;
        Ok(Self {
            direct: DirectFile::open(path)?,
            file,
        })
    }

    /// Whether the disk can be told from the cache.
    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_direct()
    }

    /// Drops from the cache what it did not hold before, but for what some process has mapped.
    pub(super) fn drop_others(&self, cached: &Cached) {
        cached.gaps(0, &mut |offset, length| {
            self.direct.drop_cached(offset, length);
        });
    }
}

impl Pages for FilePages {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn disk(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<Duration> {
        self.direct.read_exact_at(buffer, offset)
    }

    fn cache(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let whole = buffer.len();
        let mut buffers = [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&self.file, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == whole),
            // Not there, or the file system cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn drop_cached(&self, offset: u64, length: u64) {
        self.direct.drop_cached(offset, length);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pace, Rest};
    use super::*;

    /// A disk and a cache that may differ, and what happens at each rest.
    struct Fake {
        disk: Vec<u8>,
        cache: Vec<Option<Vec<u8>>>,
        /// Pages of the disk that change with each read.
        busy: Vec<u64>,
        /// The reads of a page after which it is on disk as it is in the cache.
        late: Option<(u64, u32)>,
    }

    impl Fake {
        fn new(pages: usize) -> Self {
            let disk: Vec<u8> = (0..pages * PAGE).map(|n| (n / 7) as u8).collect();
            let cache = disk.chunks(PAGE).map(|page| Some(page.to_vec())).collect();
            Self {
                disk,
                cache,
                busy: Vec::new(),
                late: None,
            }
        }
    }

    impl Pages for Fake {
        fn len(&self) -> io::Result<u64> {
            Ok(self.disk.len() as u64)
        }

        fn disk(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<Duration> {
            let start = offset as usize;
            for page in &self.busy {
                let byte = &mut self.disk[*page as usize * PAGE];
                *byte = byte.wrapping_add(1);
            }
            if let Some((page, reads)) = &mut self.late {
                *reads -= 1;
                if *reads == 0 {
                    let page = *page as usize;
                    let cached = self.cache[page].clone().unwrap();
                    self.disk[page * PAGE..][..PAGE].copy_from_slice(&cached);
                    self.late = None;
                }
            }
            buffer.copy_from_slice(&self.disk[start..start + buffer.len()]);
            Ok(Duration::ZERO)
        }

        fn cache(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
            let page = &self.cache[offset as usize / PAGE];
            if let Some(page) = page {
                buffer.copy_from_slice(page);
            }
            Ok(page.is_some())
        }

        fn drop_cached(&self, offset: u64, length: u64) {
            for page in offset / PAGE as u64..(offset + length) / PAGE as u64 {
                assert!(
                    self.cache[page as usize].is_none(),
                    "page {page} was there before"
                );
            }
        }
    }

    #[derive(Default)]
    struct Slept(Duration);

    impl Rest for Slept {
        fn rest(&mut self, time: Duration) -> io::Result<()> {
            self.0 += time;
            Ok(())
        }
    }

    fn found(pages: &mut Fake) -> (Option<Damage>, Cached, Duration) {
        let (mut cached, mut slept) = (Cached::default(), Slept::default());
        let mut walk = Walk {
            pace: Pace(u64::MAX),
            rest: &mut slept,
            bytes: 0,
        };
        let found = compare(pages, &mut cached, &mut walk).unwrap();
        (found, cached, slept.0)
    }

    #[test]
    fn a_bit_that_rots_beneath_the_cache_is_found() {
        let mut pages = Fake::new(200);
        assert_eq!(found(&mut pages).0, None);
        pages.disk[150 * PAGE + 77] ^= 4;
        let (damage, _, slept) = found(&mut pages);
        let damage = damage.unwrap();
        assert_eq!(
            (damage.file.as_str(), damage.offset),
            (super::super::FILE, 150 * 4096)
        );
        assert!(slept > Duration::from_secs(35), "{slept:?}");
        pages.cache[150] = None;
        assert_eq!(found(&mut pages).0, None, "its CRC tells");
    }

    #[test]
    fn a_page_that_is_being_written_is_no_damage() {
        let mut pages = Fake::new(100);
        pages.busy = vec![1];
        assert_eq!(found(&mut pages).0, None, "it is written all the time");
        let mut pages = Fake::new(100);
        pages.disk[70 * PAGE] ^= 1;
        pages.late = Some((70, 7));
        assert_eq!(found(&mut pages).0, None, "the cache is written late");
    }

    #[test]
    fn only_what_was_not_in_the_cache_leaves_it() {
        let mut pages = Fake::new(130);
        for page in [0, 5, 6, 63, 64, 65, 129] {
            pages.cache[page] = None;
        }
        let cached = found(&mut pages).1;
        let mut gaps = Vec::new();
        cached.gaps(0, &mut |offset, length| {
            gaps.push((offset / 4096, length / 4096));
        });
        assert_eq!(gaps, [(0, 1), (5, 2), (63, 3), (129, 1)]);
    }
}
