//! The shards that one consumer receives from: opens subscriptions at their leaders, opens them
//! again when leadership moves, and splits the consumer's credit over them.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use openraft_rt::Instant as _;
use roadstead_proto::credit::{CreditSplit, Order};
use roadstead_proto::v1::{
    CallError, Consumer, Delivery, ReceiveStreamDraining, SubscriptionDown, SubscriptionOpen,
    SubscriptionUp, subscription_down, subscription_up,
};
use tonic::Code;

use super::ApiError;
use super::route::Router;
use super::shards::{QueueInfo, Shards, Subscription};
use crate::auth::Principal;
use crate::raft::types::{GroupId, NodeId};
use crate::runtime::Runtime;
use crate::shard::Rank;
use crate::shard::deliver::{self, WINDOW_MIN};
use crate::shard::wire::duration_ms;

const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Between two words about settlements.
const SETTLED_PACE: Duration = Duration::from_secs(1);

/// Who receives, and how.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Who asks.
    pub principal: Principal,
    /// From where.
    pub info: Arc<QueueInfo>,
    /// Id of the consumer group.
    pub group_id: u32,
    /// Empty: the leases belong to no session.
    pub session_id: String,
    /// A try of one receive: the leases end by themselves, not with the session.
    pub one_time: bool,
    /// Which of the session's streams: a later one has a higher number.
    pub stream: u64,
    /// Which of several is served first.
    pub rank: Rank,
    /// What it is delivered is acked by that.
    pub at_most_once: bool,
    /// Absent: the queue's.
    pub lease: Option<prost_types::Duration>,
    /// For people.
    pub consumer: Option<Consumer>,
    /// It was told that it is drained for so long.
    pub drained: Option<Duration>,
}

struct Source<R: Runtime> {
    shard: GroupId,
    partitions: Vec<u32>,
    link: Option<(NodeId, Subscription)>,
    open_at: R::Instant,
    pause: Duration,
    turn: usize,
    /// Bytes that were read, and the shard does not know yet.
    read: usize,
    /// The shard gives it nothing until then; a new leader is told so.
    drained_until: Option<R::Instant>,
}

/// The subscriptions of one consumer.
pub struct Sources<R: Runtime> {
    shards: Arc<dyn Shards>,
    router: Arc<Router<R>>,
    receiver: Receiver,
    all: Vec<Source<R>>,
    credit: CreditSplit,
    next: usize,
    /// A subscription has ended since `open_due` was called, or there is news of draining.
    news: bool,
    /// Until when it is drained, as was said last.
    said: Option<R::Instant>,
    /// When the shards heard last that something was settled.
    settled: Option<R::Instant>,
}

impl<R: Runtime> Sources<R> {
    /// No subscription is open yet, and there is no credit.
    pub fn new(
        shards: Arc<dyn Shards>,
        router: Arc<Router<R>>,
        receiver: Receiver,
        partitions: &[u32],
    ) -> Self {
        let now = R::Instant::now();
        let drained_until = receiver.drained.map(|left| now + left);
        let source = |(shard, partitions)| Source {
            shard,
            partitions,
            link: None,
            open_at: now,
            pause: PAUSE_FIRST,
            turn: 0,
            read: 0,
            drained_until,
        };
        let by_shard = receiver.info.by_shard(partitions);
        let sources: Vec<_> = by_shard.into_iter().map(source).collect();
        let credit = CreditSplit::new(sources.len());
        Self {
            shards,
            router,
            receiver,
            all: sources,
            credit,
            next: 0,
            news: false,
            said: drained_until,
            settled: None,
        }
    }

    /// Opens what is due; `held` are the receipts that the consumer holds. Returns how long
    /// nothing more is due.
    pub fn open_due(&mut self, held: impl Fn() -> Vec<Bytes>) -> Option<Duration> {
        let now = R::Instant::now();
        for index in 0..self.all.len() {
            let source = &self.all[index];
            if source.link.is_none() && source.open_at <= now {
                self.open(index, held());
            }
        }
        self.obey();
        self.news = false;
        let closed = self.all.iter().filter(|source| source.link.is_none());
        let next = closed.map(|source| source.open_at).min()?;
        Some(next.saturating_duration_since(now))
    }

    fn open(&mut self, index: usize, held_receipts: Vec<Bytes>) {
        let source = &mut self.all[index];
        let receiver = &self.receiver;
        let Some(node) = self.router.candidate(source.shard, source.turn) else {
            return self.retry(index);
        };
        let open = SubscriptionOpen {
            principal: Some(receiver.principal.to_info()),
            queue_id: receiver.info.id(),
            queue: Some(receiver.info.reference().clone()),
            partitions: source.partitions.clone(),
            session_id: receiver.session_id.clone(),
            held_receipts,
            lease: receiver.lease,
            consumer: receiver.consumer.clone(),
            stream: receiver.stream,
            group_id: receiver.group_id,
            one_time: receiver.one_time,
            priority: receiver.rank.priority,
            exclusive: receiver.rank.exclusive,
            draining_ms: source.drained_until.map_or(0, left::<R>),
            at_most_once: receiver.at_most_once,
        };
        source.read = 0;
        source.drained_until = source.drained_until.filter(|until| left::<R>(*until) > 0);
        source.link = Some((node, self.shards.subscribe(node, source.shard, open)));
        self.credit.opened(index);
    }

    fn retry(&mut self, index: usize) {
        self.news = true;
        let source = &mut self.all[index];
        source.turn += 1;
        source.open_at = R::Instant::now() + source.pause;
        source.pause = (source.pause * 2).min(PAUSE_MAX);
    }

    /// The consumer may get `messages` more; 0 takes back what is unused.
    pub fn grant(&mut self, messages: u32) {
        if messages == 0 {
            for order in self.credit.withdraw() {
                self.tell(order);
            }
        } else {
            self.credit.grant(messages);
        }
        self.obey();
    }

    /// Credit that is not used or given back yet.
    pub fn unused(&self) -> u64 {
        self.credit.unused()
    }

    /// What has come back unused of what was taken back, since this was asked last.
    pub fn take_returned(&mut self) -> u32 {
        self.credit.take_returned()
    }

    /// All credit is used, and a shard has something to deliver.
    pub fn is_short(&self) -> bool {
        self.credit.is_short()
    }

    /// What the consumer is to hear of being drained, where that has changed. It is drained as long
    /// as any shard says so.
    pub fn drained_anew(&mut self) -> Option<ReceiveStreamDraining> {
        let until = self.all.iter().filter_map(|source| source.drained_until);
        let until = until.max();
        if until == self.said {
            return None;
        }
        self.said = until;
        let remaining = until.map(|until| duration_ms(left::<R>(until).into()));
        Some(ReceiveStreamDraining { remaining })
    }

    /// The consumer has settled something; the shards hear so now and then.
    pub fn settled(&mut self) {
        let now = R::Instant::now();
        if self.settled.is_none_or(|last| last + SETTLED_PACE <= now) {
            self.settled = Some(now);
            for index in 0..self.all.len() {
                self.say(index, subscription_up::Frame::Settled(true));
            }
        }
    }

    /// The next deliveries, from the shards in turn; none when a subscription has ended, so that
    /// [`open_due`](Self::open_due) is called, or there is news of draining. An error ends the
    /// consumer's stream.
    pub fn poll_deliveries(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<Delivery>, ApiError>> {
        let count = self.all.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            while let Some((_, link)) = &mut self.all[index].link {
                let Poll::Ready(frame) = link.down.poll_recv(context) else {
                    break;
                };
                if let Some(deliveries) = self.heard(index, frame)? {
                    self.next = index + 1;
                    self.obey();
                    return Poll::Ready(Ok(deliveries));
                }
                // Told at once: the shard may wait for it before it says more.
                self.obey();
            }
        }
        if self.news {
            Poll::Ready(Ok(Vec::new()))
        } else {
            Poll::Pending
        }
    }

    fn heard(
        &mut self,
        index: usize,
        frame: Option<SubscriptionDown>,
    ) -> Result<Option<Vec<Delivery>>, ApiError> {
        match frame {
            Some(SubscriptionDown { frame: Some(frame) }) => match frame {
                subscription_down::Frame::Deliveries(batch) => {
                    self.all[index].pause = PAUSE_FIRST;
                    self.credit.delivered(index, batch.deliveries.len() as u32);
                    self.read(index, deliver::weight(&batch.deliveries));
                    return Ok(Some(batch.deliveries));
                }
                subscription_down::Frame::Available(_) => self.credit.available(index),
                subscription_down::Frame::Returned(unused) => self.credit.returned(index, unused),
                subscription_down::Frame::DrainingMs(left) => {
                    let until = R::Instant::now() + Duration::from_millis(left.into());
                    self.all[index].drained_until = Some(until).filter(|_| left > 0);
                    self.news = true;
                }
                subscription_down::Frame::Closed(error) => self.closed(index, Some(error))?,
            },
            Some(SubscriptionDown { frame: None }) => {}
            None => self.closed(index, None)?,
        }
        Ok(None)
    }

    fn closed(&mut self, index: usize, error: Option<CallError>) -> Result<(), ApiError> {
        let source = &mut self.all[index];
        let node = source.link.take().map_or(0, |(node, _)| node);
        self.credit.closed(index);
        let error = error.map(ApiError::from);
        let hinted = match &error {
            Some(error) if error.not_leader.is_some() => {
                self.router.learn(source.shard, node, error.not_leader)
            }
            Some(error) if error.code != Code::Unavailable => return Err(error.clone()),
            _ => {
                self.router.forget(source.shard, node);
                false
            }
        };
        if hinted && source.pause == PAUSE_FIRST {
            source.pause *= 2;
            source.open_at = R::Instant::now();
            self.news = true;
        } else {
            self.retry(index);
        }
        Ok(())
    }

    fn obey(&mut self) {
        let orders = self.credit.orders();
        for order in orders.into_iter().chain(self.credit.lend()) {
            self.tell(order);
        }
    }

    fn tell(&mut self, order: Order) {
        let (index, credit) = match order {
            Order::Give(index, credit) => (index, credit),
            Order::TakeBack(index) => (index, 0),
        };
        self.say(index, subscription_up::Frame::Credit(credit));
    }

    /// The shard hears now and then how much was read.
    fn read(&mut self, index: usize, bytes: usize) {
        let source = &mut self.all[index];
        source.read += bytes;
        if source.read >= WINDOW_MIN / 2 {
            let read = std::mem::take(&mut source.read);
            self.say(index, subscription_up::Frame::Read(read as u32));
        }
    }

    fn say(&mut self, index: usize, frame: subscription_up::Frame) {
        let frame = Some(frame);
        if let Some((_, link)) = &self.all[index].link
            && link.up.try_send(SubscriptionUp { frame }).is_err()
        {
            // The link is broken or stuck: this side hears of it by the receiver, or gives up.
            self.all[index].link = None;
            self.credit.closed(index);
            self.retry(index);
        }
    }
}

/// Milliseconds until then, rounded up.
fn left<R: Runtime>(until: R::Instant) -> u32 {
    let left = until.saturating_duration_since(R::Instant::now());
    u32::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX)
}
