//! Disk space kept for what must go on when everything else is refused.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::Disk;

const NAME: &str = "reserve";
/// Free space in bytes that is not moved into.
const LEAST: u64 = 32 << 20;

/// Removes the reserve of a store that is not open. Returns whether there was one.
pub fn give_up_reserve(disk: &dyn Disk) -> bool {
    disk.remove(NAME).is_ok()
}

/// A file that only takes up space, until the space is needed. Clones are the same reserve.
#[derive(Clone)]
pub(super) struct Reserve(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    bytes: u64,
    /// Per cent of the file system below which sends are refused.
    percent: u64,
    held: Mutex<bool>,
    /// It was given up, and there has not been space for it since.
    given_up: AtomicBool,
    room: AtomicU64,
    /// Free, in the file system and in files that do not shrink.
    free: AtomicU64,
}

/// What the free space of the file system does not show, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hidden {
    /// In files that do not shrink, and used again.
    pub reusable: u64,
    /// Needed soon for what was accepted already.
    pub owed: u64,
}

impl Reserve {
    /// Sets `bytes` aside if there is space; 0 keeps no reserve. Sends are refused below
    /// `percent` of the file system or `bytes`, whichever is more.
    pub(super) fn open(disk: Arc<dyn Disk>, bytes: u64, percent: u64) -> Self {
        // The one of an earlier start is there when space is short, and then it is needed most.
        let there = disk.open(NAME).and_then(|file| file.len());
        let inner = Inner {
            held: Mutex::new(bytes > 0 && there.is_ok_and(|length| length >= bytes)),
            disk,
            bytes,
            percent,
            given_up: AtomicBool::new(false),
            free: AtomicU64::new(0),
            room: AtomicU64::new(0),
        };
        let reserve = Self(Arc::new(inner));
        reserve.refresh(Hidden::default());
        reserve
    }

    /// Gives the reserve up. Returns whether there was one.
    pub(super) fn release(&self) -> bool {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let had = std::mem::take(&mut *held);
        if had {
            self.0.given_up.store(true, Ordering::Relaxed);
        }
        had && self.0.disk.remove(NAME).is_ok()
    }

    /// Looks at the disk again: sets the reserve aside when there is twice its space.
    ///
    /// The reserve is no room: it is for what goes on when sends are refused.
    pub(super) fn refresh(&self, hidden: Hidden) {
        let Ok(mut space) = self.0.disk.space() else {
            return;
        };
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !*held && self.0.bytes > 0 && space.free > 2 * self.0.bytes {
            *held = self.set_aside().is_ok();
            if *held {
                space.free -= self.0.bytes;
                self.0.given_up.store(false, Ordering::Relaxed);
            }
        }
        let mark = self.0.bytes.max(space.total / 100 * self.0.percent);
        let free = space.free + hidden.reusable;
        self.0.free.store(free, Ordering::Relaxed);
        let room = free.saturating_sub(mark + hidden.owed);
        self.0.room.store(room, Ordering::Relaxed);
    }

    fn set_aside(&self) -> io::Result<()> {
        self.0.disk.create(NAME)?.allocate(self.0.bytes)
    }

    /// Whether what may as well stay where it is may take `bytes` more. The reserve, once it is
    /// given up, is for what makes room: settlements, and the rows that go with them.
    pub(super) fn may_move(&self, bytes: u64) -> bool {
        let enough = self.0.free.load(Ordering::Relaxed) >= bytes + LEAST;
        enough && !self.0.given_up.load(Ordering::Relaxed)
    }

    /// Bytes above the mark when the disk was last looked at.
    pub(super) fn room(&self) -> u64 {
        self.0.room.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::{SimDisk, SimFaults};
    use super::*;

    #[test]
    fn the_reserve_is_given_up_once_and_taken_back_when_there_is_space() {
        let disk = SimDisk::new(1);
        let reserve = Reserve::open(Arc::new(disk.clone()), 1 << 20, 5);
        assert_eq!(disk.contents("reserve").unwrap().len(), 1 << 20);
        assert!(reserve.room() > 0);
        assert!(reserve.release());
        assert!(!reserve.release());
        disk.set_faults(SimFaults {
            full: true,
            ..SimFaults::default()
        });
        reserve.refresh(Hidden::default());
        assert_eq!(reserve.room(), 0);
        disk.set_faults(SimFaults::default());
        reserve.refresh(Hidden::default());
        assert!(reserve.room() > 0 && disk.contents("reserve").is_some());
    }

    #[test]
    fn the_reserve_of_an_earlier_start_is_given_up_too() {
        let disk = SimDisk::new(1);
        drop(Reserve::open(Arc::new(disk.clone()), 1 << 20, 5));
        disk.set_faults(SimFaults {
            full: true,
            ..SimFaults::default()
        });
        let reserve = Reserve::open(Arc::new(disk.clone()), 1 << 20, 5);
        assert!(reserve.release());
        assert!(disk.contents("reserve").is_none());
    }

    #[test]
    fn what_is_given_up_is_not_moved_into() {
        let disk = SimDisk::new(1);
        let reserve = Reserve::open(Arc::new(disk), 1 << 20, 5);
        assert!(reserve.may_move(1 << 20) && !reserve.may_move(u64::MAX / 2));
        assert!(reserve.release() && !reserve.may_move(1));
        reserve.refresh(Hidden::default());
        assert!(reserve.may_move(1));
    }

    #[test]
    fn room_counts_what_is_used_again_and_what_is_owed() {
        let disk = SimDisk::new(1);
        let reserve = Reserve::open(Arc::new(disk), 1 << 20, 5);
        let room = reserve.room();
        let (reusable, owed) = (3 << 20, 1 << 20);
        reserve.refresh(Hidden { reusable, owed: 0 });
        assert_eq!(reserve.room(), room + reusable);
        reserve.refresh(Hidden { reusable: 0, owed });
        assert_eq!(reserve.room(), room - owed);
        reserve.refresh(Hidden {
            reusable: 0,
            owed: u64::MAX / 2,
        });
        assert_eq!(reserve.room(), 0);
    }
}
