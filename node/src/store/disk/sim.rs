//! A disk in memory that loses, tears and refuses what a real one might.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Disk, DiskFile, DiskSpace};

/// Bytes a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What a simulated disk does to its user.
#[derive(Debug, Clone, Default)]
pub struct SimFaults {
    /// Longest pause between two steps of a loop; the pause is random and shorter.
    pub longest_pause: Duration,
    /// Every sync fails from now on.
    pub fail_sync: bool,
    /// Writes and allocations that need new space fail with `StorageFull`.
    pub full: bool,
}

/// The power is cut in the middle of a write; tests walk through every place of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashPlan {
    /// Number of the write (from 0, since the disk was made) that is cut.
    pub write: u64,
    /// Bytes of it that still reach the file.
    pub bytes: usize,
}

/// A disk in memory. Clones are the same disk, as a remounted volume would be.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    rng: StdRng,
    faults: SimFaults,
    plan: Option<CrashPlan>,
    writes: u64,
    syncs: u64,
    /// Grows with every crash: files opened before it answer errors.
    boot: u64,
    down: bool,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    files: Vec<Content>,
}

#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl SimDisk {
    /// An empty disk whose accidents follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed),
            faults: SimFaults::default(),
            plan: None,
            writes: 0,
            syncs: 0,
            boot: 0,
            down: false,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            files: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: SimFaults) {
        self.state().faults = faults;
    }

    /// Cuts the power in the middle of a later write; every call after it fails until
    /// [`SimDisk::restart`].
    pub fn plan_crash(&self, plan: CrashPlan) {
        self.state().plan = Some(plan);
    }

    /// Writes and syncs so far.
    pub fn calls(&self) -> (u64, u64) {
        let state = self.state();
        (state.writes, state.syncs)
    }

    /// Power loss and restart: of what was not synced, any part may be gone, by sectors.
    ///
    /// Files opened before answer errors afterwards.
    pub fn crash(&self) {
        let mut state = self.state();
        state.lose_unsynced(true);
        state.come_back();
    }

    /// Restart after a planned crash: all that was not synced is gone but the planned bytes.
    pub fn restart(&self) {
        let mut state = self.state();
        state.lose_unsynced(false);
        state.come_back();
    }

    /// Flips one bit of a file, behind everybody's back.
    pub fn flip(&self, name: &str, offset: usize, bit: u8) {
        let mut state = self.state();
        if let Some(&id) = state.names.get(name) {
            let content = &mut state.files[id];
            for bytes in [&mut content.durable, &mut content.now] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= 1 << (bit & 7);
                }
            }
        }
    }

    /// Whether anything was written that a power loss may take.
    pub fn has_unsynced(&self) -> bool {
        self.state()
            .files
            .iter()
            .any(|content| !content.unsynced.is_empty())
    }

    /// The bytes of a file as they are now.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|&id| state.files[id].now.clone())
    }

    fn file(&self, id: usize, boot: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            disk: self.clone(),
            id,
            boot,
        })
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        if self.down {
            Err(io::Error::other("the simulated disk lost its power"))
        } else {
            Ok(())
        }
    }

    fn lose_unsynced(&mut self, at_random: bool) {
        for content in &mut self.files {
            for (offset, data) in std::mem::take(&mut content.unsynced) {
                let kept = if at_random {
                    self.rng.random_range(0..4)
                } else {
                    0
                };
                match kept {
                    // Some sectors reached the platter, in any order.
                    1 => {
                        for (n, sector) in data.chunks(SECTOR).enumerate() {
                            if self.rng.random_bool(0.5) {
                                put(&mut content.durable, offset + (n * SECTOR) as u64, sector);
                            }
                        }
                    }
                    2 => {
                        let length = self.rng.random_range(0..=data.len());
                        put(&mut content.durable, offset, &data[..length]);
                    }
                    3 => put(&mut content.durable, offset, &data),
                    _ => {}
                }
            }
            content.now.clone_from(&content.durable);
        }
        if !at_random || self.rng.random_bool(0.5) {
            self.names = self.durable_names.clone();
        } else {
            self.durable_names = self.names.clone();
        }
    }

    fn come_back(&mut self) {
        self.boot += 1;
        self.down = false;
        self.plan = None;
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

fn is_in(name: &str, dir: &str) -> bool {
    match name.rsplit_once('/') {
        Some((parent, _)) => parent == dir,
        None => dir.is_empty(),
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.check()?;
        let id = *state.names.get(name).ok_or_else(|| missing(name))?;
        Ok(self.file(id, state.boot))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.check()?;
        if state.faults.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = state.files.len();
        state.files.push(Content::default());
        state.names.insert(name.to_owned(), id);
        Ok(self.file(id, state.boot))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check()?;
        let inside = state.names.keys().filter(|name| is_in(name, dir));
        Ok(inside
            .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned())
            .collect())
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        self.state().check()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check()?;
        let id = state.names.remove(from).ok_or_else(|| missing(from))?;
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check()?;
        state
            .names
            .remove(name)
            .map(|_| ())
            .ok_or_else(|| missing(name))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check()?;
        let state = &mut *state;
        state.durable_names.retain(|name, _| !is_in(name, dir));
        let now = state.names.iter().filter(|(name, _)| is_in(name, dir));
        state
            .durable_names
            .extend(now.map(|(name, id)| (name.clone(), *id)));
        Ok(())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let state = self.state();
        state.check()?;
        let total: u64 = 1 << 40;
        let used: u64 = state
            .names
            .values()
            .map(|&id| state.files[id].now.len() as u64)
            .sum();
        let free = if state.faults.full {
            0
        } else {
            total.saturating_sub(used)
        };
        Ok(DiskSpace { free, total })
    }

    fn pause(&self) -> Option<Duration> {
        let mut state = self.state();
        let longest = u64::try_from(state.faults.longest_pause.as_micros()).unwrap_or(u64::MAX);
        (longest > 0).then(|| Duration::from_micros(state.rng.random_range(0..longest)))
    }
}

struct SimFile {
    disk: SimDisk,
    id: usize,
    boot: u64,
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.check()?;
        if state.boot == self.boot {
            Ok(state)
        } else {
            Err(io::Error::other("this file was opened before the crash"))
        }
    }
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state()?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = state.files[self.id]
            .now
            .get(start..start.saturating_add(buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let number = state.writes;
        state.writes += 1;
        if let Some(plan) = state.plan.filter(|plan| plan.write == number) {
            let reached = &data[..plan.bytes.min(data.len())];
            let content = &mut state.files[self.id];
            put(&mut content.durable, offset, reached);
            state.down = true;
            return Err(io::Error::other(
                "the simulated disk lost its power in a write",
            ));
        }
        let full = state.faults.full;
        let content = &mut state.files[self.id];
        if full && offset + data.len() as u64 > content.now.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut content.now, offset, data);
        content.unsynced.push((offset, data.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        state.syncs += 1;
        if state.faults.fail_sync {
            return Err(io::Error::other("the simulated disk failed to sync"));
        }
        let content = &mut state.files[self.id];
        content.durable.resize(content.now.len(), 0);
        for (offset, data) in std::mem::take(&mut content.unsynced) {
            put(&mut content.durable, offset, &data);
        }
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let full = state.faults.full;
        let content = &mut state.files[self.id];
        if content.now.len() < length {
            if full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            content.now.resize(length, 0);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.files[self.id].now.len() as u64)
    }
}
