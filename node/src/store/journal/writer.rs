//! The loop that writes the journal: what is queued becomes one frame, one write and one sync.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Inner;
use super::frame::{ALIGN, FRAME_HEADER, FrameHeader};
use super::log::Place;
use super::queue::{Done, Group, Operation, Write};
use super::record::Record;
use super::segments::Slot;
use crate::raft::types::GroupId;
use crate::store::drivers::{BackgroundLoop, Turn, Wakeup};
use crate::store::failure::StoreFailure;
use crate::store::space::Reserve;

/// A frame takes no more records once it has this many bytes.
const FRAME_LIMIT: usize = 4 << 20;

/// How long to wait for disk space before the next try.
const SPACE_WAIT: Duration = Duration::from_millis(100);

/// One record with what must happen once it is on disk.
struct Item {
    group: Arc<Group>,
    record: Record,
    operation: u64,
    done: Option<Done>,
}

/// A frame that was written or is about to be.
struct Pending {
    items: Vec<(Item, Place)>,
    written: bool,
    entries: usize,
}

/// Where the next frame goes.
pub(super) struct Position {
    pub nonce: u64,
    /// The segment, once there is one.
    pub segment: Option<(u32, Slot)>,
    /// Number of the newest segment there ever was.
    pub newest: u32,
    pub offset: u32,
    /// Number of the last frame on disk, 0 if none.
    pub before: u64,
    /// Number of the next frame.
    pub next: u64,
}

/// The writer.
pub(crate) struct Writer {
    inner: Arc<Inner>,
    reserve: Reserve,
    at: Position,
    backlog: VecDeque<Item>,
    buffer: Vec<u8>,
    pending: Option<Pending>,
    closed: bool,
    /// It was said that there is no space.
    waits: bool,
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>, reserve: Reserve, at: Position) -> Self {
        Self {
            inner,
            reserve,
            at,
            backlog: VecDeque::new(),
            buffer: Vec::new(),
            pending: None,
            closed: false,
            waits: false,
        }
    }

    fn take(&mut self) {
        let taken = self.inner.queue.take();
        self.closed = taken.closed;
        let groups = &self.inner;
        for operation in taken.operations {
            let Operation {
                number,
                group,
                write,
                done,
            } = operation;
            match write {
                Write::Record(record) => {
                    self.backlog.push_back(Item {
                        group,
                        record,
                        operation: number,
                        done,
                    });
                }
                Write::Entries(entries) => {
                    for entry in entries {
                        let (group, record) = (group.clone(), Record::Entry(entry));
                        self.backlog.push_back(Item {
                            group,
                            record,
                            operation: number,
                            done: None,
                        });
                    }
                    match (self.backlog.back_mut(), done) {
                        (Some(item), Some(done)) if item.operation == number => {
                            item.done = Some(done);
                        }
                        // An append of nothing is done.
                        (_, Some(done)) => done(Ok(())),
                        (_, None) => {}
                    }
                }
            }
        }
        for (id, log_id) in taken.committed {
            let group = groups.groups.lock().map(|groups| groups.get(&id).cloned());
            if let Ok(Some(group)) = group {
                let record = Record::Committed(log_id);
                self.backlog.push_back(Item {
                    group,
                    record,
                    operation: 0,
                    done: None,
                });
            }
        }
    }

    /// Encodes as many records as fit into one frame.
    fn build(&mut self) -> io::Result<()> {
        let first = self
            .backlog
            .front()
            .map_or(0, |item| item.record.size_hint());
        let (segment, head) = match &self.at.segment {
            Some((number, _)) if self.room(FRAME_HEADER + first) => (*number, false),
            _ => {
                let number = self.at.newest + 1;
                let slot = self.inner.segments.take(number)?;
                self.at.newest = number;
                self.at.segment = Some((number, slot));
                self.at.offset = 0;
                self.inner.segments.count_in(&self.inner.metrics);
                (number, true)
            }
        };
        let mut frame = std::mem::take(&mut self.buffer);
        frame.clear();
        frame.resize(FRAME_HEADER, 0);
        let mut records = if head {
            self.encode_table(&mut frame)
        } else {
            0
        };
        let mut items = Vec::new();
        let mut entries = 0;
        while let Some(item) = self.backlog.front() {
            let size = frame.len() + item.record.size_hint();
            if records > 0 && (size > FRAME_LIMIT || !self.room(size)) {
                break;
            }
            let Some(item) = self.backlog.pop_front() else {
                break;
            };
            let offset = self.at.offset + frame.len() as u32;
            let start = frame.len();
            item.record.encode(&mut frame, item.group.id, self.at.next);
            entries += usize::from(matches!(item.record, Record::Entry(_)));
            records += 1;
            items.push((
                item,
                Place {
                    segment,
                    offset,
                    size: (frame.len() - start) as u32,
                },
            ));
        }
        let header = FrameHeader {
            head,
            length: (frame.len() - FRAME_HEADER) as u32,
            records,
            nonce: self.at.nonce,
            segment: u64::from(segment),
            frame: self.at.next,
            before: self.at.before,
        };
        frame[..FRAME_HEADER].copy_from_slice(&header.encode());
        frame.resize(header.size(), 0);
        self.buffer = frame;
        self.pending = Some(Pending {
            items,
            written: false,
            entries,
        });
        Ok(())
    }

    fn room(&self, bytes: usize) -> bool {
        let end = self.at.offset as usize + bytes.next_multiple_of(ALIGN);
        end <= self.inner.segments.bytes() as usize
    }

    /// The state of every group as the frame before left it: what the records that follow build on.
    fn encode_table(&self, frame: &mut Vec<u8>) -> u32 {
        let mut records = 0;
        for (group, marks) in self.marks_on_disk() {
            Record::State(marks).encode(frame, group, self.at.next);
            records += 1;
        }
        records
    }

    fn marks_on_disk(&self) -> Vec<(GroupId, super::record::GroupMarks)> {
        let groups = match self.inner.groups.lock() {
            Ok(groups) => groups.values().cloned().collect::<Vec<_>>(),
            Err(poisoned) => poisoned.into_inner().values().cloned().collect(),
        };
        groups
            .iter()
            .map(|group| (group.id, group.log().disk_marks))
            .collect()
    }

    fn write(&mut self) -> io::Result<()> {
        let Some((_, slot)) = &self.at.segment else {
            return Ok(());
        };
        slot.file
            .write_all_at(&self.buffer, u64::from(self.at.offset))
    }

    fn sync(&mut self, mut pending: Pending) -> Result<(), StoreFailure> {
        let Some((number, slot)) = &self.at.segment else {
            return Ok(());
        };
        let before = Instant::now();
        if let Err(error) = slot.file.sync() {
            let failure = failure(&slot.name, "sync", &error);
            self.pending = Some(pending);
            return Err(failure);
        }
        self.inner.metrics.synced(before.elapsed());
        self.inner.metrics.wrote(self.buffer.len(), pending.entries);
        self.at.offset += self.buffer.len() as u32;
        self.inner.segments.synced(*number, self.at.offset);
        self.at.before = self.at.next;
        self.at.next += 1;
        for (item, place) in &pending.items {
            let mut log = item.group.log();
            log.on_disk(&item.record, *place);
            if item.operation > 0 {
                log.written(item.operation);
            }
        }
        for (item, _) in &mut pending.items {
            if let Some(done) = item.done.take() {
                done(Ok(()));
            }
        }
        self.inner.tail.evict();
        self.inner.metrics.tail(self.inner.tail.bytes());
        Ok(())
    }

    /// Tells everybody who waits that nothing will ever be written again.
    fn fail(&mut self, failure: StoreFailure) -> Turn {
        tracing::error!(%failure, "the journal stops");
        self.inner.queue.close();
        self.take();
        let pending = self.pending.take().map(|p| p.items).unwrap_or_default();
        let waiting = pending
            .into_iter()
            .map(|(item, _)| item)
            .chain(self.backlog.drain(..));
        for done in waiting.filter_map(|item| item.done) {
            done(Err(io::Error::other(failure.clone())));
        }
        self.inner.failure.set(failure);
        Turn::Stop
    }

    fn no_space(&mut self, what: &str) -> Turn {
        self.inner.metrics.waited_for_space();
        if self.reserve.release() {
            tracing::warn!("no disk space for {what}: the reserve was given up");
            return Turn::Again;
        }
        if !std::mem::replace(&mut self.waits, true) {
            tracing::warn!("no disk space for {what}: waiting for some");
        }
        Turn::Wait(Some(SPACE_WAIT))
    }
}

fn failure(name: &str, what: &str, error: &io::Error) -> StoreFailure {
    StoreFailure::Io {
        what: format!("{what} of {name}"),
        error: error.to_string(),
    }
}

pub(in crate::store) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl BackgroundLoop for Writer {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn wakeup(&self) -> Wakeup {
        self.inner.queue.wakeup.clone()
    }

    fn turn(&mut self) -> Turn {
        match self.pending.take() {
            Some(pending) if pending.written => match self.sync(pending) {
                Ok(()) => Turn::Again,
                Err(failure) => self.fail(failure),
            },
            Some(mut pending) => {
                let wrote = self.write();
                pending.written = wrote.is_ok();
                self.pending = Some(pending);
                match wrote {
                    Ok(()) => {
                        self.waits = false;
                        Turn::Again
                    }
                    Err(error) if is_full(&error) => self.no_space("a journal frame"),
                    Err(error) => self.fail(failure("the journal", "write", &error)),
                }
            }
            None => {
                self.take();
                if self.backlog.is_empty() {
                    return if self.closed {
                        Turn::Stop
                    } else {
                        Turn::Wait(None)
                    };
                }
                match self.build() {
                    Ok(()) => Turn::Again,
                    Err(error) if is_full(&error) => self.no_space("a journal segment"),
                    Err(error) => self.fail(failure("a journal segment", "creation", &error)),
                }
            }
        }
    }
}
