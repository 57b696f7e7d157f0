//! Streams of deliveries: credit and settlements in, deliveries and results out.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use openraft_rt::Instant as _;
use roadstead_proto::v1::{
    Delivery, DeliveryBatch, ReceiveStreamAvailable, ReceiveStreamOpen, ReceiveStreamOpened,
    ReceiveStreamRequest, ReceiveStreamResponse, ReceiveStreamReturned, SettleBatch,
    SettleBatchResult, Settlement, receive_stream_request, receive_stream_response,
};
use tokio::sync::mpsc;

use super::consumers::drained;
use super::groups::Named;
use super::held::Held;
use super::shards::QueueInfo;
use super::sources::{Receiver, Sources};
use super::{ApiError, Gateway, validate};
use crate::auth::{Action, Principal, authorize};
use crate::runtime::Runtime;
use crate::shard::Rank;

/// Frames to the client that may wait for it. Each holds 256 KiB or one larger message.
const FRAMES: usize = 4;
/// Batches of settlements that a stream may have on their way.
const SETTLING_MAX: usize = 64;
/// Highest priority of a consumer.
const PRIORITY_MAX: u32 = 9;
const NAP: Duration = Duration::from_hours(1);
/// Credit that was taken back has come back within this, or its shard is in trouble.
const TAKE_BACK: Duration = Duration::from_millis(500);

type Frame = Result<ReceiveStreamResponse, ApiError>;
type Settling = Pin<Box<dyn Future<Output = (Vec<Settlement>, SettleBatchResult)> + Send>>;
type Permit = Result<mpsc::OwnedPermit<Frame>, mpsc::error::SendError<()>>;

impl<R: Runtime> Gateway<R> {
    /// Serves a stream of deliveries until the client ends it. An error is the last frame.
    pub fn receive_stream(
        self: &Arc<Self>,
        principal: Principal,
        frames: mpsc::Receiver<ReceiveStreamRequest>,
    ) -> mpsc::Receiver<Frame> {
        let (answers, stream) = mpsc::channel(FRAMES);
        let gateway = self.clone();
        self.scope.spawn(async move {
            let mut frames = frames;
            let result = match open(&gateway, principal, &mut frames, &answers).await {
                Ok(Some(stream)) => stream.run(frames).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                let _ = answers.send(Err(error)).await;
            }
        });
        stream
    }
}

/// Reads the first frame.
async fn open<R: Runtime>(
    gateway: &Arc<Gateway<R>>,
    principal: Principal,
    frames: &mut mpsc::Receiver<ReceiveStreamRequest>,
    answers: &mpsc::Sender<Frame>,
) -> Result<Option<Stream<R>>, ApiError> {
    let Some(first) = frames.recv().await else {
        return Ok(None);
    };
    let Some(receive_stream_request::Frame::Open(open)) = first.frame else {
        let message = "the first frame of a stream of deliveries is `open`";
        return Err(ApiError::invalid("open", message));
    };
    let meant = Named {
        queue: open.queue.as_ref(),
        group: &open.group,
        queue_id: open.queue_id,
        group_id: open.group_id,
    };
    let (info, group_id) = gateway
        .queue_and_group(&principal, Action::Receive, meant)
        .await?;
    authorize(&principal, Action::Settle, Some(info.reference()))?;
    check(&open, &info).map_err(|error| error.about(info.reference()))?;
    let receiver = Receiver {
        one_time: false,
        principal: principal.clone(),
        info: info.clone(),
        group_id,
        session_id: open.session_id,
        stream: open.stream,
        rank: Rank {
            priority: validate::count("priority", open.priority, 0, PRIORITY_MAX)?,
            exclusive: open.exclusive,
        },
        at_most_once: validate::at_most_once(open.delivery, &info.spec())
            .map_err(|error| error.about(info.reference()))?,
        lease: open.lease,
        consumer: open.consumer,
        drained: drained("draining", open.draining.as_ref())?.map(Duration::from_millis),
    };
    let shards = gateway.shards.clone();
    let opened = ReceiveStreamOpened {
        queue_id: info.id(),
        group_id,
    };
    let sources = Sources::new(shards, gateway.router.clone(), receiver, &open.partitions);
    let mut stream = Stream {
        gateway: gateway.clone(),
        principal: Arc::new(principal),
        info,
        sources,
        held: Held::new(open.held_receipts),
        settling: FuturesUnordered::new(),
        answers: answers.clone(),
        out: VecDeque::new(),
        permit: None,
        withdrawing: None,
        withdrawn: false,
        short: false,
        start: R::Instant::now(),
    };
    stream.answer(receive_stream_response::Frame::Opened(opened));
    Ok(Some(stream))
}

fn check(open: &ReceiveStreamOpen, info: &QueueInfo) -> Result<(), ApiError> {
    validate::id("session_id", &open.session_id)?;
    validate::lease(open.lease.as_ref())?;
    validate::consumer(open.consumer.as_ref())?;
    let partitions = open.partitions.iter();
    partitions
        .copied()
        .try_for_each(|p| super::messages::check_partition(info, Some(p)))
}

struct Stream<R: Runtime> {
    gateway: Arc<Gateway<R>>,
    principal: Arc<Principal>,
    info: Arc<QueueInfo>,
    sources: Sources<R>,
    held: Held,
    settling: FuturesUnordered<Settling>,
    answers: mpsc::Sender<Frame>,
    /// What the client has not made room for yet: one batch of deliveries, and results.
    out: VecDeque<ReceiveStreamResponse>,
    permit: Option<Pin<Box<dyn Future<Output = Permit> + Send>>>,
    /// The client has taken back its credit, and some of it is still at shards; until when that is
    /// waited for. What it asks for next may be to give messages back, and these would be leased
    /// to it again; and an end would leave leased what is on its way.
    withdrawing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The client has taken back its credit, and is to hear what came back.
    withdrawn: bool,
    /// The client has heard that its credit is used up, and has granted none since.
    short: bool,
    start: R::Instant,
}

enum Event {
    Client(Option<Box<ReceiveStreamRequest>>),
    Deliveries(Vec<Delivery>),
    Settled(Vec<Settlement>, SettleBatchResult),
    /// The client has read, or is gone.
    Room(bool),
    /// A subscription is to be opened, or all credit has come back.
    Again,
}

impl<R: Runtime> Stream<R> {
    async fn run(
        mut self,
        mut frames: mpsc::Receiver<ReceiveStreamRequest>,
    ) -> Result<(), ApiError> {
        let mut open = true;
        while open || !self.settling.is_empty() || !self.out.is_empty() {
            if let Some(draining) = self.sources.drained_anew() {
                self.answer(receive_stream_response::Frame::Draining(draining));
            }
            self.tell_of_credit();
            if !self.flush() {
                return Ok(());
            }
            let held = &self.held;
            let nap = self.sources.open_due(|| held.receipts());
            let mut reopen = Box::pin(R::sleep(nap.unwrap_or(NAP)));
            let event = poll_fn(|context| {
                let event = self.poll(context, open.then_some(&mut frames));
                if event.is_pending() && reopen.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Ok(Event::Again));
                }
                event
            });
            match event.await? {
                Event::Client(Some(request)) => self.asked(*request)?,
                // Its deliveries stay leased to the session until it is back, or for the grace.
                Event::Client(None) => open = false,
                Event::Deliveries(deliveries) => self.deliver(deliveries),
                Event::Settled(settlements, result) => {
                    let now = self.now_ms();
                    self.held.answered(&settlements, &result.results, now);
                    self.sources.settled();
                    self.answer(receive_stream_response::Frame::Settled(result));
                }
                Event::Room(true) | Event::Again => {}
                Event::Room(false) => return Ok(()),
            }
        }
        Ok(())
    }

    /// A client that does not read gets no more deliveries, and after a while its settlements wait
    /// too; nothing piles up here.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        frames: Option<&mut mpsc::Receiver<ReceiveStreamRequest>>,
    ) -> Poll<Result<Event, ApiError>> {
        if let Some(permit) = &mut self.permit
            && let Poll::Ready(permit) = permit.as_mut().poll(context)
        {
            self.permit = None;
            let room = permit.is_ok();
            if let (Ok(permit), Some(frame)) = (permit, self.out.pop_front()) {
                permit.send(Ok(frame));
            }
            return Poll::Ready(Ok(Event::Room(room)));
        }
        if !self.settling.is_empty()
            && let Poll::Ready(Some((settlements, result))) = self.settling.poll_next_unpin(context)
        {
            return Poll::Ready(Ok(Event::Settled(settlements, result)));
        }
        let open = frames.is_some();
        if let Some(frames) = frames
            && self.withdrawing.is_none()
            && self.settling.len() + self.out.len() < SETTLING_MAX
            && let Poll::Ready(request) = frames.poll_recv(context)
        {
            return Poll::Ready(Ok(Event::Client(request.map(Box::new))));
        }
        if open
            && self.out.is_empty()
            && let Poll::Ready(batch) = self.sources.poll_deliveries(context)
        {
            return Poll::Ready(batch.map(Event::Deliveries));
        }
        let unused = self.sources.unused();
        if let Some(limit) = &mut self.withdrawing
            && (unused == 0 || limit.as_mut().poll(context).is_ready())
        {
            self.withdrawing = None;
            return Poll::Ready(Ok(Event::Again));
        }
        if self.tell_of_credit() {
            return Poll::Ready(Ok(Event::Again));
        }
        Poll::Pending
    }

    fn asked(&mut self, request: ReceiveStreamRequest) -> Result<(), ApiError> {
        match request.frame {
            Some(receive_stream_request::Frame::Credit(credit)) => {
                self.sources.grant(credit.messages);
                if credit.messages > 0 {
                    self.short = false;
                } else {
                    self.withdrawn = true;
                    self.withdrawing = Some(Box::pin(R::sleep(TAKE_BACK)));
                }
                Ok(())
            }
            Some(receive_stream_request::Frame::Settle(batch)) => {
                validate::batch("settlements", batch.settlements.len())?;
                let (gateway, info) = (self.gateway.clone(), self.info.clone());
                let principal = self.principal.clone();
                self.settling.push(Box::pin(async move {
                    let SettleBatch {
                        batch_id,
                        settlements,
                    } = batch;
                    let asked = settlements.clone();
                    let results = gateway.settle_in(&principal, &info, settlements).await;
                    (asked, SettleBatchResult { batch_id, results })
                }));
                Ok(())
            }
            Some(receive_stream_request::Frame::Open(_)) | None => {
                let message =
                    "a frame after the first of a stream of deliveries is `credit` or `settle`";
                Err(ApiError::invalid("credit", message))
            }
        }
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) {
        let now = self.now_ms();
        for delivery in &deliveries {
            self.held.delivered(delivery, now);
        }
        if !deliveries.is_empty() {
            let batch = DeliveryBatch { deliveries };
            self.answer(receive_stream_response::Frame::Deliveries(batch));
        }
    }

    /// What came back of the credit comes behind what was delivered on it, and that more is ready
    /// behind that; false when there is nothing to tell.
    fn tell_of_credit(&mut self) -> bool {
        if self.withdrawing.is_some() {
            return false;
        }
        let before = self.out.len();
        let messages = self.sources.take_returned();
        if std::mem::take(&mut self.withdrawn) || messages > 0 {
            let returned = ReceiveStreamReturned { messages };
            self.answer(receive_stream_response::Frame::Returned(returned));
        }
        if !self.short && self.sources.is_short() {
            self.short = true;
            let available = ReceiveStreamAvailable {};
            self.answer(receive_stream_response::Frame::Available(available));
        }
        self.out.len() > before
    }

    fn answer(&mut self, frame: receive_stream_response::Frame) {
        self.out
            .push_back(ReceiveStreamResponse { frame: Some(frame) });
    }

    /// Writes what the client has room for; false when it is gone.
    fn flush(&mut self) -> bool {
        while self.permit.is_none()
            && let Some(frame) = self.out.pop_front()
        {
            match self.answers.try_send(Ok(frame)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(Ok(frame))) => {
                    self.out.push_front(frame);
                    self.permit = Some(Box::pin(self.answers.clone().reserve_owned()));
                }
                Err(_) => return false,
            }
        }
        true
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}
