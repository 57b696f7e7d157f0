//! The machine itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::config::PartitionConfig;
use super::entry::EntryReader;
use super::group::View;
use super::id::PartitionId;
use super::keys;
use super::op::{Configure, LoggedOp, TICK_BUDGET};
use super::partition::{Partition, Step};
use super::reply::{Applied, Refusal, Reply};
use crate::codec::{DecodeError, Put, Reader};
use crate::kv::{Kv, KvError};

/// Blocks, deliveries and producers that are cached at most; then all caches are emptied.
const CACHE_MAX: usize = 2_048;

/// An entry could not be applied: the group must stop.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The entry cannot be read: it is damaged, or a newer binary wrote it.
    #[error("entry {index} of the log: {source}")]
    Entry {
        /// Log index.
        index: u64,
        /// What could not be read.
        source: DecodeError,
    },
    /// The rows cannot be read.
    #[error(transparent)]
    Kv(#[from] KvError),
}

/// The state machine of one shard.
///
/// Everything that must survive is in the rows; the machine caches what is hot. The reads are for
/// the leader, under the same lock as `apply`.
#[derive(Debug)]
pub struct ShardMachine {
    time: u64,
    stored_time: u64,
    pub(crate) partitions: BTreeMap<PartitionId, Partition>,
    /// When each partition has something to do at the earliest.
    deadlines: BTreeSet<(u64, PartitionId)>,
    /// Partitions whose caches hold something that is not in rows.
    touched: BTreeSet<PartitionId>,
    /// Rough number of things in caches.
    cached: usize,
}

const META_VERSION: u8 = 1;

impl ShardMachine {
    /// A machine that goes on from `kv`; no rows are an empty shard.
    pub fn open(kv: &dyn Kv) -> Result<Self, KvError> {
        let mut time = 0;
        if let Some(row) = kv.get(&keys::meta())? {
            let mut r = Reader::new(&row);
            let read = r
                .version(META_VERSION, "version")
                .and_then(|()| r.varint("time"));
            time = read.map_err(|e| KvError(format!("time of the shard: {e}")))?;
        }
        let mut states = Vec::new();
        let (from, end) = keys::states();
        kv.scan(&from, &end, &mut |key, value| {
            states.push((keys::partition_of_state(key), value.clone()));
            ControlFlow::Continue(())
        })?;
        let mut partitions = BTreeMap::new();
        let mut deadlines = BTreeSet::new();
        for (id, state) in states {
            let Some(id) = id else {
                return Err(KvError("key of a partition's state".into()));
            };
            let partition = Partition::open(kv, id, &state)?;
            if partition.state.due_hint != u64::MAX {
                deadlines.insert((partition.state.due_hint, id));
            }
            partitions.insert(id, partition);
        }
        let touched = BTreeSet::new();
        Ok(Self {
            time,
            stored_time: time,
            partitions,
            deadlines,
            touched,
            cached: 0,
        })
    }

    /// Applies the entry at log index `index`. Rows and replies are complete when it returns.
    ///
    /// After an error the rows are between two entries: the machine must not be used again.
    pub fn apply(
        &mut self,
        kv: &mut dyn Kv,
        index: u64,
        entry: &Bytes,
    ) -> Result<Applied, ApplyError> {
        let bad = |source| ApplyError::Entry { index, source };
        let mut reader = EntryReader::new(entry).map_err(bad)?;
        self.time = self.time.max(reader.time_ms);
        let (events, freed) = (Vec::new(), Vec::new());
        let mut step = Step {
            kv,
            index,
            now: self.time,
            events,
            freed,
        };
        let mut replies = Vec::new();
        while let Some(op) = reader.next().map_err(bad)? {
            replies.push(self.carry_out(&mut step, op)?);
        }
        let Step { events, freed, .. } = step;
        self.flush(kv);
        Ok(Applied {
            replies,
            events,
            freed,
        })
    }

    fn carry_out(&mut self, step: &mut Step<'_>, op: LoggedOp<'_>) -> Result<Reply, KvError> {
        let id = match &op {
            LoggedOp::Tick => return self.tick(step),
            LoggedOp::Digest(op) => {
                // What the ops before it have left in caches is in rows then.
                self.flush(step.kv);
                return op.apply(step.kv);
            }
            LoggedOp::Configure(op) if !self.partitions.contains_key(&op.partition) => {
                return self.create(step, op.clone());
            }
            LoggedOp::Configure(op) => op.partition,
            LoggedOp::Drop(op) => op.partition,
            LoggedOp::Settle(op) => op.partition,
            LoggedOp::Complete(op) => op.partition,
            LoggedOp::Send(op) => op.partition,
            LoggedOp::Receive(op) => op.partition,
            LoggedOp::ReleaseSession(op) => op.partition,
            LoggedOp::Accept(op) => op.target,
            LoggedOp::OutboxDone(op) => op.source,
            LoggedOp::Purge(op) => op.partition,
            LoggedOp::Redrive(op) => op.partition,
            LoggedOp::DeleteMessage(op) => op.partition,
            LoggedOp::Seek(op) => op.partition,
        };
        let Some(p) = self.partitions.get_mut(&id) else {
            return Ok(match op {
                LoggedOp::Drop(_) => Reply::Dropped { messages: 0 },
                LoggedOp::OutboxDone(_) => Reply::OutboxDone { messages: 0 },
                _ => Reply::Refused(Refusal::NoPartition),
            });
        };
        let before = (p.state.due_hint, p.weight());
        let reply = apply_to(p, step, op)?;
        self.touched.insert(id);
        self.note(id, before);
        Ok(reply)
    }

    fn create(&mut self, step: &mut Step<'_>, op: Configure) -> Result<Reply, KvError> {
        let id = op.partition;
        Ok(match op.create(step)? {
            Ok(partition) => {
                self.partitions.insert(id, partition);
                self.touched.insert(id);
                Reply::Configured(true)
            }
            Err(refusal) => Reply::Refused(refusal),
        })
    }

    /// Takes over a partition's due time and cache weight.
    fn note(&mut self, id: PartitionId, (hint, weight): (u64, usize)) {
        let Some(p) = self.partitions.get(&id) else {
            return;
        };
        self.cached = (self.cached + p.weight()).saturating_sub(weight);
        if p.state.due_hint != hint {
            self.deadlines.remove(&(hint, id));
            if p.state.due_hint != u64::MAX {
                self.deadlines.insert((p.state.due_hint, id));
            }
        }
    }

    fn tick(&mut self, step: &mut Step<'_>) -> Result<Reply, KvError> {
        let mut steps = 0;
        let mut after: Option<(u64, PartitionId)> = None;
        while steps < TICK_BUDGET {
            // On from the last one: what is still due there is for the next tick.
            let rest = (
                after.map_or(Bound::Unbounded, Bound::Excluded),
                Bound::Unbounded,
            );
            let next = self.deadlines.range(rest).next();
            let Some(&(due, id)) = next.filter(|(due, _)| *due <= step.now) else {
                break;
            };
            after = Some((due, id));
            let Some(p) = self.partitions.get_mut(&id) else {
                break;
            };
            let weight = p.weight();
            self.touched.insert(id);
            if p.state.dropping {
                let (taken, gone) = p.sweep(step, TICK_BUDGET - steps)?;
                steps += taken.max(1);
                if gone {
                    self.partitions.remove(&id);
                    self.touched.remove(&id);
                    self.deadlines.remove(&(due, id));
                    continue;
                }
            } else {
                steps += p.tick(step, TICK_BUDGET - steps)?.max(1);
            }
            self.note(id, (due, weight));
        }
        let more = self.next_deadline().is_some_and(|due| due <= step.now);
        Ok(Reply::Ticked { steps, more })
    }

    fn flush(&mut self, kv: &mut dyn Kv) {
        for id in &self.touched {
            if let Some(p) = self.partitions.get_mut(id) {
                let weight = p.weight();
                p.flush(kv);
                self.cached = (self.cached + p.weight()).saturating_sub(weight);
            }
        }
        self.touched.clear();
        if self.time != self.stored_time {
            let mut row = vec![META_VERSION];
            row.put_varint(self.time);
            kv.put(&keys::meta(), row.into());
            self.stored_time = self.time;
        }
        if self.cached > CACHE_MAX {
            self.partitions.values_mut().for_each(Partition::evict);
            self.cached = 0;
        }
    }

    /// Cluster time of the newest entry, in ms since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// When a Tick has something to do at the earliest, in ms since 1970; it may find nothing.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// The partitions of the shard, in order, those left out that are being deleted.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.partitions
            .values()
            .filter(|p| !p.state.dropping)
            .map(|p| p.id())
    }

    /// What a partition promises; None when it is not here or is being deleted.
    pub fn config(&self, partition: PartitionId) -> Option<&PartitionConfig> {
        self.partition(partition).map(|p| &p.config)
    }

    /// A partition that is here and is not being deleted.
    pub(crate) fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(&id).filter(|p| !p.state.dropping)
    }
}

fn apply_to(p: &mut Partition, step: &mut Step<'_>, op: LoggedOp<'_>) -> Result<Reply, KvError> {
    if p.state.dropping {
        return match op {
            LoggedOp::Drop(_) => Ok(Reply::Dropped { messages: 0 }),
            LoggedOp::OutboxDone(op) => op.apply(p, step),
            _ => Ok(Reply::Refused(Refusal::Deleting)),
        };
    }
    match op {
        LoggedOp::Configure(op) => op.apply(p, step),
        LoggedOp::Drop(op) => Ok(op.apply(p, step)),
        LoggedOp::Settle(op) => in_group(p, op.group, |view| op.apply(view, step)),
        LoggedOp::Complete(op) => op.apply(p, step),
        LoggedOp::Send(op) => op.apply(p, step),
        LoggedOp::Receive(op) => in_group(p, op.group, |view| op.apply(view, step)),
        LoggedOp::ReleaseSession(op) => op.apply(p, step),
        LoggedOp::Accept(op) => op.apply(p, step),
        LoggedOp::OutboxDone(op) => op.apply(p, step),
        LoggedOp::Purge(op) => op.apply(p, step),
        LoggedOp::Redrive(op) => op.apply(p, step),
        LoggedOp::DeleteMessage(op) => op.apply(p, step),
        LoggedOp::Seek(op) => op.apply(p, step),
        LoggedOp::Digest(op) => op.apply(step.kv),
        // Not of one partition: the machine does it.
        LoggedOp::Tick => Ok(Reply::Ticked {
            steps: 0,
            more: false,
        }),
    }
}

/// Does something in one group of a partition, if it has that group.
fn in_group(
    p: &mut Partition,
    group: u32,
    act: impl FnOnce(&mut View<'_>) -> Result<Reply, KvError>,
) -> Result<Reply, KvError> {
    match p.view(group) {
        Some(mut view) => act(&mut view),
        None => Ok(Reply::Refused(Refusal::NoGroup)),
    }
}
