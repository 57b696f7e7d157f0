//! Sends and settles, over the shards of a queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use roadstead_core::shard::Receipt;
use roadstead_proto::partition_of;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    OutgoingMessage, Producer, QueueSpec, SendRequest, SendResponse, SendResult, SettleRequest,
    SettleResponse, SettleResult, Settlement, ShardCall, ShardSend, ShardSettle,
};

use super::queues::odd_answer;
use super::refused::{self, ValidSend, put};
use super::route::Again;
use super::shards::QueueInfo;
use super::{ApiError, Gateway, PATIENCE, validate};
use crate::auth::{Action, Principal};
use crate::raft::types::GroupId;
use crate::runtime::Runtime;
use crate::shard::{entry_error, malformed_receipt, stale_receipt};

/// Messages of a send with their places in it.
type Part = (Vec<usize>, Vec<OutgoingMessage>);

/// What of a send goes to one partition.
struct SendPart {
    partition: u32,
    messages: Vec<OutgoingMessage>,
    producer: Option<Producer>,
    left_out: Vec<u32>,
    atomic: bool,
}

impl<R: Runtime> Gateway<R> {
    /// Sends 1..1,000 messages.
    pub async fn send(
        &self,
        principal: &Principal,
        request: SendRequest,
    ) -> Result<SendResponse, ApiError> {
        let info = self
            .queue(principal, Action::Send, request.queue.as_ref())
            .await?;
        validate::producer(request.producer.as_ref(), request.partition)?;
        self.send_to(principal, &info, request).await
    }

    /// Sends to a queue that the caller may send to.
    pub(super) async fn send_to(
        &self,
        principal: &Principal,
        info: &QueueInfo,
        request: SendRequest,
    ) -> Result<SendResponse, ApiError> {
        let about = |error: ApiError| error.about(info.reference());
        let spec = info.spec();
        let refused = validate::messages(&request.messages, &spec).map_err(about)?;
        check_partition(info, request.partition)?;
        if refused.is_empty() {
            let valid = ValidSend::whole(request, spec);
            return self.send_valid(principal, info, valid).await;
        }
        let partition = request.partition.unwrap_or_default();
        let mut results = refused::results(&request, info.reference(), refused);
        let (places, rest) = refused::rest(request, spec, &results);
        if !places.is_empty() {
            let sent = self.send_valid(principal, info, rest).await;
            put(&mut results, partition, &places, sent);
        }
        Ok(SendResponse { results })
    }

    async fn send_valid(
        &self,
        principal: &Principal,
        info: &QueueInfo,
        ValidSend {
            request,
            spec,
            left_out,
        }: ValidSend,
    ) -> Result<SendResponse, ApiError> {
        let SendRequest {
            messages,
            producer,
            partition,
            atomic,
            ..
        } = request;
        let count = messages.len();
        let parts = self.split(&spec, (partition, info.partitions()), messages);
        if let [(_, (places, _))] = &parts[..]
            && places.len() == count
        {
            let Some((partition, (_, messages))) = parts.into_iter().next() else {
                return Ok(SendResponse::default());
            };
            let part = SendPart {
                partition,
                messages,
                producer,
                left_out,
                atomic,
            };
            return self.send_part(principal, info, part).await;
        }
        if atomic {
            return Err(several_partitions(parts.len()).about(info.reference()));
        }
        let mut results = vec![SendResult::default(); count];
        let (places, sends): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .map(|(partition, (places, messages))| {
                let part = SendPart {
                    partition,
                    messages,
                    producer: None,
                    left_out: Vec::new(),
                    atomic,
                };
                let send = self.send_part(principal, info, part);
                ((partition, places), send)
            })
            .unzip();
        for ((partition, places), sent) in places.into_iter().zip(join_all(sends).await) {
            put(&mut results, partition, &places, sent);
        }
        Ok(SendResponse { results })
    }

    /// By deduplication id or ordering key; what has none goes to one partition, another one each
    /// time.
    fn split(
        &self,
        spec: &QueueSpec,
        (partition, partitions): (Option<u32>, u32),
        messages: Vec<OutgoingMessage>,
    ) -> Vec<(u32, Part)> {
        let partitions = partitions.max(1);
        let chosen = partition.unwrap_or_else(|| self.next_turn() % partitions);
        let mut parts = BTreeMap::<u32, Part>::new();
        for (place, message) in messages.into_iter().enumerate() {
            let partition = match partition {
                None => partition_of(&message, spec, partitions),
                chosen => chosen,
            };
            let partition = partition.unwrap_or(chosen);
            let part = parts.entry(partition).or_default();
            part.0.push(place);
            part.1.push(message);
        }
        parts.into_iter().collect()
    }

    async fn send_part(
        &self,
        principal: &Principal,
        info: &QueueInfo,
        part: SendPart,
    ) -> Result<SendResponse, ApiError> {
        let SendPart {
            partition,
            messages,
            producer,
            left_out,
            atomic,
        } = part;
        let shard = shard_of(info, partition)?;
        // A producer's numbers keep a message from being added twice.
        let again = if producer.is_some() {
            Again::Safe
        } else {
            Again::Unsafe
        };
        let send = ShardSend {
            queue_id: info.id(),
            partition,
            queue: Some(info.reference().clone()),
            messages,
            producer,
            atomic,
            left_out,
        };
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(Call::Send(send)),
        };
        let answer = self.router.call(shard, call, PATIENCE, again).await;
        match answer.map_err(|error| error.about(info.reference()))?.reply {
            Some(Reply::Send(sent)) => Ok(sent),
            _ => Err(odd_answer(shard)),
        }
    }

    /// Acks, nacks, rejects or extends 1..1,000 deliveries.
    pub async fn settle(
        &self,
        principal: &Principal,
        request: SettleRequest,
    ) -> Result<SettleResponse, ApiError> {
        let info = self
            .queue(principal, Action::Settle, request.queue.as_ref())
            .await?;
        validate::batch("settlements", request.settlements.len())?;
        Ok(SettleResponse {
            results: self.settle_in(principal, &info, request.settlements).await,
        })
    }

    /// Settles deliveries of a queue that the caller may settle; each with a result of its own.
    pub(super) async fn settle_in(
        &self,
        principal: &Principal,
        info: &Arc<QueueInfo>,
        settlements: Vec<Settlement>,
    ) -> Vec<SettleResult> {
        let mut results = vec![SettleResult::default(); settlements.len()];
        let mut parts = BTreeMap::<GroupId, (Vec<usize>, Vec<Settlement>)>::new();
        for (place, settlement) in settlements.into_iter().enumerate() {
            let Ok(receipt) = Receipt::decode(&settlement.receipt) else {
                results[place].error = Some(malformed_receipt(&settlement.receipt));
                continue;
            };
            if let Err(error) = validate::settlement(&settlement) {
                results[place].error = Some(entry_error(&error));
                continue;
            }
            // Also keeps a caller from settling what belongs to a queue of somebody else.
            let own = Some(receipt).filter(|receipt| receipt.partition.queue == info.id());
            match own.and_then(|receipt| info.shard(receipt.partition.partition)) {
                Some(shard) => {
                    let part = parts.entry(shard).or_default();
                    part.0.push(place);
                    part.1.push(settlement);
                }
                None => results[place].error = Some(stale_receipt()),
            }
        }
        let (places, calls): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .map(|(shard, (places, settlements))| {
                (
                    places,
                    self.settle_part(principal, info, shard, settlements),
                )
            })
            .unzip();
        for (places, settled) in places.into_iter().zip(join_all(calls).await) {
            match settled {
                Ok(settled) => {
                    for (place, result) in places.into_iter().zip(settled.results) {
                        results[place] = result;
                    }
                }
                Err(error) => {
                    for place in places {
                        results[place].error = Some(entry_error(&error));
                    }
                }
            }
        }
        results
    }

    async fn settle_part(
        &self,
        principal: &Principal,
        info: &QueueInfo,
        shard: GroupId,
        settlements: Vec<Settlement>,
    ) -> Result<SettleResponse, ApiError> {
        let settle = ShardSettle {
            queue: Some(info.reference().clone()),
            settlements,
        };
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(Call::Settle(settle)),
        };
        // Settling again does no harm; what was done the first time is answered as stale.
        match self
            .router
            .call(shard, call, PATIENCE, Again::Safe)
            .await?
            .reply
        {
            Some(Reply::Settle(settled)) => Ok(settled),
            _ => Err(odd_answer(shard)),
        }
    }
}

fn several_partitions(partitions: usize) -> ApiError {
    let message = format!(
        "an atomic batch lies in one partition, and the ordering keys or deduplication ids of this \
         one belong to {partitions}: send one batch for each, or give them one key"
    );
    ApiError::invalid("atomic", message)
}

/// The shard of a partition.
fn shard_of(info: &QueueInfo, partition: u32) -> Result<GroupId, ApiError> {
    info.shard(partition)
        .ok_or_else(|| no_partition(info, partition))
}

/// Whether the queue has the partition that a request names, if it names one.
pub(super) fn check_partition(info: &QueueInfo, partition: Option<u32>) -> Result<(), ApiError> {
    match partition {
        Some(partition) if info.shard(partition).is_none() => Err(no_partition(info, partition)),
        _ => Ok(()),
    }
}

fn no_partition(info: &QueueInfo, partition: u32) -> ApiError {
    let message = format!(
        "partition {partition} does not exist: queue {} has {}, numbered from 0",
        info.reference(),
        info.partitions()
    );
    ApiError::invalid("partition", message).about(info.reference())
}
