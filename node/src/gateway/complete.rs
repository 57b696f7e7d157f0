//! Acks with outputs: what a message came to is sent as it is acked.

use std::sync::Arc;

use roadstead_core::shard::Receipt;
use roadstead_proto::partition_of;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    CompleteRequest, CompleteResponse, Output, ShardCall, ShardComplete, ShardOutput,
};

use super::queues::odd_answer;
use super::route::Again;
use super::shards::QueueInfo;
use super::validate::{BATCH_MAX, REQUEST_BYTES_MAX};
use super::{ApiError, Gateway, PATIENCE, validate};
use crate::auth::{Action, Principal};
use crate::raft::types::GroupId;
use crate::runtime::Runtime;
use crate::shard::stale_receipt;

impl<R: Runtime> Gateway<R> {
    /// Acks deliveries and sends what came of them, in one step.
    pub async fn complete(
        &self,
        principal: &Principal,
        request: CompleteRequest,
    ) -> Result<CompleteResponse, ApiError> {
        let info = self
            .queue(principal, Action::Settle, request.queue.as_ref())
            .await?;
        let about = |error: ApiError| error.about(info.reference());
        validate::batch("receipts", request.receipts.len()).map_err(about)?;
        validate::not_too_many("outputs", request.outputs.len()).map_err(about)?;
        let shard = shard_of_all(&info, &request.receipts).map_err(about)?;
        let outputs = self.outputs(principal, request.outputs).await?;
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(Call::Complete(ShardComplete {
                queue: Some(info.reference().clone()),
                receipts: request.receipts,
                outputs,
            })),
        };
        // A second try would never send twice, but it would be told that the receipts are gone.
        let answer = self.router.call(shard, call, PATIENCE, Again::Unsafe).await;
        match answer.map_err(about)?.reply {
            Some(Reply::Complete(completed)) => Ok(completed),
            _ => Err(odd_answer(shard)),
        }
    }

    /// Checks each output against the queue that it goes to, and finds its partition.
    async fn outputs(
        &self,
        principal: &Principal,
        outputs: Vec<Output>,
    ) -> Result<Vec<ShardOutput>, ApiError> {
        let mut found = Vec::with_capacity(outputs.len());
        let mut total = 0;
        for (index, output) in outputs.into_iter().enumerate() {
            let message = output.message.unwrap_or_default();
            let info = self
                .queue(principal, Action::Send, output.queue.as_ref())
                .await?;
            let spec = info.spec();
            validate::message(&message, &spec).map_err(|mut error| {
                let here = format!("outputs[{index}].message");
                error.detail.field = format!("{here}.{}", error.detail.field);
                error.message = format!("{here}.{}", error.message);
                error.about(info.reference())
            })?;
            total += validate::message_size(&message);
            let partitions = info.partitions().max(1);
            let partition = partition_of(&message, &spec, partitions);
            found.push(ShardOutput {
                queue_id: info.id(),
                partition: partition.unwrap_or_else(|| self.next_turn() % partitions),
                message: Some(message),
            });
        }
        if total > REQUEST_BYTES_MAX {
            let message = format!("outputs hold {total} bytes, at most {REQUEST_BYTES_MAX}");
            return Err(ApiError::invalid("outputs", message));
        }
        debug_assert!(found.len() <= BATCH_MAX);
        Ok(found)
    }
}

/// The shard of receipts that belong to this queue; that they are of one partition is for it.
fn shard_of_all(info: &Arc<QueueInfo>, receipts: &[bytes::Bytes]) -> Result<GroupId, ApiError> {
    let mut shard = None;
    for receipt in receipts {
        let Ok(receipt) = Receipt::decode(receipt) else {
            let message = "a receipt is malformed: give back the bytes that came with the \
                           delivery, as they were; a delivery of a queue that delivers at \
                           most once has none";
            return Err(ApiError::invalid("receipts", message));
        };
        // Also keeps a caller from acking what belongs to a queue of somebody else.
        let own = receipt.partition.queue == info.id();
        let found = info.shard(receipt.partition.partition).filter(|_| own);
        let Some(found) = found else {
            let stale = stale_receipt();
            let mut error = ApiError::new(tonic::Code::NotFound, stale.message);
            "receipts".clone_into(&mut error.detail.field);
            return Err(error);
        };
        shard = Some(found);
    }
    let none = || ApiError::invalid("receipts", "there is no receipt");
    shard.ok_or_else(none)
}
