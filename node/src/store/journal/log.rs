//! One group's log in memory: what Raft sees, the newest entries, and where the others are.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use openraft::EntryPayload;

use super::record::{ENTRY_PREFIX, GroupMarks, RECORD_HEADER, Record};
use crate::raft::types::{Entry, LogId};

/// Where an entry's record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub segment: u32,
    pub offset: u32,
    /// Bytes of the record, header included.
    pub size: u32,
}

struct TailEntry {
    entry: Entry,
    /// Number of the operation that writes it; it stays here until that one is on disk.
    operation: u64,
}

/// Two views of a log. What Raft sees changes as soon as it asks for it; where records are changes
/// when they are on disk. Entries not yet on disk are in the tail, which always reaches the end.
#[derive(Default)]
pub(super) struct GroupLog {
    pub marks: GroupMarks,
    /// The marks as they are on disk.
    pub disk_marks: GroupMarks,
    /// Index of the first entry of a log of which nothing was purged.
    start: u64,
    last: Option<LogId>,
    tail: VecDeque<TailEntry>,
    places: VecDeque<Place>,
    /// Index of the first place.
    places_first: u64,
    /// The last operation of this group that is on disk.
    written: u64,
}

/// Where to read an entry.
#[derive(Debug)]
pub(super) enum Found {
    Memory(Entry),
    Disk(Place),
}

impl GroupLog {
    /// The last entry, or the purged one if there is none after it.
    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// Index of the next entry.
    pub(super) fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// Index of the first entry that Raft may read.
    pub(super) fn first_index(&self) -> u64 {
        self.marks.purged.map_or(self.start, |id| id.index + 1)
    }

    fn tail_first(&self) -> u64 {
        self.next_index() - self.tail.len() as u64
    }

    /// Adds an entry at the end. Returns the bytes it holds in memory.
    pub(super) fn push(&mut self, entry: Entry, operation: u64) -> io::Result<usize> {
        if self.last.is_some() && entry.log_id.index != self.next_index() {
            return Err(io::Error::other(format!(
                "entry {} was appended to a log that ends before {}",
                entry.log_id,
                self.next_index()
            )));
        }
        if self.last.is_none() {
            self.start = entry.log_id.index;
        }
        let bytes = memory_of(&entry);
        self.last = Some(entry.log_id);
        self.tail.push_back(TailEntry { entry, operation });
        Ok(bytes)
    }

    /// Removes entries after `last`. Returns the bytes given back.
    pub(super) fn truncate(&mut self, last: Option<LogId>) -> usize {
        let mut freed = 0;
        let keep = last.map_or(0, |id| id.index + 1);
        while self
            .tail
            .back()
            .is_some_and(|t| t.entry.log_id.index >= keep)
        {
            freed += self.tail.pop_back().map_or(0, |t| memory_of(&t.entry));
        }
        self.last = self.last.min(last).max(self.marks.purged);
        freed
    }

    /// Hides entries up to `id` from Raft. Their records stay readable by [`GroupLog::find`].
    /// Returns the bytes given back.
    pub(super) fn purge(&mut self, id: LogId) -> usize {
        let mut freed = 0;
        if self.marks.purged < Some(id) {
            self.marks.purged = Some(id);
        }
        if self.next_index() <= id.index {
            freed = self.tail.drain(..).map(|t| memory_of(&t.entry)).sum();
            self.last = Some(id);
        }
        freed
    }

    /// Empties the log but for the vote. Returns the bytes given back.
    pub(super) fn forget(&mut self) -> usize {
        self.marks = GroupMarks {
            vote: self.marks.vote,
            ..GroupMarks::default()
        };
        self.last = None;
        self.tail.drain(..).map(|t| memory_of(&t.entry)).sum()
    }

    /// Notes that a record of the group is on disk.
    pub(super) fn on_disk(&mut self, record: &Record, place: Place) {
        match record {
            Record::Entry(entry) => self.placed(entry.log_id.index, place),
            Record::Vote(vote) => self.disk_marks.vote = Some(*vote),
            Record::Truncate(last) => self.unplaced(last.map_or(0, |id| id.index + 1)),
            Record::Purge(id) => self.disk_marks.purged = self.disk_marks.purged.max(Some(*id)),
            Record::Committed(id) => self.disk_marks.committed = Some(*id),
            Record::State(marks) => self.disk_marks = *marks,
            Record::Forget => {
                self.unplaced(0);
                self.disk_marks = GroupMarks {
                    vote: self.disk_marks.vote,
                    ..GroupMarks::default()
                };
            }
        }
    }

    fn placed(&mut self, index: u64, place: Place) {
        let end = self.places_first + self.places.len() as u64;
        if self.places.is_empty() || index < self.places_first || index > end {
            self.places.clear();
            self.places_first = index;
        }
        self.places.truncate((index - self.places_first) as usize);
        self.places.push_back(place);
    }

    fn unplaced(&mut self, first: u64) {
        let keep = first.saturating_sub(self.places_first) as usize;
        self.places.truncate(keep);
    }

    /// Notes that all of the group's operations up to this one are on disk.
    pub(super) fn written(&mut self, operation: u64) {
        self.written = operation;
    }

    /// Drops the oldest entry from memory if it is on disk. Returns the bytes given back.
    pub(super) fn evict(&mut self, index: u64) -> Option<usize> {
        let oldest = self.tail.front()?;
        if oldest.entry.log_id.index > index {
            return Some(0);
        }
        if !self.is_on_disk(oldest.entry.log_id.index) {
            return None;
        }
        self.tail.pop_front().map(|t| memory_of(&t.entry))
    }

    /// Whether a power cut leaves the entry, or what took its place: a snapshot, or its removal.
    pub(super) fn is_on_disk(&self, index: u64) -> bool {
        let tail = index.checked_sub(self.tail_first());
        match tail.and_then(|at| self.tail.get(at as usize)) {
            // An operation may be in parts: then its first entry is on disk before its last.
            Some(tail) => {
                tail.operation <= self.written
                    && (index < self.places_first || self.place(index).is_some())
            }
            None => true,
        }
    }

    /// An entry by index, purged or not, as long as its record is somewhere.
    pub(super) fn find(&self, index: u64) -> Option<Found> {
        if index >= self.next_index() {
            return None;
        }
        let first = self.tail_first();
        if index >= first {
            let tail = self.tail.get((index - first) as usize)?;
            return Some(Found::Memory(tail.entry.clone()));
        }
        self.place(index).map(Found::Disk)
    }

    /// The data of an entry that is in memory.
    pub(super) fn data(&self, index: u64) -> Option<Bytes> {
        let tail = self
            .tail
            .get(index.checked_sub(self.tail_first())? as usize)?;
        match &tail.entry.payload {
            EntryPayload::Normal(data) => Some(data.0.clone()),
            _ => None,
        }
    }

    fn place(&self, index: u64) -> Option<Place> {
        self.places
            .get(index.checked_sub(self.places_first)? as usize)
            .copied()
    }

    /// First and last index of the records in the oldest segment, if it is `segment` or older.
    pub(super) fn range_up_to_segment(&self, segment: u32) -> Option<(u64, u64)> {
        let count = self
            .places
            .partition_point(|place| place.segment <= segment) as u64;
        let last = (self.places_first + count).min(self.next_index());
        (last > self.places_first).then(|| (self.places_first, last - 1))
    }

    /// Forgets where the records of old segments are.
    pub(super) fn forget_places_up_to_segment(&mut self, segment: u32) {
        let count = self
            .places
            .partition_point(|place| place.segment <= segment);
        self.places.drain(..count);
        self.places_first += count as u64;
    }

    /// Index of the first entry whose record is known, for the check after a start.
    pub(super) fn first_place(&self) -> Option<u64> {
        (!self.places.is_empty()).then_some(self.places_first)
    }

    /// Takes a record that was read from disk after a start, in the order of writing.
    pub(super) fn replay(&mut self, record: &Record, place: Place) {
        match record {
            Record::Entry(entry) => {
                if self.last.is_none() {
                    self.start = entry.log_id.index;
                }
                self.last = Some(entry.log_id);
            }
            Record::Truncate(last) => self.last = self.last.min(*last).max(self.disk_marks.purged),
            Record::Purge(id) => self.last = self.last.max(Some(*id)),
            Record::State(marks) => self.last = self.last.max(marks.purged),
            Record::Forget => self.last = None,
            Record::Vote(_) | Record::Committed(_) => {}
        }
        self.on_disk(record, place);
        self.marks = self.disk_marks;
    }
}

/// Bytes an entry holds in memory, roughly.
pub(super) fn memory_of(entry: &Entry) -> usize {
    let data = match &entry.payload {
        EntryPayload::Normal(data) => data.0.len(),
        _ => 0,
    };
    size_of::<TailEntry>() + data
}

/// Bytes of an entry's data within its record.
pub(super) const DATA_OFFSET: usize = RECORD_HEADER + ENTRY_PREFIX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::LeaderId;

    fn id(index: u64) -> LogId {
        LogId {
            leader_id: LeaderId {
                term: 1,
                node_id: 1,
            },
            index,
        }
    }

    fn entry(index: u64) -> Entry {
        Entry {
            log_id: id(index),
            payload: EntryPayload::Blank,
        }
    }

    fn place(segment: u32) -> Place {
        Place {
            segment,
            offset: 0,
            size: 1,
        }
    }

    fn filled(count: u64) -> GroupLog {
        let mut log = GroupLog::default();
        for index in 0..count {
            log.push(entry(index), index + 1).unwrap();
        }
        log
    }

    #[test]
    fn entries_leave_memory_only_when_they_are_on_disk() {
        let mut log = filled(3);
        assert_eq!(log.evict(0), None);
        log.placed(0, place(1));
        log.written(1);
        assert!(log.evict(0).unwrap() > 0);
        assert_eq!(log.evict(0), Some(0));
        assert!(matches!(log.find(0), Some(Found::Disk(p)) if p == place(1)));
        assert!(matches!(log.find(1), Some(Found::Memory(_))));
        assert!(log.find(3).is_none());
    }

    #[test]
    fn an_entry_is_on_disk_when_all_of_its_operation_up_to_it_is() {
        let mut log = filled(1);
        log.push(entry(1), 2).unwrap();
        log.push(entry(2), 2).unwrap();
        assert!(!log.is_on_disk(0));
        log.placed(0, place(1));
        log.written(1);
        assert!(log.is_on_disk(0) && !log.is_on_disk(1));
        log.placed(1, place(1));
        log.written(2);
        assert!(
            log.is_on_disk(1) && !log.is_on_disk(2),
            "it comes with the next frame"
        );
        assert_eq!(
            log.evict(2).map(|_| log.evict(2).map(|_| log.evict(2))),
            Some(Some(None))
        );
        log.placed(2, place(1));
        assert!(log.is_on_disk(2));
        log.truncate(Some(id(1)));
        log.push(entry(2), 3).unwrap();
        assert!(!log.is_on_disk(2), "another one of that index is");
    }

    #[test]
    fn a_replaced_entry_is_read_from_memory_until_it_is_on_disk() {
        let mut log = filled(3);
        for index in 0..3 {
            log.placed(index, place(1));
        }
        log.written(3);
        for index in 0..3 {
            log.evict(index);
        }
        log.truncate(Some(id(0)));
        log.push(entry(1), 5).unwrap();
        assert!(matches!(log.find(0), Some(Found::Disk(_))));
        assert!(matches!(log.find(1), Some(Found::Memory(_))));
        assert!(log.find(2).is_none());
        log.unplaced(1);
        log.placed(1, place(2));
        log.written(5);
        log.evict(1);
        assert!(matches!(log.find(1), Some(Found::Disk(p)) if p.segment == 2));
    }

    #[test]
    fn purged_entries_stay_readable_until_their_segment_goes() {
        let mut log = filled(4);
        for index in 0..4 {
            log.placed(index, place(1 + index as u32 / 2));
        }
        log.written(4);
        log.purge(id(2));
        assert_eq!((log.first_index(), log.next_index()), (3, 4));
        assert!(log.find(0).is_some());
        assert_eq!(log.range_up_to_segment(1), Some((0, 1)));
        (0..4).for_each(|index| assert!(log.evict(index).is_some()));
        log.forget_places_up_to_segment(1);
        assert!(log.find(1).is_none() && log.find(2).is_some());
        log.purge(id(9));
        assert_eq!((log.last(), log.next_index()), (Some(id(9)), 10));
    }

    #[test]
    fn a_hole_is_refused() {
        let error = filled(2).push(entry(3), 9).unwrap_err();
        assert!(error.to_string().contains("ends before 2"), "{error}");
    }
}
