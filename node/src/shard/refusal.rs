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
    let name = format!("{}/{}", queue.namespace, queue.name);
    let (code, retryable, advice) = match refusal {
        Refusal::NoPartition => (
            Code::Unavailable,
            true,
            "its shard is being set up: try again",
        ),
        Refusal::NoGroup => (
            Code::NotFound,
            true,
            "create it in spec.groups; its shard may not have heard of it yet",
        ),
        Refusal::BadGroups => (
            Code::InvalidArgument,
            false,
            "give groups that are new new ids",
        ),
        Refusal::Deleting => (Code::NotFound, false, "create it again when it is gone"),
        Refusal::OrderingFixed => (Code::FailedPrecondition, false, "create another queue"),
        Refusal::NotEmpty(_) => (Code::FailedPrecondition, false, "purge or drain it first"),
        Refusal::BadCount => (Code::InvalidArgument, false, "split the request"),
        Refusal::MessageLimit | Refusal::ByteLimit => (
            Code::ResourceExhausted,
            true,
            "try again when consumers have caught up",
        ),
        Refusal::TooLarge => (
            Code::InvalidArgument,
            false,
            "raise limits.max_message_bytes",
        ),
        Refusal::KeyRequired => (Code::InvalidArgument, false, "set ordering_key"),
        Refusal::TooLate => (Code::InvalidArgument, false, "choose an earlier not_before"),
        Refusal::OutOfRange => (
            Code::OutOfRange,
            false,
            "it cannot be told whether it was accepted; send it anew",
        ),
        Refusal::Overtaken => (
            Code::Aborted,
            false,
            "to keep the order it is not accepted behind them; send it anew",
        ),
        Refusal::ProducerLimit => (
            Code::ResourceExhausted,
            true,
            "share producer ids, or try again in some minutes",
        ),
        Refusal::NoDeduplication => (
            Code::InvalidArgument,
            false,
            "leave deduplication_id out, or give the queue deduplication",
        ),
        Refusal::IdLimit => (
            Code::ResourceExhausted,
            true,
            "try again when a window has ended, raise deduplication.max_ids or shorten \
             deduplication.window",
        ),
        Refusal::Gap => (
            Code::Aborted,
            true,
            "go on behind the highest accepted number",
        ),
    };
    let error = ApiError::new(code, format!("queue {name}: {refusal}; {advice}")).about(queue);
    if retryable { error.retryable() } else { error }
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
