//! The journal: one log on disk for all groups of a node.
//!
//! [`Journal`] is what everybody holds; [`writer::Writer`] is the loop that writes. Changes are
//! seen as soon as they are asked for and are on disk, in the same order, when their callback
//! fires.

mod frame;
mod log;
mod queue;
mod recheck;
mod record;
mod recover;
mod segments;
mod tail;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use self::log::{DATA_OFFSET, Found, Place};
pub(crate) use self::queue::Done;
use self::queue::{Group, Queue, Write};
pub(super) use self::recheck::{Checked, SegmentCheck};
use self::record::Record;
pub(super) use self::recover::open;
use self::segments::{Segments, Slot};
use self::tail::Tail;
use super::failure::{Damage, Failure};
use super::metrics::StoreMetrics;
use crate::raft::types::{Entry, GroupId, LogId, Vote};

/// The journal of a node. Clones are the same journal.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Inner>);

struct Inner {
    /// Marks the frames of this journal.
    nonce: u64,
    groups: Mutex<BTreeMap<GroupId, Arc<Group>>>,
    queue: Arc<Queue>,
    segments: Arc<Segments>,
    tail: Arc<Tail>,
    failure: Failure,
    metrics: StoreMetrics,
}

/// A group with the first and last index of some of its entries.
pub(crate) type EntryRange = (GroupId, u64, u64);

/// First, purged and last of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogEnds {
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
}

/// What [`GroupJournal::read`] found in memory, or where the rest is.
pub(crate) enum Read {
    Memory(Vec<Entry>),
    /// Some entries are on disk: call [`GroupJournal::read_blocking`] where blocking is allowed.
    NeedsDisk,
}

impl Journal {
    /// The log of one group, empty if it was never written.
    pub(crate) fn group(&self, id: GroupId) -> GroupJournal {
        let mut groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let group = groups
            .entry(id)
            .or_insert_with(|| {
                Arc::new(Group {
                    id,
                    log: Mutex::default(),
                })
            })
            .clone();
        GroupJournal {
            journal: self.clone(),
            group,
        }
    }

    /// Every group of which something was written.
    pub(crate) fn groups(&self) -> Vec<GroupJournal> {
        let journal = |group| GroupJournal {
            journal: self.clone(),
            group,
        };
        self.all().into_iter().map(journal).collect()
    }

    fn all(&self) -> Vec<Arc<Group>> {
        let groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.values().cloned().collect()
    }

    /// Bytes of the segments in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.segments.in_use() as u64 * u64::from(self.0.segments.bytes())
    }

    /// Bytes of entries in memory.
    pub(crate) fn tail_bytes(&self) -> usize {
        self.0.tail.bytes()
    }

    /// The oldest segment and which entries of which groups are in it (or before it).
    pub(crate) fn oldest_segment(&self) -> Option<(u32, Vec<EntryRange>)> {
        let segment = self.0.segments.oldest()?;
        let mut ranges = Vec::new();
        for group in self.all() {
            if let Some((first, last)) = group.log().range_up_to_segment(segment) {
                ranges.push((group.id, first, last));
            }
        }
        Some((segment, ranges))
    }

    /// Gives the oldest segment back. Its entries can no longer be read.
    pub(crate) fn free_segment(&self, segment: u32) -> io::Result<()> {
        for group in self.all() {
            group.log().forget_places_up_to_segment(segment);
        }
        self.0.metrics.recycled(1);
        let done = self.0.segments.free(segment, 2);
        self.0.segments.count_in(&self.0.metrics);
        done
    }

    /// Makes the next segment's file ready. Blocks.
    pub(crate) fn prepare_spare(&self) -> io::Result<()> {
        self.0.segments.prepare()
    }

    /// Number of the newest segment in use.
    pub(crate) fn newest_segment(&self) -> Option<u32> {
        self.0.segments.newest()
    }

    /// Whether a segment is in use.
    pub(crate) fn has_segment(&self, segment: u32) -> bool {
        self.0.segments.get(segment).is_some()
    }

    /// Begins to read the first segment from `from` on once more, and says which one it is.
    pub(crate) fn check_from(&self, from: u32) -> Option<(u32, io::Result<SegmentCheck>)> {
        let (number, slot, end) = self.0.segments.first_from(from)?;
        let segments = self.0.segments.clone();
        let check = SegmentCheck::begin(segments, self.0.nonce, (number, slot, end));
        Some((number, check))
    }

    /// Ends the writer once the queue is written.
    pub(crate) fn close(&self) {
        self.0.queue.close();
    }

    fn record_at(&self, group: GroupId, place: Place) -> io::Result<Bytes> {
        let slot = self.0.segments.get(place.segment).ok_or_else(|| {
            let text = format!("journal segment {} of group {group} is gone", place.segment);
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        let mut buffer = vec![0; place.size as usize];
        if let Err(error) = slot
            .file
            .read_exact_at(&mut buffer, u64::from(place.offset))
        {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                return Err(self.damaged(&slot, place, "the file ends before".into()));
            }
            return Err(error);
        }
        Ok(buffer.into())
    }

    fn damaged(&self, slot: &Slot, place: Place, what: String) -> io::Error {
        // The segment may have been used again since the place was looked up.
        if self
            .0
            .segments
            .get(place.segment)
            .is_none_or(|now| now.name != slot.name)
        {
            return io::Error::new(io::ErrorKind::NotFound, "the journal segment was recycled");
        }
        let damage = Damage {
            file: slot.name.clone(),
            offset: u64::from(place.offset),
            what,
        };
        self.0.failure.set(damage.clone().into());
        io::Error::new(io::ErrorKind::InvalidData, damage)
    }

    fn entry_at(&self, group: GroupId, place: Place) -> io::Result<Entry> {
        let bytes = self.record_at(group, place)?;
        let what = match record::decode(&bytes, 0, None) {
            Ok(record::Decoded {
                group: of,
                record: Record::Entry(entry),
                ..
            }) if of == group => {
                return Ok(entry);
            }
            Ok(_) => "another record is where an entry was written".into(),
            Err(what) => what,
        };
        match self.0.segments.get(place.segment) {
            Some(slot) => Err(self.damaged(&slot, place, what)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// The log of one group. Clones are the same log.
#[derive(Clone)]
pub(crate) struct GroupJournal {
    journal: Journal,
    group: Arc<Group>,
}

impl GroupJournal {
    /// The group.
    pub(crate) fn id(&self) -> GroupId {
        self.group.id
    }

    /// The last vote asked for.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.group.log().marks.vote
    }

    /// The last committed id asked for.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.group.log().marks.committed
    }

    /// Whether a power cut leaves the entry.
    pub(crate) fn is_on_disk(&self, index: u64) -> bool {
        self.group.log().is_on_disk(index)
    }

    /// Ends of the log as Raft sees it.
    pub(crate) fn ends(&self) -> LogEnds {
        let log = self.group.log();
        LogEnds {
            purged: log.marks.purged,
            last: log.last(),
        }
    }

    /// Appends entries: readable when this returns, on disk when `done` fires.
    pub(crate) fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()> {
        let inner = &self.journal.0;
        inner.failure.check()?;
        let largest = inner.segments.bytes() as usize / 2;
        if let Some(entry) = entries.iter().find(|e| log::memory_of(e) > largest) {
            let text = format!(
                "entry {} is larger than half a journal segment",
                entry.log_id
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut log = self.group.log();
        inner.queue.push(&self.group, Some(done), |number| {
            for entry in &entries {
                let bytes = log.push(entry.clone(), number)?;
                inner.tail.added(&self.group, entry.log_id.index, bytes);
            }
            Ok(Write::Entries(entries))
        })
    }

    /// Saves a vote: on disk when `done` fires.
    pub(crate) fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        let mut log = self.group.log();
        self.journal.0.failure.check()?;
        log.marks.vote = Some(vote);
        self.push(Record::Vote(vote), Some(done))
    }

    /// Notes what is committed; written with whatever is written next.
    pub(crate) fn save_committed(&self, id: LogId) {
        let mut log = self.group.log();
        log.marks.committed = Some(id);
        self.journal.0.queue.committed(self.group.id, id);
    }

    /// Removes entries after `last`.
    pub(crate) fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        let mut log = self.group.log();
        self.journal.0.tail.removed(log.truncate(last));
        self.push(Record::Truncate(last), None)
    }

    /// Hides entries up to `id` from Raft.
    pub(crate) fn purge(&self, id: LogId) -> io::Result<()> {
        let mut log = self.group.log();
        self.journal.0.tail.removed(log.purge(id));
        self.push(Record::Purge(id), None)
    }

    /// Empties the log, keeping the vote.
    pub(crate) fn forget(&self, done: Done) -> io::Result<()> {
        let mut log = self.group.log();
        self.journal.0.tail.removed(log.forget());
        self.push(Record::Forget, Some(done))
    }

    fn push(&self, record: Record, done: Option<Done>) -> io::Result<()> {
        self.journal
            .0
            .queue
            .push(&self.group, done, |_| Ok(Write::Record(record)))
    }

    /// Entries `start..end` that the log holds, at most about `limit` bytes but at least one.
    pub(crate) fn read(&self, start: u64, end: u64, limit: usize) -> Read {
        let log = self.group.log();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for index in start.max(log.first_index())..end.min(log.next_index()) {
            match log.find(index) {
                Some(Found::Memory(entry)) => {
                    bytes += log::memory_of(&entry);
                    entries.push(entry);
                    if bytes >= limit {
                        break;
                    }
                }
                _ => return Read::NeedsDisk,
            }
        }
        Read::Memory(entries)
    }

    /// Like [`GroupJournal::read`], with the disk's help. Blocks.
    pub(crate) fn read_blocking(
        &self,
        start: u64,
        end: u64,
        limit: usize,
    ) -> io::Result<Vec<Entry>> {
        let (first, next) = {
            let log = self.group.log();
            (start.max(log.first_index()), end.min(log.next_index()))
        };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for index in first..next {
            let found = self.group.log().find(index);
            let entry = match found {
                Some(Found::Memory(entry)) => entry,
                Some(Found::Disk(place)) => self.journal.entry_at(self.group.id, place)?,
                // Truncated meanwhile, or purged: what was read so far still holds.
                None if self.group.log().next_index() <= index => break,
                None => {
                    let text = format!("entry {index} of group {} is gone", self.group.id);
                    return Err(io::Error::new(io::ErrorKind::NotFound, text));
                }
            };
            bytes += log::memory_of(&entry);
            entries.push(entry);
            if bytes >= limit {
                break;
            }
        }
        Ok(entries)
    }

    /// The data of an entry, purged or not, if it is in memory.
    pub(crate) fn data_in_memory(&self, index: u64) -> Option<Bytes> {
        self.group.log().data(index)
    }

    /// The data of an entry, purged or not; `None` if the journal no longer has it. Blocks.
    pub(crate) fn data_blocking(&self, index: u64) -> io::Result<Option<Bytes>> {
        let found = {
            let log = self.group.log();
            match log.data(index) {
                Some(data) => return Ok(Some(data)),
                None => log.find(index),
            }
        };
        let Some(Found::Disk(place)) = found else {
            return Ok(None);
        };
        match self.journal.record_at(self.group.id, place) {
            Ok(bytes) if record::decode(&bytes, 0, None).is_ok() => {
                Ok(Some(bytes.slice(DATA_OFFSET.min(bytes.len())..)))
            }
            Ok(_) => self.journal.entry_at(self.group.id, place).map(|_| None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
