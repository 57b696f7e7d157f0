//! The power goes at every write and at every byte of it: what was acknowledged is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{entry, log_id, small};
use crate::raft::types::{Entry, LogId, Vote};
use crate::store::disk::{CrashPlan, SimDisk};
use crate::store::drivers::{Drivers, Turn};
use crate::store::env::MemoryEnv;
use crate::store::journal::{Done, GroupJournal};
use crate::store::{Store, StoreError};

/// What was asked for and what was acknowledged of one group.
#[derive(Default, Clone)]
struct Ledger {
    /// Entries asked for, newest text of each index.
    asked: BTreeMap<u64, Entry>,
    /// Last acknowledged index of the present term, and the vote.
    last: Option<LogId>,
    vote: Option<Vote>,
}

struct Machine {
    store: Store,
    drivers: Drivers,
    ledgers: Arc<Mutex<BTreeMap<u16, Ledger>>>,
}

impl Machine {
    fn open(disk: &SimDisk) -> Result<Self, StoreError> {
        let env = Arc::new(MemoryEnv::default());
        let (store, drivers) = Store::open(Arc::new(disk.clone()), env, &small())?;
        Ok(Self {
            store,
            drivers,
            ledgers: Arc::default(),
        })
    }

    /// Runs the writer until it has nothing to do.
    fn write(&mut self) {
        while self.drivers.loops[0].turn() == Turn::Again {}
    }

    fn append(&self, group: u16, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|e| e.log_id) else {
            return;
        };
        let mut ledgers = self.ledgers.lock().unwrap();
        let ledger = ledgers.entry(group).or_default();
        ledger
            .asked
            .extend(entries.iter().map(|e| (e.log_id.index, e.clone())));
        drop(ledgers);
        let ledgers = self.ledgers.clone();
        let done: Done = Box::new(move |done| {
            if done.is_ok() {
                ledgers.lock().unwrap().entry(group).or_default().last = Some(last);
            }
        });
        let _ = self.store.0.journal.group(group).append(entries, done);
    }

    fn vote(&self, group: u16, vote: Vote) {
        let ledgers = self.ledgers.clone();
        let done: Done = Box::new(move |done| {
            if done.is_ok() {
                ledgers.lock().unwrap().entry(group).or_default().vote = Some(vote);
            }
        });
        let _ = self.store.0.journal.group(group).save_vote(vote, done);
    }

    /// A history with every kind of record, over several segments.
    fn history(&mut self) {
        let mut next = [0; 3];
        for round in 0..60_u64 {
            let group = (round % 3) as u16;
            let at = &mut next[usize::from(group)];
            self.vote(group, Vote::new(1 + round / 20, round));
            if round % 13 == 12 {
                let keep: u64 = *at - 2;
                let last = self.store.0.journal.group(group).ends().last;
                let term = last.map_or(1, |id| id.leader_id.term);
                let _ = self.store.0.journal.group(group).truncate_after(Some(
                    self.ledgers.lock().unwrap()[&group].asked[&(keep - 1)].log_id,
                ));
                let mut ledgers = self.ledgers.lock().unwrap();
                let ledger = ledgers.entry(group).or_default();
                ledger.last = ledger.last.min(Some(log_id(term, keep - 1)));
                *at = keep;
            }
            let term = 1 + round / 13;
            let entries = (*at..*at + 3).map(|n| entry(term, n, 200 + 40 * (n as usize % 9)));
            self.append(group, entries.collect());
            *at += 3;
            if round % 17 == 16 {
                self.store
                    .0
                    .journal
                    .group(group)
                    .save_committed(log_id(term, *at - 1));
            }
            if round % 2 == 1 {
                self.write();
            }
        }
        self.write();
    }

    /// Everything acknowledged must be there, and nothing that was never asked for.
    fn check(&self, reopened: &Store, at: CrashPlan) {
        for (&group, ledger) in &*self.ledgers.lock().unwrap() {
            let journal = reopened.0.journal.group(group);
            if ledger.vote.is_some() {
                assert!(
                    journal.vote() >= ledger.vote,
                    "vote of {group} lost at {at:?}"
                );
            }
            let ends = journal.ends();
            let last = ledger.last.map_or(0, |id| id.index + 1);
            let has = ends.last.map_or(0, |id| id.index + 1);
            assert!(
                has >= last,
                "group {group} ends at {has}, not {last}, at {at:?}"
            );
            let entries = journal.read_blocking(0, last, usize::MAX).unwrap();
            assert_eq!(entries.len() as u64, last);
            for entry in entries {
                assert_eq!(entry, ledger.asked[&entry.log_id.index], "at {at:?}");
            }
        }
    }
}

fn crash_at(plan: CrashPlan) -> bool {
    let disk = SimDisk::new(9);
    let mut machine = Machine::open(&disk).unwrap();
    disk.plan_crash(plan);
    machine.history();
    let crashed = machine.store.failure().get().is_some();
    disk.restart();
    let reopened = match Machine::open(&disk) {
        Ok(reopened) => reopened,
        Err(error) => panic!("{error} after a crash at {plan:?}"),
    };
    machine.check(&reopened.store, plan);
    crashed
}

#[test]
fn nothing_acknowledged_is_lost_at_any_write_or_byte() {
    let disk = SimDisk::new(9);
    let mut machine = Machine::open(&disk).unwrap();
    machine.history();
    assert!(machine.store.metrics().read().segments >= 3);
    let (writes, _) = disk.calls();
    let mut crashes = 0;
    for write in 0..writes {
        // Around each sector's edge and within a header; every byte of one write below.
        for bytes in [0, 1, 55, 57, 511, 512, 513, 1024, 2048, 4096, 1 << 20] {
            crashes += u32::from(crash_at(CrashPlan { write, bytes }));
        }
    }
    assert!(crashes > 300, "{crashes}");
}

#[test]
fn nothing_acknowledged_is_lost_at_any_byte_of_a_write_that_begins_a_segment() {
    // The first write of the journal begins its first segment; the 12th is in the middle.
    for write in [0, 12] {
        // Every byte of the frame's header and first records, then a byte of every third dozen.
        for bytes in (0..300).chain((300..2_600).step_by(37)) {
            crash_at(CrashPlan { write, bytes });
        }
    }
}

#[test]
fn sectors_may_reach_the_disk_in_any_order_and_crashes_may_repeat() {
    for seed in 0..400 {
        let disk = SimDisk::new(seed);
        let mut asked = BTreeMap::new();
        let mut written = 0;
        for boot in 0..5_u64 {
            let mut machine = match Machine::open(&disk) {
                Ok(machine) => machine,
                Err(error) => panic!("seed {seed}, boot {boot}: {error}"),
            };
            let journal = machine.store.0.journal.group(1);
            let next = journal.ends().last.map_or(0, |id| id.index + 1);
            assert!(next >= written, "seed {seed}: {next} of {written}");
            check_found(&journal, next, &asked);
            for n in 0..30 {
                machine.append(1, vec![entry(boot, next + n, 700)]);
                // Between the write and the sync is where it hurts; all frames of a seed have as
                // many records, so that those of an earlier boot would fit into a later one.
                if n % (1 + seed % 7) == 0 {
                    for _ in 0..3 {
                        machine.drivers.loops[0].turn();
                    }
                }
            }
            asked.extend((next..next + 30).map(|index| (index, boot)));
            let last = machine.ledgers.lock().unwrap()[&1].last;
            written = last.map_or(written, |id| id.index + 1);
            machine.append(1, (0..6).map(|n| entry(boot, next + 30 + n, 700)).collect());
            asked.extend((next + 30..next + 36).map(|index| (index, boot)));
            // Build and write, but do not sync.
            while machine.drivers.loops[0].turn() == Turn::Again && !disk.has_unsynced() {}
            disk.crash();
        }
    }
}

/// Every entry must be the one that was asked for last at its index.
fn check_found(journal: &GroupJournal, next: u64, asked: &BTreeMap<u64, u64>) {
    for entry in journal.read_blocking(0, next, usize::MAX).unwrap() {
        let index = entry.log_id.index;
        assert_eq!(entry.log_id.leader_id.term, asked[&index], "entry {index}");
    }
}
