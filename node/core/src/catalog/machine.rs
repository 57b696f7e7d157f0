//! The machine itself.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::entry::decode_entry;
use super::model::{Cluster, Member, Placement, Queue, QueueName, QueueState};
use super::op::Op;
use super::quota::Quota;
use super::reply::{Applied, Refusal, Reply};
use super::row::{self, Counters};
use crate::codec::{DecodeError, Decoded, Reader};
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
#[derive(Debug, Default)]
pub struct CatalogMachine {
    pub(super) cluster: Option<Cluster>,
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) placements: BTreeMap<u16, Placement>,
    pub(super) queues: BTreeMap<u64, Queue>,
    names: BTreeMap<QueueName, u64>,
    pub(super) quotas: BTreeMap<String, Quota>,
    pub(super) counters: Counters,
}

/// One entry being applied.
pub(super) struct Step<'a> {
    pub(super) kv: &'a mut dyn Kv,
    pub(super) now: u64,
    pub(super) cluster_changed: bool,
    pub(super) queues_changed: Vec<u64>,
}

impl CatalogMachine {
    /// A machine that goes on from `kv`; no rows are a catalog that was not founded.
    pub fn open(kv: &dyn Kv) -> Result<Self, KvError> {
        let mut machine = Self::default();
        let mut broken = None;
        kv.scan(&[], &[0xff], &mut |key, value| {
            if let Err(error) = machine.load(key, value) {
                broken = Some(KvError(format!("row {key:02x?} of the catalog: {error}")));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        broken.map_or(Ok(machine), Err)
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Decoded<()> {
        let mut r = Reader::new(key);
        match r.u8("kind of row")? {
            row::CLUSTER => self.cluster = Some(row::decoded(value, Cluster::decode)?),
            row::COUNTERS => self.counters = row::decoded(value, Counters::decode)?,
            row::MEMBER => {
                self.members
                    .insert(r.u64("node id")?, row::decoded(value, Member::decode)?);
            }
            row::PLACEMENT => {
                let group = u16::from_be_bytes([r.u8("group")?, r.u8("group")?]);
                self.placements
                    .insert(group, row::decoded(value, Placement::decode)?);
            }
            row::QUEUE => {
                let queue = row::decoded(value, Queue::decode)?;
                self.names.insert(queue.name.clone(), queue.id);
                self.queues.insert(queue.id, queue);
            }
            row::QUOTA => {
                let namespace = row::quota_namespace(&mut r)?;
                self.quotas
                    .insert(namespace, row::decoded(value, Quota::decode)?);
            }
            _ => return r.fail("kind of row"),
        }
        Ok(())
    }

    /// Applies the entry at log index `index`. Rows and replies are complete when it returns.
    pub fn apply(
        &mut self,
        kv: &mut dyn Kv,
        index: u64,
        entry: &Bytes,
    ) -> Result<Applied, ApplyError> {
        let decoded = decode_entry(entry);
        let (time, ops) = decoded.map_err(|source| ApplyError::Entry { index, source })?;
        let before = self.counters;
        self.counters.time = self.counters.time.max(time);
        let now = self.counters.time;
        let mut step = Step {
            kv,
            now,
            cluster_changed: false,
            queues_changed: Vec::new(),
        };
        let mut replies = Vec::with_capacity(ops.len());
        for op in ops {
            replies.push(self.carry_out(&mut step, op).unwrap_or_else(Reply::Refused));
        }
        let Step {
            cluster_changed,
            mut queues_changed,
            ..
        } = step;
        queues_changed.sort_unstable();
        queues_changed.dedup();
        if self.counters != before {
            let row = row::encoded(|out| self.counters.encode(out));
            kv.put(&row::single_key(row::COUNTERS), row);
        }
        Ok(Applied {
            replies,
            cluster_changed,
            queues_changed,
        })
    }

    fn carry_out(&mut self, step: &mut Step<'_>, op: Op) -> Result<Reply, Refusal> {
        match op {
            Op::Bootstrap(op) => op.apply(self, step),
            _ if self.cluster.is_none() => Err(Refusal::NotFounded),
            Op::AddMember(op) => op.apply(self, step),
            Op::UpdateMember(op) => op.apply(self, step),
            Op::DrainMember(op) => op.apply(self, step),
            Op::RemoveMember(op) => op.apply(self, step),
            Op::CreateQueue(op) => op.apply(self, step),
            Op::UpdateQueue(op) => op.apply(self, step),
            Op::DeleteQueue(op) => op.apply(self, step),
            Op::FinishDelete(op) => Ok(op.apply(self, step)),
            Op::SetPlacement(op) => op.apply(self, step),
            Op::FinalizeVersion(op) => op.apply(self, step),
            Op::SetQuota(op) => op.apply(self, step),
        }
    }

    /// Cluster time of the newest entry, in ms since 1970.
    pub fn time(&self) -> u64 {
        self.counters.time
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

    /// The queue of this id, also while it is being deleted.
    pub fn queue_by_id(&self, id: u64) -> Option<&Queue> {
        self.queues.get(&id)
    }

    /// All queues, by id, also those that are being deleted.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// The queues of a namespace by name, also those that are being deleted.
    pub(super) fn queues_of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Queue> {
        let names = self.names.range(QueueName::new(namespace, "")..);
        names
            .take_while(move |(name, _)| name.namespace == namespace)
            .filter_map(|(_, id)| self.queues.get(id))
    }

    /// Up to `max` queues in order of namespace and name: those behind `after`, and of
    /// `namespace` only when it is not empty. Queues that are being deleted are left out.
    pub fn page(&self, namespace: &str, after: Option<&QueueName>, max: usize) -> Vec<&Queue> {
        let begin = QueueName::new(namespace, "");
        let from = match after.filter(|after| **after >= begin) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(&begin),
        };
        let names = self.names.range((from, Bound::Unbounded));
        names
            .take_while(|(name, _)| namespace.is_empty() || name.namespace == namespace)
            .filter_map(|(_, id)| self.queues.get(id))
            .filter(|queue| queue.state == QueueState::Active)
            .take(max)
            .collect()
    }

    /// Refuses what an operator orders that another one has taken over from.
    pub(super) fn check_fence(&mut self, step: &mut Step<'_>, fence: u64) -> Result<(), Refusal> {
        let Some(cluster) = &mut self.cluster else {
            return Err(Refusal::NotFounded);
        };
        if fence == 0 || fence == cluster.fence {
            return Ok(());
        }
        if fence < cluster.fence {
            return Err(Refusal::Fenced {
                got: fence,
                newest: cluster.fence,
            });
        }
        cluster.fence = fence;
        let cluster = cluster.clone();
        self.put_cluster(step, cluster);
        Ok(())
    }

    pub(super) fn put_cluster(&mut self, step: &mut Step<'_>, cluster: Cluster) {
        let row = row::encoded(|out| cluster.encode(out));
        step.kv.put(&row::single_key(row::CLUSTER), row);
        step.cluster_changed = true;
        self.cluster = Some(cluster);
    }

    pub(super) fn put_member(&mut self, step: &mut Step<'_>, member: Member) {
        let id = member.node.node_id;
        let row = row::encoded(|out| member.encode(out));
        step.kv.put(&row::id_key(row::MEMBER, id), row);
        step.cluster_changed = true;
        self.members.insert(id, member);
    }

    pub(super) fn put_placement(&mut self, step: &mut Step<'_>, group: u16, to: Placement) {
        step.kv.put(
            &row::placement_key(group),
            row::encoded(|out| to.encode(out)),
        );
        step.cluster_changed = true;
        self.placements.insert(group, to);
    }

    pub(super) fn put_queue(&mut self, step: &mut Step<'_>, queue: Queue) {
        let row = row::encoded(|out| queue.encode(out));
        step.kv.put(&row::id_key(row::QUEUE, queue.id), row);
        step.queues_changed.push(queue.id);
        self.names.insert(queue.name.clone(), queue.id);
        self.queues.insert(queue.id, queue);
    }

    pub(super) fn forget_queue(&mut self, step: &mut Step<'_>, id: u64) {
        if let Some(queue) = self.queues.remove(&id) {
            self.names.remove(&queue.name);
            step.kv.delete(&row::id_key(row::QUEUE, id));
            step.queues_changed.push(id);
        }
    }

    pub(super) fn put_quota(
        &mut self,
        step: &mut Step<'_>,
        namespace: String,
        quota: Option<Quota>,
    ) {
        let key = row::quota_key(&namespace);
        if let Some(quota) = quota {
            step.kv.put(&key, row::encoded(|out| quota.encode(out)));
            self.quotas.insert(namespace, quota);
        } else {
            step.kv.delete(&key);
            self.quotas.remove(&namespace);
        }
    }

    pub(super) fn next_revision(&mut self) -> u64 {
        self.counters.revision += 1;
        self.counters.revision
    }
}
