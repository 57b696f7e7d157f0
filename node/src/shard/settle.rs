//! Settles deliveries of the partitions of one shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use roadstead_core::shard::{
    Action, Op, PartitionId, Receipt, Refusal, Reply, Settle, SettleOutcome, Settlement,
};
use roadstead_proto::v1::settlement::Action as WireAction;
use roadstead_proto::v1::{
    EntryError, SettleResponse, SettleResult, Settlement as WireSettlement, ShardSettle,
};
use tonic::Code;

use super::desk::{Desk, settle_bytes};
use super::refusal::{entry_error, not_taken, refused};
use super::replica::Replica;
use super::send::{odd_reply, outcome, stopped};
use super::wire::millis;
use crate::gateway::ApiError;
use crate::gateway::validate::error_text;
use crate::runtime::Runtime;

/// Settles, each settlement with a result of its own.
pub async fn settle<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    call: ShardSettle,
) -> Result<SettleResponse, ApiError> {
    let shard = desk.replica.id();
    let queue = call.queue.unwrap_or_default();
    let mut results = vec![SettleResult { error: None }; call.settlements.len()];
    let mut parts = BTreeMap::<(PartitionId, u32), (Vec<usize>, Vec<Settlement>)>::new();
    for (index, settlement) in call.settlements.into_iter().enumerate() {
        let given = settlement.receipt.clone();
        let read = Receipt::decode(&given).ok().zip(action(settlement));
        let Some((receipt, action)) = read else {
            results[index].error = Some(malformed(&given));
            continue;
        };
        let part = parts.entry((receipt.partition, receipt.group)).or_default();
        part.0.push(index);
        part.1.push(Settlement::new(&receipt, action));
    }
    let mut waiting = Vec::with_capacity(parts.len());
    for ((partition, group), (indexes, items)) in parts {
        let op = Settle {
            partition,
            group,
            items,
        };
        let bytes = settle_bytes(&op);
        waiting.push((indexes, desk.intake.push(Op::Settle(op), bytes)));
    }
    let single = waiting.len() == 1;
    for (indexes, answer) in waiting {
        let outcome = match answer {
            Ok(answer) => outcome(shard, answer.await.unwrap_or_else(|_| stopped())),
            Err(error) => Err(not_taken(shard, error)),
        };
        let error = match outcome {
            Ok(Reply::Settled(outcomes)) => {
                for (index, outcome) in indexes.into_iter().zip(outcomes) {
                    if outcome == SettleOutcome::Stale {
                        results[index].error = Some(stale());
                    }
                }
                continue;
            }
            // A receipt is proof that there was such a group.
            Ok(Reply::Refused(Refusal::NoGroup)) => {
                for index in indexes {
                    results[index].error = Some(stale());
                }
                continue;
            }
            Ok(Reply::Refused(refusal)) => refused(refusal, &queue),
            Ok(_) => odd_reply(shard),
            Err(error) if single => return Err(error.about(&queue)),
            Err(error) => error,
        };
        for index in indexes {
            results[index].error = Some(entry_error(&error));
        }
    }
    Ok(SettleResponse { results })
}

fn action(settlement: WireSettlement) -> Option<Action> {
    let error = |text: &str| Bytes::copy_from_slice(error_text(text).as_bytes());
    Some(match settlement.action? {
        WireAction::Ack(_) => Action::Ack,
        WireAction::Nack(nack) => Action::Nack {
            delay_ms: nack.delay.as_ref().and_then(millis),
            error: error(&nack.error),
            unstarted: nack.unstarted,
        },
        WireAction::Reject(reject) => Action::Reject {
            error: error(&reject.error),
        },
        WireAction::Extend(extend) => Action::Extend {
            lease_ms: extend.lease.as_ref().and_then(millis).unwrap_or(0),
        },
    })
}

/// The result of a settlement whose receipt is none.
pub fn malformed(receipt: &[u8]) -> EntryError {
    let message = if receipt.is_empty() {
        "the receipt is empty: a delivery of a queue that delivers at most once is acked by \
         itself; leave the settlement out"
    } else {
        "the receipt is malformed: give back the bytes that came with the delivery, as they were"
    };
    EntryError {
        code: Code::InvalidArgument.into(),
        message: message.to_owned(),
        retryable: false,
    }
}

/// The result of a settlement whose receipt names no lease.
pub fn stale() -> EntryError {
    EntryError {
        code: Code::NotFound.into(),
        message: "the receipt is stale: the lease has ended or the delivery was settled before; \
                  the message may be delivered again, so settle within the lease or extend it"
            .to_owned(),
        retryable: false,
    }
}
