//! One-time receives, over the shards of a queue.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    Delivery, Nack, ReceiveRequest, ReceiveResponse, Settlement, ShardCall, ShardReceive,
};

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
use crate::shard::deliver::{ANSWER_BYTES, weight};
use crate::shard::wire::duration_ms;

/// Credit that was taken back is answered within this, or its shard is in trouble.
const TAKE_BACK: Duration = Duration::from_millis(500);

impl<R: Runtime> Gateway<R> {
    /// Receives up to `max_messages`, waiting up to `wait` for the first.
    pub async fn receive(
        self: &Arc<Self>,
        principal: &Principal,
        request: ReceiveRequest,
    ) -> Result<ReceiveResponse, ApiError> {
        let info = self
            .queue(principal, auth::Action::Receive, request.queue.as_ref())
            .await?;
        let group = validate::group(&request.group, &info)?;
        let max = validate::count("max_messages", request.max_messages, 1, BATCH_MAX as u32)?;
        validate::lease(request.lease.as_ref())?;
        validate::consumer(request.consumer.as_ref())?;
        let wait = validate::wait(request.wait.as_ref())?;
        let about = |error: ApiError| error.about(info.reference());
        let mut shards = info.by_shard(&[]);
        if shards.is_empty() {
            return Ok(ReceiveResponse::default());
        }
        if let [(shard, partitions)] = &shards[..] {
            let receive = ask((&info, group), &request, partitions.clone(), (max, wait));
            return self
                .receive_at(principal, *shard, receive)
                .await
                .map_err(about);
        }
        // Another shard first each time, so that none is starved.
        let turn = self.next_turn() as usize % shards.len();
        shards.rotate_left(turn);
        let mut got = Gathered::default();
        for (shard, partitions) in shards {
            let left = max - got.deliveries.len() as u32;
            if left == 0 || got.is_full() {
                break;
            }
            let receive = ask((&info, group), &request, partitions, (left, 0));
            match self.receive_at(principal, shard, receive).await {
                Ok(received) => got.extend(received.deliveries),
                Err(error) if got.deliveries.is_empty() && wait == 0 => return Err(about(error)),
                Err(error) => tracing::debug!(shard, %error, "left out of a receive"),
            }
        }
        if got.deliveries.is_empty() && wait > 0 {
            got = self
                .wait_for(principal, info.clone(), request, (max, wait))
                .await?;
        }
        if !got.beyond.is_empty() {
            self.settle_in(principal, &info, got.beyond).await;
        }
        Ok(ReceiveResponse {
            deliveries: got.deliveries,
        })
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
        info: Arc<QueueInfo>,
        request: ReceiveRequest,
        (max, wait): (u32, u64),
    ) -> Result<Gathered, ApiError> {
        let receiver = Receiver {
            principal: principal.clone(),
            group_id: info.group(&request.group).unwrap_or_default(),
            info,
            session_id: String::new(),
            stream: 0,
            lease: request.lease,
            consumer: request.consumer,
        };
        let shards = self.shards.clone();
        let mut sources = Sources::new(shards, self.router.clone(), receiver, &[]);
        sources.grant(max);
        let mut got = Gathered::default();
        let wait = Duration::from_millis(wait);
        gather::<R>(&mut sources, wait, true, &mut got).await?;
        // Nothing is leased to it any more once all unused credit has come back.
        sources.grant(0);
        gather::<R>(&mut sources, TAKE_BACK, false, &mut got).await?;
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

    pub(super) fn extend(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            let bytes = self.bytes + weight(std::slice::from_ref(&delivery));
            let fits = bytes <= ANSWER_BYTES || self.deliveries.is_empty();
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
    time: Duration,
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
            Some(batch) => got.extend(batch),
            None => break,
        }
    }
    Ok(())
}

fn ask(
    (info, group_id): (&QueueInfo, u32),
    request: &ReceiveRequest,
    partitions: Vec<u32>,
    (max_messages, wait): (u32, u64),
) -> ShardReceive {
    ShardReceive {
        queue_id: info.id(),
        queue: Some(info.reference().clone()),
        partitions,
        max_messages,
        lease: request.lease,
        wait: Some(duration_ms(wait)),
        consumer: request.consumer.clone(),
        group_id,
    }
}
