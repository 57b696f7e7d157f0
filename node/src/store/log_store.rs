//! openraft's view of a group's log.

use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use futures_util::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::jobs::Jobs;
use super::journal::{Done, GroupJournal, Read};
use crate::raft::types::{Entry, GroupId, LogId, TypeConfig, Vote};
use crate::runtime::Runtime;

/// Bytes of entries that one limited read returns, roughly.
const READ_LIMIT: usize = 1 << 20;

/// The log of one group, and a reader of it. Clones are the same log.
///
/// `append` returns when the entries can be read; the callback fires when they are on disk.
/// `save_vote` returns when the vote is on disk. `truncate_after` and `purge` only enqueue: they
/// are on disk before whatever is asked for later.
pub struct LogStore<R> {
    journal: GroupJournal,
    jobs: Jobs,
    runtime: PhantomData<fn() -> R>,
}

impl<R> Clone for LogStore<R> {
    fn clone(&self) -> Self {
        Self {
            journal: self.journal.clone(),
            jobs: self.jobs.clone(),
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime> LogStore<R> {
    pub(super) fn new(journal: GroupJournal, jobs: Jobs) -> Self {
        Self {
            journal,
            jobs,
            runtime: PhantomData,
        }
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.journal.id()
    }

    async fn read(&self, start: u64, end: u64, limit: usize) -> io::Result<Vec<Entry>> {
        match self.journal.read(start, end, limit) {
            Read::Memory(entries) => Ok(entries),
            Read::NeedsDisk => {
                let journal = self.journal.clone();
                let read = self
                    .jobs
                    .run(move || journal.read_blocking(start, end, limit))
                    .await;
                read.unwrap_or_else(|| Err(closed()))
            }
        }
    }
}

fn closed() -> io::Error {
    io::Error::other("the store is closed")
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl<R: Runtime> RaftLogReader<TypeConfig<R>> for LogStore<R> {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let log = self.clone();
        let pieces = stream::try_unfold((log, start), move |(log, at)| async move {
            if at >= end {
                return Ok(None);
            }
            let entries = log.read(at, end, READ_LIMIT).await?;
            let next = entries.last().map(|entry| entry.log_id.index + 1);
            Ok::<_, io::Error>(next.map(|next| (entries, (log, next))))
        });
        let entries = pieces.flat_map(|piece| match piece {
            Ok(entries) => stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Box::pin(entries)
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.journal.vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_LIMIT).await
    }
}

impl<R: Runtime> RaftLogStorage<TypeConfig<R>> for LogStore<R> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig<R>>> {
        let ends = self.journal.ends();
        Ok(LogState {
            last_purged_log_id: ends.purged,
            last_log_id: ends.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, told) = notice();
        self.journal.save_vote(*vote, done)?;
        told.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(id) = committed {
            self.journal.save_committed(id);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.journal.committed())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig<R>>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect();
        self.journal
            .append(entries, Box::new(move |done| callback.io_completed(done)))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.journal.truncate_after(last)
    }

    async fn purge(&mut self, id: LogId) -> io::Result<()> {
        self.journal.purge(id)
    }
}

/// A callback and what hears it.
pub(super) fn notice() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (tell, told) = oneshot::channel();
    (Box::new(move |done| drop(tell.send(done))), told)
}
