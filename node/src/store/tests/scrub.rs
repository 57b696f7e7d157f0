//! What is on disk is read again while it is in use: damage is found, and nothing else is taken
//! for it.

use std::sync::Arc;
use std::time::Duration;

use super::{entry, log_id, small};
use crate::store::disk::SimDisk;
use crate::store::drivers::{Drivers, Turn};
use crate::store::env::MemoryEnv;
use crate::store::failure::Damage;
use crate::store::journal::{Checked, SegmentCheck};
use crate::store::scrub::ScrubOptions;
use crate::store::{Store, StoreFailure, StoreOptions};

/// A store whose loops are turned by hand.
struct Machine {
    store: Store,
    drivers: Drivers,
}

const WRITER: usize = 0;
const SCRUBBER: usize = 4;

impl Machine {
    fn open(disk: &SimDisk) -> Self {
        let options = StoreOptions {
            scrub: ScrubOptions {
                bytes_per_second: 1 << 30,
                ..ScrubOptions::default()
            },
            ..small()
        };
        let env = Arc::new(MemoryEnv::default());
        let (store, drivers) = Store::open(Arc::new(disk.clone()), env, &options).unwrap();
        Self { store, drivers }
    }

    fn append(&self, count: u64) {
        let journal = self.store.0.journal.group(1);
        let next = journal.ends().last.map_or(0, |id| id.index + 1);
        for index in next..next + count {
            journal
                .append(vec![entry(1, index, 700)], Box::new(|_| {}))
                .unwrap();
        }
    }

    /// Appends and writes entry after entry, a frame each.
    fn write(&mut self, count: u64) {
        for _ in 0..count {
            self.append(1);
            while self.drivers.loops[WRITER].turn() == Turn::Again {}
        }
    }

    fn segments(&self) -> Vec<SegmentCheck> {
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some((number, check)) = self.store.0.journal.check_from(from) {
            found.push(check.unwrap());
            from = number + 1;
        }
        found
    }

    /// Reads the journal once more; the number of bytes that are as they were written.
    fn check(&self) -> Result<usize, Damage> {
        let mut bytes = 0;
        for mut segment in self.segments() {
            bytes += check(&mut segment)?;
        }
        Ok(bytes)
    }

    /// A pass of the scrubber; false if the store has failed meanwhile.
    fn scrub(&mut self) -> bool {
        let before = self.store.metrics().read().scrubs;
        loop {
            if self.drivers.loops[SCRUBBER].turn() == Turn::Stop {
                return false;
            }
            if self.store.metrics().read().scrubs > before {
                return true;
            }
        }
    }
}

fn check(segment: &mut SegmentCheck) -> Result<usize, Damage> {
    let mut bytes = 0;
    loop {
        match segment.step() {
            Checked::Read(read, _) => bytes += read,
            Checked::Doubtful(_) => {}
            Checked::Whole => return Ok(bytes),
            Checked::Damaged(damage) => return Err(damage),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_flipped_bit_in_what_was_synced_is_found_with_its_place() {
    let disk = SimDisk::new(1);
    let mut machine = Machine::open(&disk);
    machine.write(60);
    let whole = machine.check().unwrap();
    assert!(whole > 60 * 700, "{whole}");
    let name = "journal/00000000";
    let mut found = 0;
    for offset in (0..disk.contents(name).unwrap().len()).step_by(97) {
        disk.flip(name, offset, 3);
        match machine.check() {
            Err(damage) => {
                assert_eq!(damage.file, name);
                let at = damage.offset as usize;
                assert!(at <= offset && offset < at + 1024, "{at} of {offset}");
                found += 1;
            }
            // Padding means nothing.
            Ok(read) => assert_eq!(read, whole),
        }
        disk.flip(name, offset, 3);
    }
    assert!(found > 80, "{found}");
}

#[test]
fn the_scrubber_counts_what_it_reads_and_stops_the_store_at_damage() {
    let disk = SimDisk::new(2);
    let mut machine = Machine::open(&disk);
    machine.write(60);
    assert!(machine.scrub() && machine.scrub());
    let numbers = machine.store.metrics().read();
    assert_eq!(numbers.scrubs, 2);
    assert!(numbers.scrubbed_bytes > 2 * 60 * 700, "{numbers:?}");
    assert!(numbers.last_scrub_seconds > 0);
    disk.flip("journal/00000001", 4_500, 0);
    assert!(!machine.scrub());
    let Some(StoreFailure::Damage(damage)) = machine.store.failure().get() else {
        panic!("no failure");
    };
    assert_eq!(damage.file, "journal/00000001");
    assert!((4_000..=4_500).contains(&damage.offset), "{damage}");
    assert_eq!(machine.store.metrics().read().scrubs, 2);
}

#[test]
fn a_place_that_reads_well_the_second_time_is_no_damage() {
    let disk = SimDisk::new(3);
    let mut machine = Machine::open(&disk);
    machine.write(10);
    let mut segment = machine.segments().remove(0);
    // Within the third entry; a frame takes 1,024 bytes, the last of them padding.
    disk.flip("journal/00000000", 2_500, 0);
    assert!(matches!(segment.step(), Checked::Doubtful(_)));
    disk.flip("journal/00000000", 2_500, 0);
    check(&mut segment).unwrap();
}

#[test]
fn what_is_not_synced_is_not_read() {
    let disk = SimDisk::new(4);
    let mut machine = Machine::open(&disk);
    machine.write(3);
    let synced = machine.check().unwrap();
    machine.append(2);
    // Built and written, not synced: half of it may be on disk.
    while !disk.has_unsynced() {
        machine.drivers.loops[WRITER].turn();
    }
    let end = disk.contents("journal/00000000").unwrap();
    let tail = end.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(tail > synced);
    disk.flip("journal/00000000", tail, 1);
    assert_eq!(machine.check(), Ok(synced));
    machine.drivers.loops[WRITER].turn();
    assert!(machine.check().unwrap_err().offset as usize >= synced);
}

#[test]
fn a_segment_that_is_used_again_while_it_is_read_is_no_damage() {
    let disk = SimDisk::new(5);
    let mut machine = Machine::open(&disk);
    machine.write(60);
    let mut segments = machine.segments();
    let journal = &machine.store.0.journal;
    let oldest = journal.oldest_segment().unwrap().0;
    journal.free_segment(oldest).unwrap();
    // Its file holds other frames now.
    machine.write(60);
    assert!(matches!(segments[0].step(), Checked::Gone));
    for segment in &mut segments[1..] {
        check(segment).unwrap();
    }
    machine.check().unwrap();
}

#[test]
fn what_a_power_cut_tore_is_no_damage() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        for _ in 0..5 {
            let mut machine = Machine::open(&disk);
            machine.check().unwrap();
            machine.write(5 + seed % 11);
            machine.check().unwrap();
            machine.append(6);
            while machine.drivers.loops[WRITER].turn() == Turn::Again && !disk.has_unsynced() {}
            machine.check().unwrap();
            disk.crash();
        }
    }
}

#[tokio::test]
async fn closing_ends_a_scrubber_that_rests() {
    let options = StoreOptions {
        scrub: ScrubOptions {
            bytes_per_second: 1 << 20,
            interval: Duration::from_hours(24),
            ..ScrubOptions::default()
        },
        ..small()
    };
    let env = Arc::new(MemoryEnv::default());
    let (store, drivers) = Store::open(Arc::new(SimDisk::new(6)), env, &options).unwrap();
    let threads = drivers.start_threads().unwrap();
    let journal = store.0.journal.group(1);
    journal.purge(log_id(1, 1)).unwrap();
    store.close();
    let joined = tokio::task::spawn_blocking(move || threads.join());
    let joined = tokio::time::timeout(Duration::from_secs(20), joined).await;
    joined.unwrap().unwrap();
}
