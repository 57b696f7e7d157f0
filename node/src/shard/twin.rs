//! A shard without Raft, and a cluster of such shards in one process, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use openraft_rt_tokio::TokioRuntime;
use roadstead_core::kv::{Kv, MemoryKv};
use roadstead_core::shard::{Applied, Digested, PartitionConfig, PayloadRef, Reply, ShardMachine};
use roadstead_proto::v1::{
    GetTopologyResponse, Queue, QueueRef, QueueSpec, ShardCall, ShardReply, SubscriptionOpen,
};
use tokio::sync::{Notify, mpsc};

use super::{Replica, ShardOptions, ShardService, Unapplied, View};
use crate::gateway::route::Router;
use crate::gateway::shards::{Cluster, QueueInfo, Queues, Shards, Subscription};
use crate::gateway::{ApiError, Gateway};
use crate::raft::types::{GroupId, NodeId};
use crate::scope::NodeScope;

pub const NODE: NodeId = 1;
const START_MS: u64 = 1_000_000;

struct State {
    machine: ShardMachine,
    rows: MemoryKv,
    index: u64,
    entries: BTreeMap<u64, Bytes>,
}

/// A replica that applies at once what is proposed to it.
pub struct Twin {
    id: GroupId,
    state: Mutex<State>,
    view: Mutex<View>,
    changed: Notify,
    /// Added to real time.
    pub ahead_ms: AtomicU64,
    /// While set, proposals wait.
    held: AtomicBool,
    released: Notify,
    /// Entries proposed.
    pub proposed: AtomicU64,
    pub disk_low: AtomicBool,
    pub other_voters: AtomicBool,
    /// What its rows hashed to.
    pub digests: Mutex<Vec<Digested>>,
    start: Instant,
}

impl Twin {
    pub fn new(id: GroupId) -> Arc<Self> {
        let rows = MemoryKv::new();
        let machine = ShardMachine::open(&rows).unwrap();
        let view = View {
            term: 1,
            leader: Some(NODE),
            is_leader: true,
            epoch: 1,
        };
        Arc::new(Self {
            id,
            state: Mutex::new(State {
                machine,
                rows,
                index: 0,
                entries: BTreeMap::new(),
            }),
            view: Mutex::new(view),
            changed: Notify::new(),
            ahead_ms: AtomicU64::new(START_MS),
            held: AtomicBool::new(false),
            released: Notify::new(),
            proposed: AtomicU64::new(0),
            disk_low: AtomicBool::new(false),
            other_voters: AtomicBool::new(false),
            digests: Mutex::default(),
            start: Instant::now(),
        })
    }

    /// Proposals wait from now on, or go on.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
        if !held {
            self.released.notify_waiters();
        }
    }

    /// Leads from now on, or does not.
    pub fn lead(&self, is_leader: bool, leader: Option<NodeId>) {
        let mut view = self.view.lock().unwrap();
        *view = View {
            term: view.term + 1,
            leader,
            is_leader,
            epoch: view.epoch + 1,
        };
        self.changed.notify_waiters();
    }
}

impl Replica for Twin {
    fn id(&self) -> GroupId {
        self.id
    }

    fn view(&self) -> View {
        *self.view.lock().unwrap()
    }

    async fn view_changed(&self, epoch: u64) -> View {
        loop {
            let changed = self.changed.notified();
            let view = self.view();
            if view.epoch != epoch {
                return view;
            }
            changed.await;
        }
    }

    async fn propose(&self, entry: Bytes) -> Result<Applied, Unapplied> {
        self.proposed.fetch_add(1, Ordering::SeqCst);
        loop {
            let released = self.released.notified();
            if !self.held.load(Ordering::SeqCst) {
                break;
            }
            released.await;
        }
        let view = self.view();
        if !view.is_leader {
            return Err(Unapplied::NotLeader(view.leader));
        }
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        state.index += 1;
        let applied = state.machine.apply(&mut state.rows, state.index, &entry);
        state.entries.insert(state.index, entry);
        let applied = applied.unwrap();
        for reply in &applied.replies {
            if let Reply::Digested(digested) = reply {
                self.digests.lock().unwrap().push(digested.clone());
            }
        }
        Ok(applied)
    }

    fn read<T>(&self, f: impl FnOnce(&ShardMachine, &dyn Kv) -> T) -> T {
        let state = self.state.lock().unwrap();
        f(&state.machine, &state.rows)
    }

    async fn payloads(&self, refs: Vec<PayloadRef>) -> io::Result<Vec<Bytes>> {
        let state = self.state.lock().unwrap();
        let bytes = |payload: PayloadRef| {
            let start = payload.offset as usize;
            let entry = state
                .entries
                .get(&payload.index)
                .ok_or(io::ErrorKind::NotFound)?;
            Ok(entry.slice(start..start + payload.len as usize))
        };
        refs.into_iter().map(bytes).collect()
    }

    fn cluster_time(&self) -> u64 {
        self.ahead_ms.load(Ordering::SeqCst) + self.start.elapsed().as_millis() as u64
    }

    fn has_other_voters(&self) -> bool {
        self.other_voters.load(Ordering::SeqCst)
    }

    fn sends_allowed(&self) -> Result<(), String> {
        let low = self.disk_low.load(Ordering::SeqCst);
        if low {
            Err("the disk of node 3 is low".to_owned())
        } else {
            Ok(())
        }
    }
}

/// A catalog that tests write.
#[derive(Default)]
pub struct TwinQueues {
    queues: Mutex<BTreeMap<u64, Arc<QueueInfo>>>,
    /// What was committed and is not applied here.
    behind: Mutex<Vec<QueueInfo>>,
    version: AtomicU64,
    changed: Notify,
}

impl TwinQueues {
    pub fn set(&self, info: QueueInfo) {
        self.queues
            .lock()
            .unwrap()
            .insert(info.id(), Arc::new(info));
        self.version.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// The same, known here only behind a barrier.
    pub fn set_late(&self, info: QueueInfo) {
        self.behind.lock().unwrap().push(info);
    }

    pub fn remove(&self, id: u64) {
        self.queues.lock().unwrap().remove(&id);
        self.version.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

#[async_trait]
impl Queues for TwinQueues {
    fn find(&self, queue: &QueueRef) -> Option<Arc<QueueInfo>> {
        let queues = self.queues.lock().unwrap();
        queues
            .values()
            .find(|info| info.reference() == queue && !info.deleting)
            .cloned()
    }

    fn by_id(&self, id: u64) -> Option<Arc<QueueInfo>> {
        self.queues.lock().unwrap().get(&id).cloned()
    }

    fn list(&self, namespace: &str, after: Option<&QueueRef>, max: usize) -> Vec<Arc<QueueInfo>> {
        let key = |queue: &QueueRef| (queue.namespace.clone(), queue.name.clone());
        let queues = self.queues.lock().unwrap();
        let mut all: Vec<_> = queues.values().cloned().collect();
        all.retain(|info| namespace.is_empty() || info.reference().namespace == namespace);
        all.retain(|info| after.is_none_or(|after| key(info.reference()) > key(after)));
        all.sort_by_key(|info| key(info.reference()));
        all.truncate(max);
        all
    }

    fn replicas(&self, _: GroupId) -> Vec<NodeId> {
        vec![NODE]
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    async fn changed(&self, version: u64) -> u64 {
        loop {
            let changed = self.changed.notified();
            if self.version() != version {
                return self.version();
            }
            changed.await;
        }
    }

    async fn barrier(&self, _: Duration) -> Result<(), ApiError> {
        let behind = std::mem::take(&mut *self.behind.lock().unwrap());
        for info in behind {
            self.set(info);
        }
        Ok(())
    }
}

/// A queue of namespace `default` with a partition on each of these shards.
pub fn queue_info(id: u64, name: &str, shards: &[u32]) -> QueueInfo {
    let partitions = shards.len() as u32;
    QueueInfo {
        queue: Queue {
            queue: Some(QueueRef {
                namespace: "default".to_owned(),
                name: name.to_owned(),
            }),
            spec: Some(QueueSpec {
                partitions,
                ..QueueSpec::default()
            }),
            id,
            generation: 1,
            created_at: None,
            shards: shards.to_vec(),
            ..Queue::default()
        },
        config: PartitionConfig::default(),
        deleting: false,
    }
}

/// Shards of one node, and what routes to them.
pub struct TwinCluster {
    pub queues: Arc<TwinQueues>,
    pub twins: BTreeMap<GroupId, Arc<Twin>>,
    pub shards: Arc<TwinShards>,
    pub scope: NodeScope<TokioRuntime>,
}

type Services = BTreeMap<GroupId, Arc<ShardService<TokioRuntime, Twin>>>;

#[derive(Default)]
pub struct TwinShards {
    services: Mutex<Services>,
    /// Groups whose answers are lost.
    pub deaf: Mutex<BTreeSet<GroupId>>,
}

impl TwinShards {
    pub fn service(&self, group: GroupId) -> Arc<ShardService<TokioRuntime, Twin>> {
        self.services.lock().unwrap()[&group].clone()
    }
}

#[async_trait]
impl Shards for TwinShards {
    fn leader(&self, _: GroupId) -> Option<NodeId> {
        Some(NODE)
    }

    async fn call(
        &self,
        _: NodeId,
        group: GroupId,
        call: ShardCall,
        _: Duration,
    ) -> Result<ShardReply, ApiError> {
        let reply = self.service(group).call(call).await;
        if self.deaf.lock().unwrap().remove(&group) {
            return Err(ApiError::new(tonic::Code::Unknown, "the link broke"));
        }
        reply
    }

    fn subscribe(&self, _: NodeId, group: GroupId, open: SubscriptionOpen) -> Subscription {
        let (up, ups) = mpsc::channel(64);
        let (downs, down) = mpsc::channel(1);
        self.service(group).subscribe(open, ups, downs);
        Subscription { up, down }
    }
}

impl Cluster for TwinShards {
    fn topology(&self) -> GetTopologyResponse {
        GetTopologyResponse::default()
    }
}

impl TwinCluster {
    /// Shards 1..=`shards`.
    pub fn start(shards: GroupId, options: ShardOptions) -> Self {
        let queues = Arc::new(TwinQueues::default());
        let routed = Arc::new(TwinShards::default());
        let scope = NodeScope::default();
        let router = Arc::new(Router::<TokioRuntime>::new(
            NODE,
            routed.clone(),
            queues.clone(),
        ));
        let mut twins = BTreeMap::new();
        for id in 1..=shards {
            let twin = Twin::new(id);
            let service = ShardService::start(
                twin.clone(),
                queues.clone(),
                router.clone(),
                scope.clone(),
                options,
            );
            routed.services.lock().unwrap().insert(id, service);
            twins.insert(id, twin);
        }
        Self {
            queues,
            twins,
            shards: routed,
            scope,
        }
    }

    pub fn gateway(&self) -> Arc<Gateway<TokioRuntime>> {
        let (shards, queues) = (self.shards.clone(), self.queues.clone());
        Gateway::new(NODE, shards.clone(), queues, shards, self.scope.clone())
    }
}

impl Drop for TwinCluster {
    fn drop(&mut self) {
        self.scope.stop();
    }
}
