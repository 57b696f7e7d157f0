//! Acks deliveries of one partition and sends what came of them, in one step.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roadstead_core::shard::{
    Ack, Complete, MessageId, Op, Output, PartitionId, Receipt, Refusal, Reply,
};
use roadstead_proto::v1::{CompleteResponse, ShardComplete, ShardOutput};
use tonic::Code;

use super::desk::Desk;
use super::refusal::{not_taken, refused};
use super::replica::Replica;
use super::send::{new_message, odd_reply, outcome, stopped};
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// Completes deliveries; the outputs are on a majority's disks then.
pub async fn complete<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    call: ShardComplete,
) -> Result<CompleteResponse, ApiError> {
    let shard = desk.replica.id();
    let queue = call.queue.unwrap_or_default();
    let ((partition, group), acks) = acks(&call.receipts).map_err(|why| why.about(&queue))?;
    if !call.outputs.is_empty() {
        desk.replica.sends_allowed().map_err(|why| {
            ApiError::exhausted(format!("shard {shard} takes no messages now: {why}")).about(&queue)
        })?;
    }
    let outputs = outputs(call.outputs);
    let count = outputs.len() as u64;
    let op = Complete {
        partition,
        group,
        acks,
        outputs,
    };
    let bytes = op.encoded_len_max();
    let answer = desk.intake.push(Op::Complete(op), bytes);
    let answer = answer.map_err(|error| not_taken(shard, error).about(&queue))?;
    match outcome(shard, answer.await.unwrap_or_else(|_| stopped())) {
        Ok(Reply::Completed { first }) => {
            let id = |sequence| {
                let PartitionId { queue, partition } = partition;
                MessageId {
                    queue,
                    partition,
                    sequence,
                }
                .to_string()
            };
            let message_ids = (first..first + count).map(id).collect();
            Ok(CompleteResponse { message_ids })
        }
        // A receipt is proof that there was such a group.
        Ok(Reply::Refused(Refusal::NoGroup)) => Err(refused(Refusal::StaleReceipt, &queue)),
        Ok(Reply::Refused(refusal)) => Err(refused(refusal, &queue)),
        Ok(_) => Err(odd_reply(shard)),
        Err(error) => Err(error.about(&queue)),
    }
}

/// The one partition and group of the receipts, and what they name.
fn acks(receipts: &[Bytes]) -> Result<((PartitionId, u32), Vec<Ack>), ApiError> {
    let malformed = || {
        let message = "a receipt is malformed: give back the bytes that came with the delivery, as \
                       they were; a delivery of a queue that delivers at most once has none";
        ApiError::invalid("receipts", message)
    };
    let mut homes = BTreeSet::new();
    let mut acks = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        let receipt = Receipt::decode(receipt).map_err(|_| malformed())?;
        homes.insert((receipt.partition, receipt.group));
        acks.push(Ack::from(&receipt));
    }
    match homes.pop_first() {
        Some(home) if homes.is_empty() => Ok((home, acks)),
        Some(_) => {
            let message = "the receipts are of several partitions: one request for each";
            Err(ApiError::invalid("receipts", message))
        }
        None => Err(ApiError::new(Code::InvalidArgument, "there is no receipt")),
    }
}

fn outputs(outputs: Vec<ShardOutput>) -> Vec<Output> {
    let mut scratch = BytesMut::new();
    let output = |output: ShardOutput| Output {
        target: PartitionId {
            queue: output.queue_id,
            partition: output.partition,
        },
        message: new_message(output.message.unwrap_or_default(), None, &mut scratch),
    };
    outputs.into_iter().map(output).collect()
}
