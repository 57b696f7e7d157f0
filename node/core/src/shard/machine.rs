//! The machine itself.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::config::PartitionConfig;
use super::id::{PartitionId, PayloadRef, SessionId};
use super::reply::{Applied, Outbox, OutboxMessage, Peeked, Received, Stats};
use crate::codec::DecodeError;
use crate::kv::{Kv, KvError};

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
}

impl ShardMachine {
    /// A machine that goes on from `kv`; no rows are an empty shard.
    pub fn open(_kv: &dyn Kv) -> Result<Self, KvError> {
        Ok(Self { time: 0 })
    }

    /// Applies the entry at log index `index`. Rows and replies are complete when it returns.
    pub fn apply(
        &mut self,
        _kv: &mut dyn Kv,
        _index: u64,
        _entry: &Bytes,
    ) -> Result<Applied, ApplyError> {
        Err(KvError("not written yet".into()).into())
    }

    /// Cluster time of the newest entry, in ms since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// When a Tick has something to do at the earliest, in ms since 1970; it may find nothing.
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// Messages of a group that a Receive may find, 0 for what is not here. Cheap.
    pub fn ready(&self, _partition: PartitionId, _group: u32) -> u64 {
        0
    }

    /// Counts of a group; None when partition or group is not here.
    pub fn stats(
        &self,
        _kv: &dyn Kv,
        _partition: PartitionId,
        _group: u32,
    ) -> Result<Option<Stats>, KvError> {
        Ok(None)
    }

    /// The first `max` live messages, the delayed ones last.
    pub fn peek(
        &self,
        _kv: &dyn Kv,
        _partition: PartitionId,
        _max: usize,
    ) -> Result<Vec<Peeked>, KvError> {
        Ok(Vec::new())
    }

    /// What a session has leased in a partition, delivery by delivery.
    pub fn leases_of(
        &self,
        _kv: &dyn Kv,
        _partition: PartitionId,
        _session: SessionId,
    ) -> Result<Vec<Received>, KvError> {
        Ok(Vec::new())
    }

    /// The outboxes that hold something, in order of source and target.
    pub fn outboxes(&self) -> Vec<Outbox> {
        Vec::new()
    }

    /// The first `max` messages of the outbox of (source, target), in order of number.
    pub fn outbox_heads(
        &self,
        _kv: &dyn Kv,
        _source: PartitionId,
        _target: PartitionId,
        _max: usize,
    ) -> Result<Vec<OutboxMessage>, KvError> {
        Ok(Vec::new())
    }

    /// The partitions of the shard, in order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        std::iter::empty()
    }

    /// What a partition promises; None when it is not here or is being deleted.
    pub fn config(&self, _partition: PartitionId) -> Option<&PartitionConfig> {
        None
    }

    /// Visits the payloads of the log entries `first..=last` that rows still name, in no
    /// particular order, until `visit` breaks. The cost follows what is found, not the backlog.
    pub fn live_payloads(
        &self,
        _kv: &dyn Kv,
        _first: u64,
        _last: u64,
        _visit: &mut dyn FnMut(PayloadRef) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        Ok(())
    }

    /// A digest of all rows: equal on replicas that have applied the same entries. Reads them all.
    pub fn digest(_kv: &dyn Kv) -> Result<u64, KvError> {
        Ok(0)
    }
}
