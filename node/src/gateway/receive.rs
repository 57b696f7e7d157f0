//! One-time receives, over the shards of a queue.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    Delivery, Nack, ReceiveRequest, ReceiveResponse, Settlement, ShardCall, ShardReceive,
};

use super::groups::Named;
use super::queues::odd_answer;
use super::route::Again;
use super::shards::QueueInfo;
use super::sources::{Receiver, Sources};
use super::validate::BATCH_MAX;
use super::{ApiError, Gateway, PATIENCE, validate};
use crate::auth;
use crate::auth::Principal;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;
use crate::shard::Rank;
use crate::shard::deliver::{ANSWER_BYTES, weight};
use crate::shard::wire::duration_ms;

/// Credit that was taken back is answered within this, or its shard is in trouble.
const TAKE_BACK: Duration = Duration::from_millis(500);
/// One of several shards answers within this, or is left out.
const ONE_OF_SEVERAL: Duration = Duration::from_secs(1);

impl<R: Runtime> Gateway<R> {
    /// Receives up to `max_messages`, waiting up to `wait` for the first.
    pub async fn receive(
        self: &Arc<Self>,
        principal: &Principal,
        request: ReceiveRequest,
    ) -> Result<ReceiveResponse, ApiError> {
        let meant = Named::only(request.queue.as_ref(), &request.group);
        let (info, group) = self
            .queue_and_group(principal, auth::Action::Receive, meant)
            .await?;
        let max = validate::count("max_messages", request.max_messages, 1, BATCH_MAX as u32)?;
        validate::lease(request.lease.as_ref())?;
        validate::consumer(request.consumer.as_ref())?;
        let wait = validate::wait(request.wait.as_ref())?;
        let about = |error: ApiError| error.about(info.reference());
        let asked = Asked {
            session_id: validate::retry_session(&request.retry_token)?,
            at_most_once: validate::at_most_once(request.delivery, &info.spec()).map_err(about)?,
            info: info.clone(),
            group,
            request,
        };
        let mut shards = info.by_shard(&[]);
        if shards.is_empty() {
            return Ok(ReceiveResponse::default());
        }
        if let [(shard, partitions)] = &shards[..] {
            let receive = asked.of_shard(partitions.clone(), (max, wait));
            return self
                .receive_at(principal, *shard, receive)
                .await
                .map_err(about);
        }
        let got = self.held(principal, &asked, &shards, max).await;
        let mut got = got.map_err(about)?;
        if got.deliveries.is_empty() {
            self.gather_in_turn(principal, &asked, (&mut shards, &mut got), (max, wait))
                .await
                .map_err(about)?;
        }
        if got.deliveries.is_empty() && wait > 0 {
            got = self.wait_for(principal, asked, (max, wait)).await?;
        }
        if !got.beyond.is_empty() {
            self.settle_in(principal, &info, got.beyond).await;
        }
        Ok(ReceiveResponse {
            deliveries: got.deliveries,
        })
    }

    /// What is leased already to a receive that is tried again.
    async fn held(
        &self,
        principal: &Principal,
        asked: &Asked,
        shards: &[(GroupId, Vec<u32>)],
        max: u32,
    ) -> Result<Gathered, ApiError> {
        let mut held = Gathered::default();
        if asked.session_id.is_empty() || !asked.request.retried {
            return Ok(held);
        }
        let ask = shards.iter().map(|(shard, partitions)| {
            let mut receive = asked.of_shard(partitions.clone(), (max, 0));
            receive.held_only = true;
            self.receive_at(principal, *shard, receive)
        });
        for received in join_all(ask).await {
            // Others in their place would be others than the first try got.
            held.extend(received?.deliveries, max);
        }
        Ok(held)
    }

    /// Takes what is ready, of another shard first each time, so that none is starved. A shard that
    /// does not answer is left out, unless nothing came at all and nothing is to be waited for.
    async fn gather_in_turn(
        &self,
        principal: &Principal,
        asked: &Asked,
        (shards, got): (&mut [(GroupId, Vec<u32>)], &mut Gathered),
        (max, wait): (u32, u64),
    ) -> Result<(), ApiError> {
        let turn = self.next_turn() as usize % shards.len();
        shards.rotate_left(turn);
        let mut failed = None;
        for (shard, partitions) in shards {
            let left = max - got.deliveries.len() as u32;
            if left == 0 || got.is_full() {
                break;
            }
            let receive = asked.of_shard(partitions.clone(), (left, 0));
            let received = R::timeout(ONE_OF_SEVERAL, self.receive_at(principal, *shard, receive));
            match received.await {
                Ok(Ok(received)) => got.extend(received.deliveries, max),
                Ok(Err(error)) => failed = failed.or(Some(error)),
                Err(_) => failed = failed.or_else(|| Some(silent(*shard))),
            }
        }
        match failed.filter(|_| got.deliveries.is_empty() && wait == 0) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn receive_at(
        &self,
        principal: &Principal,
        shard: GroupId,
        receive: ShardReceive,
    ) -> Result<ReceiveResponse, ApiError> {
        let wait = receive
            .wait
            .as_ref()
            .and_then(crate::shard::wire::millis)
            .unwrap_or(0);
        let patience = PATIENCE + Duration::from_millis(wait);
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(Call::Receive(receive)),
        };
        // What an unanswered try has leased comes back when its lease ends.
        match self
            .router
            .call(shard, call, patience, Again::Safe)
            .await?
            .reply
        {
            Some(Reply::Receive(received)) => Ok(received),
            _ => Err(odd_answer(shard)),
        }
    }

    /// Waits at all shards at once, with the credit where something is.
    async fn wait_for(
        &self,
        principal: &Principal,
        asked: Asked,
        (max, wait): (u32, u64),
    ) -> Result<Gathered, ApiError> {
        let receiver = Receiver {
            principal: principal.clone(),
            group_id: asked.group,
            info: asked.info,
            session_id: asked.session_id,
            one_time: true,
            rank: Rank::default(),
            stream: 0,
            lease: asked.request.lease,
            consumer: asked.request.consumer,
            at_most_once: asked.at_most_once,
            drained: None,
        };
        let shards = self.shards.clone();
        let mut sources = Sources::new(shards, self.router.clone(), receiver, &[]);
        sources.grant(max);
        let mut got = Gathered::default();
        let wait = Duration::from_millis(wait);
        let first = gather::<R>(&mut sources, (wait, max), true, &mut got).await;
        got.or_else_fail(first)?;
        // Nothing is leased to it any more once all unused credit has come back.
        sources.grant(0);
        let rest = gather::<R>(&mut sources, (TAKE_BACK, max), false, &mut got).await;
        got.or_else_fail(rest)?;
        Ok(got)
    }
}

/// What one answer can hold, and what is to be handed back.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) deliveries: Vec<Delivery>,
    bytes: usize,
    pub(super) beyond: Vec<Settlement>,
}

impl Gathered {
    fn is_full(&self) -> bool {
        !self.beyond.is_empty() || self.bytes >= ANSWER_BYTES
    }

    /// What was gathered is delivered, whatever comes behind it.
    fn or_else_fail(&self, gathered: Result<(), ApiError>) -> Result<(), ApiError> {
        if self.deliveries.is_empty() {
            gathered
        } else {
            Ok(())
        }
    }

    /// Takes what there is room for, up to `max` messages in all.
    pub(super) fn extend(&mut self, batch: Vec<Delivery>, max: u32) {
        for delivery in batch {
            let bytes = self.bytes + weight(std::slice::from_ref(&delivery));
            let count = self.deliveries.len();
            let fits = count == 0 || bytes <= ANSWER_BYTES && count < max as usize;
            // Without a receipt it was consumed, and cannot be handed back.
            if delivery.receipt.is_empty() || self.beyond.is_empty() && fits {
                self.bytes = bytes;
                self.deliveries.push(delivery);
            } else {
                self.beyond.push(Settlement {
                    receipt: delivery.receipt,
                    action: Some(Action::Nack(Nack {
                        unstarted: true,
                        ..Nack::default()
                    })),
                });
            }
        }
    }
}

/// Gathers until the time is over, the credit is gone, or (`first`) there is something.
async fn gather<R: Runtime>(
    sources: &mut Sources<R>,
    (time, max): (Duration, u32),
    first: bool,
    got: &mut Gathered,
) -> Result<(), ApiError> {
    let mut over = Box::pin(R::sleep(time));
    while sources.unused() > 0 && (!first || got.deliveries.is_empty()) {
        let nap = sources.open_due(Vec::new);
        let mut reopen = Box::pin(R::sleep(nap.unwrap_or(time)));
        let more = poll_fn(|context| {
            if let Poll::Ready(batch) = sources.poll_deliveries(context) {
                return Poll::Ready(batch.map(Some));
            }
            if over.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(None));
            }
            // Credit may have come back without a delivery.
            if sources.unused() == 0 || reopen.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(Some(Vec::new())));
            }
            Poll::Pending
        });
        match more.await? {
            Some(batch) => got.extend(batch, max),
            None => break,
        }
    }
    Ok(())
}

fn silent(shard: GroupId) -> ApiError {
    ApiError::unavailable(format!("shard {shard} does not answer: try again"))
}

/// A receive as its shards are asked for it.
struct Asked {
    info: Arc<QueueInfo>,
    /// Id of the consumer group.
    group: u32,
    /// By which it is known when it is tried again; empty: it is not.
    session_id: String,
    at_most_once: bool,
    request: ReceiveRequest,
}

impl Asked {
    fn of_shard(&self, partitions: Vec<u32>, (max_messages, wait): (u32, u64)) -> ShardReceive {
        ShardReceive {
            queue_id: self.info.id(),
            queue: Some(self.info.reference().clone()),
            partitions,
            max_messages,
            lease: self.request.lease,
            wait: Some(duration_ms(wait)),
            consumer: self.request.consumer.clone(),
            group_id: self.group,
            session_id: self.session_id.clone(),
            held_only: false,
            at_most_once: self.at_most_once,
        }
    }
}
