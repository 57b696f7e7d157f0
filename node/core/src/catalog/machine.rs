//! The machine itself.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::model::{Cluster, Member, Placement, Queue, QueueName};
use super::reply::Applied;
use crate::codec::DecodeError;
use crate::kv::{Kv, KvError};

/// An entry could not be applied: the group must stop.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The entry cannot be read: it is damaged, or a newer binary wrote it.
    #[error("entry {index} of the catalog's log: {source}")]
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

/// The state machine of the catalog. All of it is in memory, and in rows.
#[derive(Debug)]
pub struct CatalogMachine {
    cluster: Option<Cluster>,
    members: BTreeMap<u64, Member>,
    placements: BTreeMap<u16, Placement>,
    queues: BTreeMap<u64, Queue>,
    names: BTreeMap<QueueName, u64>,
}

impl CatalogMachine {
    /// A machine that goes on from `kv`; no rows are a catalog that was not founded.
    pub fn open(_kv: &dyn Kv) -> Result<Self, KvError> {
        Ok(Self {
            cluster: None,
            members: BTreeMap::new(),
            placements: BTreeMap::new(),
            queues: BTreeMap::new(),
            names: BTreeMap::new(),
        })
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

    /// The cluster; None before Bootstrap.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The members, by node id.
    pub fn members(&self) -> &BTreeMap<u64, Member> {
        &self.members
    }

    /// Where the replicas of each group shall be, by group; 0 is the catalog.
    pub fn placements(&self) -> &BTreeMap<u16, Placement> {
        &self.placements
    }

    /// The queue of this name, also while it is being deleted.
    pub fn queue(&self, name: &QueueName) -> Option<&Queue> {
        self.names.get(name).and_then(|id| self.queues.get(id))
    }

    /// The queue of this id.
    pub fn queue_by_id(&self, id: u64) -> Option<&Queue> {
        self.queues.get(&id)
    }

    /// All queues, by id.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// Up to `max` queues in order of namespace and name: those behind `after`, and of
    /// `namespace` only when it is not empty. Queues that are being deleted are left out.
    pub fn page(&self, namespace: &str, after: Option<&QueueName>, max: usize) -> Vec<&Queue> {
        let _ = (namespace, after, max);
        Vec::new()
    }
}
