//! The journal's files: those in use, by number, and those that wait to be used again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::disk::{Disk, DiskFile, UncachedFile};
use crate::store::metrics::StoreMetrics;

/// Directory of the segments.
pub(super) const DIR: &str = "journal";

/// A file of the journal.
#[derive(Clone)]
pub(super) struct Slot {
    /// Name relative to the data directory.
    pub name: String,
    pub file: Arc<dyn DiskFile>,
}

/// Files in use and spare. Files keep their names: what number a segment has stands in it.
pub(super) struct Segments {
    disk: Arc<dyn Disk>,
    bytes: u32,
    state: Mutex<State>,
}

/// A file in use.
pub(super) struct Used {
    pub slot: Slot,
    /// Bytes at its beginning that hold frames that were synced.
    pub end: u32,
}

#[derive(Default)]
struct State {
    used: BTreeMap<u32, Used>,
    /// Used again in the order in which they became free, so that the used ones stay in a row.
    spare: VecDeque<Slot>,
    next_name: u32,
}

impl Segments {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        bytes: u32,
        used: BTreeMap<u32, Used>,
        spare: VecDeque<Slot>,
    ) -> Self {
        let names = used
            .values()
            .map(|used| &used.slot)
            .chain(&spare)
            .filter_map(|slot| number_of(&slot.name));
        let next_name = names.max().map_or(0, |n| n + 1);
        Self {
            disk,
            bytes,
            state: Mutex::new(State {
                used,
                spare,
                next_name,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of every segment.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Number of segments in use.
    pub(super) fn in_use(&self) -> usize {
        self.state().used.len()
    }

    /// Tells how many are in use, and their bytes.
    pub(super) fn count_in(&self, metrics: &StoreMetrics) {
        metrics.segments(self.in_use(), self.bytes);
    }

    pub(super) fn get(&self, segment: u32) -> Option<Slot> {
        let state = self.state();
        state.used.get(&segment).map(|used| used.slot.clone())
    }

    /// Notes that the frames in the first `end` bytes of a segment are on disk.
    pub(super) fn synced(&self, segment: u32, end: u32) {
        if let Some(used) = self.state().used.get_mut(&segment) {
            used.end = end;
        }
    }

    /// The first segment from `from` on with its file and its synced bytes.
    pub(super) fn first_from(&self, from: u32) -> Option<(u32, Slot, u32)> {
        let state = self.state();
        let (number, used) = state.used.range(from..).next()?;
        Some((*number, used.slot.clone(), used.end))
    }

    /// The newest segment in use.
    pub(super) fn newest(&self) -> Option<u32> {
        self.state().used.keys().next_back().copied()
    }

    /// Opens the file of a slot past the page cache.
    pub(super) fn open_uncached(&self, slot: &Slot) -> io::Result<Box<dyn UncachedFile>> {
        self.disk.open_uncached(&slot.name)
    }

    /// The oldest segment in use, unless it is also the newest.
    pub(super) fn oldest(&self) -> Option<u32> {
        let state = self.state();
        let first = state.used.keys().next().copied();
        first.filter(|_| state.used.len() > 1)
    }

    /// Takes a file for a new segment: a spare one, else a new one.
    pub(super) fn take(&self, segment: u32) -> io::Result<Slot> {
        let spare = self.state().spare.pop_front();
        let slot = match spare {
            Some(slot) => slot,
            None => self.create(false)?,
        };
        let used = Used {
            slot: slot.clone(),
            end: 0,
        };
        self.state().used.insert(segment, used);
        Ok(slot)
    }

    /// Makes a spare file if there is none, so that the writer need not wait for one.
    pub(super) fn prepare(&self) -> io::Result<()> {
        if self.state().spare.is_empty() {
            let slot = self.create(true)?;
            self.state().spare.push_back(slot);
        }
        Ok(())
    }

    /// Makes the file of a segment free to be used again; at most `keep` stay, the rest goes.
    ///
    /// No other spare file is used before the removal is durable: a file that comes back after a
    /// power loss must still be followed by the segments after it.
    pub(super) fn free(&self, segment: u32, keep: usize) -> io::Result<()> {
        let mut state = self.state();
        if let Some(used) = state.used.remove(&segment) {
            state.spare.push_back(used.slot);
        }
        if state.spare.len() <= keep {
            return Ok(());
        }
        match state.spare.pop_front() {
            Some(slot) => {
                self.disk.remove(&slot.name)?;
                self.disk.sync_dir(DIR)
            }
            None => Ok(()),
        }
    }

    fn create(&self, zeroed: bool) -> io::Result<Slot> {
        let number = {
            let mut state = self.state();
            state.next_name += 1;
            state.next_name - 1
        };
        let name = format!("{DIR}/{number:08}");
        let made = self.fill(&name, zeroed);
        if made.is_err() {
            // Half a file helps nobody, and its space may be what is missing.
            let _ = self.disk.remove(&name);
        }
        Ok(Slot { name, file: made? })
    }

    fn fill(&self, name: &str, zeroed: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(name)?;
        file.allocate(u64::from(self.bytes))?;
        if zeroed {
            // The first write to blocks that were only reserved costs a sync twice its time.
            let zeros = vec![0; 1 << 20];
            let mut at = 0;
            while at < self.bytes {
                let length = (self.bytes - at).min(1 << 20);
                file.write_all_at(&zeros[..length as usize], u64::from(at))?;
                at += length;
            }
        }
        file.sync()?;
        self.disk.sync_dir(DIR)?;
        Ok(file)
    }
}

fn number_of(name: &str) -> Option<u32> {
    name.rsplit('/').next()?.parse().ok()
}
