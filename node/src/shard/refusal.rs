//! How the state machine's answers look to clients.

use roadstead_core::shard::Refusal;
use roadstead_proto::v1::{EntryError, QueueRef};
use tonic::Code;

use super::intake::IntakeError;
use super::replica::Unapplied;
use crate::gateway::ApiError;
use crate::raft::types::GroupId;

/// The error of a call that the state machine refused.
pub fn refused(refusal: Refusal, queue: &QueueRef) -> ApiError {
    let (code, retryable) = code(refusal);
    let message = format!("queue {queue}: {refusal}; {}", advice(refusal));
    let mut error = ApiError::new(code, message).about(queue);
    if refusal == Refusal::StaleReceipt {
        // Told from a queue that does not exist.
        "receipts".clone_into(&mut error.detail.field);
    }
    if retryable { error.retryable() } else { error }
}

/// Its code, and whether the same call may succeed later.
fn code(refusal: Refusal) -> (Code, bool) {
    match refusal {
        Refusal::NoPartition => (Code::Unavailable, true),
        Refusal::NoGroup => (Code::NotFound, true),
        Refusal::Deleting | Refusal::StaleReceipt => (Code::NotFound, false),
        Refusal::BadGroups
        | Refusal::BadWeights
        | Refusal::BadSticky
        | Refusal::StickyTenant
        | Refusal::BadCount
        | Refusal::TooLarge
        | Refusal::KeyRequired
        | Refusal::TooLate
        | Refusal::BatchOverRate
        | Refusal::NoDeduplication => (Code::InvalidArgument, false),
        Refusal::OrderingFixed
        | Refusal::StickyFixed
        | Refusal::NotEmpty(_)
        | Refusal::SameQueue => (Code::FailedPrecondition, false),
        Refusal::OutOfRange => (Code::OutOfRange, false),
        Refusal::Gap => (Code::Aborted, true),
        Refusal::Overtaken | Refusal::BatchRefused => (Code::Aborted, false),
        Refusal::MessageLimit
        | Refusal::ByteLimit
        | Refusal::RateLimit
        | Refusal::ProducerLimit
        | Refusal::IdLimit
        | Refusal::OutboxFull => (Code::ResourceExhausted, true),
    }
}

/// What to do about it.
fn advice(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoPartition => "its shard is being set up: try again",
        Refusal::NoGroup => "create it in spec.groups; its shard may not have heard of it yet",
        Refusal::BadGroups => "give groups that are new new ids",
        Refusal::BadWeights => "name each tenant once",
        Refusal::BadSticky => "order by key, and leave the weights out",
        Refusal::StickyTenant => "leave fairness_key out",
        Refusal::Deleting => "create it again when it is gone",
        Refusal::OrderingFixed | Refusal::StickyFixed => "create another queue",
        Refusal::NotEmpty(_) => "purge or drain it first",
        Refusal::BadCount => "split the request",
        Refusal::MessageLimit | Refusal::ByteLimit => "try again when consumers have caught up",
        Refusal::RateLimit => "send more slowly, or raise limits.rate_per_second",
        Refusal::BatchOverRate => "split it, or raise limits.rate_per_second",
        Refusal::TooLarge => "raise limits.max_message_bytes",
        Refusal::KeyRequired => "set ordering_key",
        Refusal::TooLate => "choose an earlier not_before",
        Refusal::OutOfRange => "it cannot be told whether it was accepted; send it anew",
        Refusal::Overtaken => "to keep the order it is not accepted behind them; send it anew",
        Refusal::ProducerLimit => "share producer ids, or try again in some minutes",
        Refusal::NoDeduplication => "leave deduplication_id out, or give the queue deduplication",
        Refusal::IdLimit => {
            "try again when a window has ended, raise deduplication.max_ids or shorten \
             deduplication.window"
        }
        Refusal::BatchRefused => "nothing of it was added: mend the one that was refused",
        Refusal::StaleReceipt => {
            "nothing was acked and nothing sent; the message may be delivered again"
        }
        Refusal::OutboxFull => {
            "nothing was acked and nothing sent; see why the queues that they go to take nothing"
        }
        Refusal::SameQueue => "name another one",
        Refusal::Gap => "go on behind the highest accepted number",
    }
}

/// The error of a call that was not applied, as far as is known.
pub fn unapplied(shard: GroupId, unapplied: &Unapplied) -> ApiError {
    match unapplied {
        Unapplied::NotLeader(leader) => ApiError::not_leader(shard, *leader),
        Unapplied::Unknown(why) => {
            let message =
                format!("shard {shard}: it is not known whether the call took effect: {why}");
            ApiError::new(Code::Unknown, message).retryable()
        }
    }
}

/// The error of a call that was not taken.
pub fn not_taken(shard: GroupId, error: IntakeError) -> ApiError {
    match error {
        IntakeError::Full { .. } => ApiError::exhausted(format!(
            "shard {shard} cannot keep up: {error}; slow down and try again"
        )),
        // As for a node that does not lead: the call was not done and can be made again.
        IntakeError::Draining => ApiError::not_leader(shard, None),
    }
}

/// One entry of a batch that failed.
pub fn entry_error(error: &ApiError) -> EntryError {
    EntryError {
        code: error.code.into(),
        message: error.message.clone(),
        retryable: error.detail.retryable,
    }
}
