//! The types that Roadstead fixes for openraft.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use openraft::impls::{BasicNode, BoxedErrorSource, InlineBatch, OneshotResponder, leader_id_adv};
use openraft::vote::RaftLeaderId;
use openraft::{OptionalSend, RaftTypeConfig};
use roadstead_core::{catalog, shard};

pub use crate::runtime::Runtime;

/// Id of a node: a random number minted with its data directory and never used again.
pub type NodeId = u64;

/// Number of a Raft group of a cluster: 0 is the catalog, 1..=256 are the shards.
pub type GroupId = u16;

/// The group that holds queues, placement, members and the cluster version.
pub const CATALOG: GroupId = 0;

/// openraft's types for the runtime `R`. An entry's data is one encoded core entry.
pub struct TypeConfig<R>(PhantomData<fn() -> R>);

/// One encoded core entry; cloning it shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryData(pub Bytes);

impl fmt::Debug for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryData({} bytes)", self.0.len())
    }
}

impl fmt::Display for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What applying an entry answers to the leader that proposed it.
#[derive(Debug)]
pub enum Response {
    /// A blank or membership entry.
    None,
    /// An entry of a shard.
    Shard(shard::Applied),
    /// An entry of the catalog.
    Catalog(catalog::Applied),
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Shard(_) => "shard",
            Self::Catalog(_) => "catalog",
        })
    }
}

/// Term and node of a leader.
pub type LeaderId = leader_id_adv::LeaderId<u64, NodeId>;

/// Term, leader and index of an entry.
pub type LogId = openraft::LogId<<LeaderId as RaftLeaderId>::Committed>;

/// A vote.
pub type Vote = openraft::Vote<LeaderId>;

/// What an entry carries.
pub type Payload = openraft::EntryPayload<EntryData, NodeId, BasicNode>;

/// A log entry.
pub type Entry = openraft::Entry<<LeaderId as RaftLeaderId>::Committed, Payload>;

/// The membership of a group, with the id of the entry that holds it.
pub type StoredMembership =
    openraft::StoredMembership<<LeaderId as RaftLeaderId>::Committed, NodeId, BasicNode>;

impl<R: Runtime> RaftTypeConfig for TypeConfig<R> {
    type D = EntryData;
    type R = Response;
    type NodeId = NodeId;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = R;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

// Derives would ask the same of the runtime.
impl<R> Clone for TypeConfig<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for TypeConfig<R> {}

impl<R> Default for TypeConfig<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R> fmt::Debug for TypeConfig<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeConfig")
    }
}

impl<R> PartialEq for TypeConfig<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<R> Eq for TypeConfig<R> {}

impl<R> PartialOrd for TypeConfig<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for TypeConfig<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
