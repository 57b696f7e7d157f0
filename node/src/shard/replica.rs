//! What serving a shard needs of its Raft group.

use std::future::Future;
use std::io;

use bytes::Bytes;
use roadstead_core::kv::Kv;
use roadstead_core::shard::{Applied, PayloadRef, ShardMachine};

use crate::raft::types::{GroupId, NodeId};

/// Who leads a group, as one of its replicas sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// The term.
    pub term: u64,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// This replica leads, and has applied everything that earlier leaders committed.
    pub is_leader: bool,
    /// Rises with every change seen here.
    pub epoch: u64,
}

/// Why an entry was not applied, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unapplied {
    /// It was not proposed: another replica leads, if any does.
    #[error("this node does not lead")]
    NotLeader(Option<NodeId>),
    /// It may be applied yet, or not.
    #[error("it is not known whether it was applied: {0}")]
    Unknown(String),
}

/// One replica of a shard. In tests a twin without Raft stands in.
pub trait Replica: Send + Sync + 'static {
    /// The shard.
    fn id(&self) -> GroupId;

    /// Who leads now.
    fn view(&self) -> View;

    /// Waits until the epoch is another than `epoch`.
    fn view_changed(&self, epoch: u64) -> impl Future<Output = View> + Send;

    /// Proposes one encoded entry; answers when it has been applied here. Entries are ordered by
    /// the first poll of this future.
    fn propose(&self, entry: Bytes) -> impl Future<Output = Result<Applied, Unapplied>> + Send;

    /// Reads the state as it is applied here: short, under the group's lock.
    fn read<T>(&self, f: impl FnOnce(&ShardMachine, &dyn Kv) -> T) -> T;

    /// The bytes that rows or replies name, in the same order; an error when one of them is named
    /// by no row any more.
    fn payloads(
        &self,
        refs: Vec<PayloadRef>,
    ) -> impl Future<Output = io::Result<Vec<Bytes>>> + Send;

    /// Cluster time, in ms since 1970.
    fn cluster_time(&self) -> u64;

    /// Whether others vote beside this replica.
    fn has_other_voters(&self) -> bool;

    /// Whether sends may be accepted; the error says which disk is low.
    fn sends_allowed(&self) -> Result<(), String>;
}
