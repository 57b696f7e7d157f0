//! Serves one shard for as long as this node leads it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_core::shard::{PartitionId, Refusal};
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    ConsumerLoad, QueueRef, ShardCall, ShardReply, SubscriptionDown, SubscriptionOpen,
    SubscriptionUp, subscription_down,
};
use tokio::sync::mpsc;

use super::configure;
use super::consumer::{Rank, Wish};
use super::courier::{Courier, Parked};
use super::desk::{Desk, ShardOptions};
use super::drains::DRAIN_MAX_MS;
use super::home::Homes;
use super::proposer::Proposer;
use super::redrive::Targets;
use super::refusal::refused;
use super::replica::Replica;
use super::sessions::session_id;
use super::subscription::{self, Seat};
use super::wire::millis;
use super::{
    accept, by_location, complete, delete, digest, inspect, load, peek, receive, redrive, roster,
    seek, settle,
};
use crate::auth::Principal;
use crate::gateway::ApiError;
use crate::gateway::route::Router;
use crate::gateway::shards::{QueueInfo, Queues};
use crate::metrics::LatencyNumbers;
use crate::runtime::Runtime;
use crate::scope::NodeScope;

const BARRIER: Duration = Duration::from_secs(2);
const DRAIN_POLL: Duration = Duration::from_millis(2);

/// Serves one shard. There is one per replica; it is idle while another node leads.
pub struct ShardService<R: Runtime, P: Replica> {
    desk: Arc<Desk<R, P>>,
    queues: Arc<dyn Queues>,
    scope: NodeScope<R>,
    parked: Arc<Mutex<Parked>>,
    homes: Homes<R, P>,
}

impl<R: Runtime, P: Replica> ShardService<R, P> {
    /// Starts the shard's tasks in `scope`.
    pub fn start(
        replica: Arc<P>,
        queues: Arc<dyn Queues>,
        router: Arc<Router<R>>,
        scope: NodeScope<R>,
        options: ShardOptions,
    ) -> Arc<Self> {
        let desk = Arc::new(Desk::new(replica, options));
        let parked = Arc::<Mutex<Parked>>::default();
        scope.spawn(Proposer::new(desk.clone()).run());
        scope.spawn(configure::follow(desk.clone(), queues.clone()));
        scope.spawn(digest::run(desk.clone()));
        let courier = Courier::new(desk.clone(), queues.clone(), router.clone(), parked.clone());
        scope.spawn(courier.run());
        let homes = Homes::new(desk.clone(), queues.clone(), router);
        Arc::new(Self {
            desk,
            queues,
            scope,
            parked,
            homes,
        })
    }

    /// Answers a call of the shard's leader. The caller has authorized it.
    pub async fn call(&self, call: ShardCall) -> Result<ShardReply, ApiError> {
        self.check_leads()?;
        let desk = &self.desk;
        let principal = Principal::from_info(call.principal.as_ref());
        let reply = match call.call {
            Some(Call::Send(call)) => {
                let queue = (call.queue_id, call.queue.as_ref());
                let queue = self.prepare(queue, &[call.partition]).await?;
                Reply::Send(self.homes.send(&queue, call).await?)
            }
            Some(Call::Place(call)) => {
                let queue = (call.queue_id, call.queue.as_ref());
                let queue = self.prepare(queue, &[call.partition]).await?;
                Reply::Placed(self.homes.place(&queue, call).await?)
            }
            Some(Call::Receive(call)) => {
                let queue = (call.queue_id, call.queue.as_ref());
                self.prepare_group(queue, &call.partitions, call.group_id)
                    .await?;
                Reply::Receive(receive::receive(desk, call).await?)
            }
            Some(Call::Settle(call)) => Reply::Settle(settle::settle(desk, call).await?),
            Some(Call::Complete(call)) => Reply::Complete(complete::complete(desk, call).await?),
            Some(Call::Accept(call)) => {
                let queue = (call.target_queue_id, None);
                let queue = self.prepare(queue, &[call.target_partition]).await?;
                Reply::Accepted(accept::accept(desk, queue.reference(), call).await?)
            }
            Some(Call::Drop(call)) => {
                Reply::Dropped(delete::delete(desk, &*self.queues, call).await?)
            }
            Some(Call::Configure(call)) => {
                configure::align(desk, &*self.queues, call.queue_id).await?;
                Reply::Done(true)
            }
            Some(call) => self.by_hand(call, &principal).await?,
            None => return Err(unknown()),
        };
        Ok(ShardReply { reply: Some(reply) })
    }

    /// Calls of people: to look at a queue, and to put messages elsewhere or away.
    async fn by_hand(&self, call: Call, principal: &Principal) -> Result<Reply, ApiError> {
        let desk = &self.desk;
        Ok(match call {
            Call::Stats(call) => {
                if call.confirmed {
                    inspect::confirm(desk).await?;
                }
                let partitions = self.held(call.queue_id);
                Reply::Stats(inspect::stats(desk, &partitions, call.group_id)?)
            }
            Call::Purge(call) => {
                let queue = call.queue.unwrap_or_default();
                let partitions = self.held(call.queue_id);
                Reply::Purge(inspect::purge(desk, &queue, &partitions).await?)
            }
            Call::Seek(call) => {
                let queue = (call.queue_id, call.queue.as_ref());
                self.prepare_group(queue, &call.partitions, call.group_id)
                    .await?;
                Reply::Seek(seek::seek(desk, call).await?)
            }
            Call::ListConsumers(call) => Reply::Consumers(roster::list(desk, &call)),
            Call::DrainConsumers(call) => Reply::Drained(roster::drain(desk, call).await?),
            Call::Peek(call) => {
                let held = self.held(call.queue_id);
                Reply::Peek(peek::peek(desk, &held, call).await?)
            }
            Call::DeleteMessage(call) => {
                by_location::delete(desk, principal, call).await?;
                Reply::Done(true)
            }
            Call::Redrive(call) => {
                let targets = Targets::new(&*self.queues, principal, call.queue_id);
                let held = self.held(call.queue_id);
                Reply::Redriven(redrive::redrive(desk, &held, targets, call).await?)
            }
            Call::RedriveMessage(call) => {
                let targets = Targets::new(&*self.queues, principal, call.queue_id);
                Reply::RedrivenTo(by_location::redrive(desk, targets, call).await?)
            }
            _ => return Err(unknown()),
        })
    }

    /// Serves a subscription until one side ends it. The caller has authorized it.
    pub fn subscribe(
        &self,
        open: SubscriptionOpen,
        up: mpsc::Receiver<SubscriptionUp>,
        down: mpsc::Sender<SubscriptionDown>,
    ) {
        if let Err(error) = self.check_leads() {
            self.scope.spawn(async move {
                let frame = Some(subscription_down::Frame::Closed(error.into()));
                let _ = down.send(SubscriptionDown { frame }).await;
            });
            return;
        }
        let queue = open.queue_id;
        let id = |partition: &u32| PartitionId {
            queue,
            partition: *partition,
        };
        let named = Some(&open.session_id).filter(|name| !name.is_empty());
        let wish = Wish {
            queue: open.queue.unwrap_or_default(),
            partitions: open.partitions.iter().map(id).collect(),
            group: open.group_id,
            session: named.map(|name| session_id((queue, open.group_id), name, open.one_time)),
            one_time: open.one_time,
            session_name: open.session_id.clone(),
            stream: open.stream,
            lease_ms: open.lease.as_ref().and_then(millis),
            at_most_once: open.at_most_once,
            rank: Rank {
                priority: open.priority,
                exclusive: open.exclusive,
            },
            label: open.consumer.unwrap_or_default(),
        };
        let seat = Seat::take(&self.desk, wish, &open.held_receipts);
        if open.draining_ms > 0 {
            let left = u64::from(open.draining_ms).min(DRAIN_MAX_MS);
            self.desk.seats().consumers.drain_again(seat.id, left);
            self.desk.intake.wake();
        }
        let queues = self.queues.clone();
        self.scope.spawn(async move {
            // Whoever ends the subscriptions of what is gone may have been here before.
            let group = seat.group();
            let known = queues
                .by_id(queue)
                .is_some_and(|info| info.has_group(group));
            if !known && let Err(error) = configure::end_gone(&seat.desk, &*queues).await {
                let frame = Some(subscription_down::Frame::Closed(error.into()));
                let _ = down.send(SubscriptionDown { frame }).await;
                return;
            }
            subscription::run(seat, up, down).await;
        });
    }

    /// The load of every partition of the shard; empty while another node leads.
    pub fn load(&self) -> Vec<ConsumerLoad> {
        load::loads(&self.desk, &*self.queues)
    }

    /// How long the entries that this node proposed took until they were applied.
    pub fn commit_latency(&self) -> LatencyNumbers {
        self.desk.commits.read()
    }

    /// Rises when a group without consumers gets something to do.
    pub fn load_version(&self) -> u64 {
        self.desk.load_version.load(Ordering::Acquire)
    }

    /// Waits until [`load_version`](Self::load_version) is another than `version`.
    pub async fn load_changed(&self, version: u64) -> u64 {
        loop {
            let rung = self.desk.load.notified();
            let now = self.load_version();
            if now != version {
                return now;
            }
            rung.await;
        }
    }

    /// Why messages wait in outboxes, by source and target.
    pub fn parked(&self) -> Parked {
        self.parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Refuses new work and waits until what was taken is written: before leadership is handed
    /// over. Who waits for deliveries goes on waiting. Give it a time limit.
    pub async fn drain(&self) {
        self.desk.intake.set_draining(true);
        while !self.desk.intake.is_idle() {
            R::sleep(DRAIN_POLL).await;
        }
    }

    /// Takes work again: leadership was not handed over after all, or came back.
    pub fn resume(&self) {
        self.desk.intake.set_draining(false);
        self.desk.intake.wake();
    }

    fn check_leads(&self) -> Result<(), ApiError> {
        if self.desk.leads() {
            return Ok(());
        }
        let view = self.desk.replica.view();
        let leader = view.leader.filter(|_| !view.is_leader);
        Err(ApiError::not_leader(self.desk.replica.id(), leader))
    }

    /// Makes sure that the shard knows the partitions of the queue, whose name is for people.
    async fn prepare(
        &self,
        (id, name): (u64, Option<&QueueRef>),
        partitions: &[u32],
    ) -> Result<Arc<QueueInfo>, ApiError> {
        let shard = self.desk.replica.id();
        let here = |queue: &QueueInfo| partitions.iter().all(|p| queue.shard(*p) == Some(shard));
        let newer = |queue: &QueueInfo| {
            let mut partitions = partitions.iter();
            partitions.any(|p| configure::knows_newer(&self.desk, queue, *p))
        };
        let mut queue = self.queues.by_id(id);
        if !queue
            .as_ref()
            .is_some_and(|queue| here(queue) && !newer(queue))
        {
            // The caller, or the leader before this one, may know a newer catalog.
            self.queues.barrier(BARRIER).await?;
            queue = self.queues.by_id(id);
        }
        let gone = || match name {
            Some(name) => ApiError::queue_gone(name),
            None => ApiError::new(tonic::Code::NotFound, format!("queue {id} does not exist")),
        };
        let queue = queue.ok_or_else(gone)?;
        if queue.deleting {
            return Err(refused(Refusal::Deleting, queue.reference()));
        }
        if !here(&queue) {
            let QueueRef { namespace, name } = queue.reference();
            let message = format!(
                "shard {shard} does not hold these partitions of queue {namespace}/{name}: look \
                 again"
            );
            return Err(ApiError::new(tonic::Code::NotFound, message).about(queue.reference()));
        }
        for partition in partitions {
            // What is queued behind it finds the partition; nobody needs to wait.
            drop(configure::ensure(&self.desk, &queue, *partition)?);
        }
        Ok(queue)
    }

    /// The same, and that it knows a consumer group of theirs.
    async fn prepare_group(
        &self,
        queue: (u64, Option<&QueueRef>),
        partitions: &[u32],
        group: u32,
    ) -> Result<(), ApiError> {
        if self.prepare(queue, partitions).await?.has_group(group) {
            return Ok(());
        }
        // It may be newer than this node's catalog.
        self.queues.barrier(BARRIER).await?;
        let info = self.prepare(queue, partitions).await?;
        if info.has_group(group) {
            return Ok(());
        }
        Err(ApiError::group_gone(info.reference()))
    }

    fn held(&self, queue: u64) -> Vec<PartitionId> {
        let machine = &self.desk.replica;
        machine.read(|machine, _| machine.partitions().filter(|p| p.queue == queue).collect())
    }
}

fn unknown() -> ApiError {
    let message = "a shard does not serve this call: the nodes' versions differ";
    ApiError::new(tonic::Code::Unimplemented, message)
}
