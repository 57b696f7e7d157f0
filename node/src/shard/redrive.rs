//! Moves messages to other queues: those that a walk finds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_core::shard::{
    DeadLetterTarget, Location, MAX_REDRIVE, Move, NewPayload, Op, PartitionId, Redrive, Removal,
    Reply,
};
use roadstead_proto::v1::{
    DeadLetterInfo, OutgoingMessage, QueueRef, RedriveMessagesResponse, RefusedMessage,
    ShardRedrive, ShardRedriven,
};
use tonic::Code;

use super::desk::Desk;
use super::filter::Filter;
use super::refusal::{not_taken, refused};
use super::replica::Replica;
use super::send::{odd_reply, outcome, stopped};
use super::walk::{Found, broken, walk};
use super::{blob, location, moved};
use crate::auth::{Action, Principal, authorize};
use crate::gateway::shards::{QueueInfo, Queues};
use crate::gateway::{ApiError, validate};
use crate::runtime::Runtime;

/// Refused messages that an answer names.
const REFUSALS_MAX: usize = 100;
/// Time to hear of a queue that is not known here.
const BARRIER: Duration = Duration::from_secs(2);

/// Moves what a piece of a walk finds.
pub async fn redrive<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    held: &[PartitionId],
    mut targets: Targets<'_>,
    call: ShardRedrive,
) -> Result<ShardRedriven, ApiError> {
    let queue = call.queue.unwrap_or_default();
    let filter = Filter::new(call.filter.as_ref())?;
    let max = (call.max_messages as usize).min(MAX_REDRIVE);
    let walked = walk(
        desk,
        (held, call.group_id),
        &filter,
        call.from.as_ref(),
        max,
    )
    .await?;
    let mut counts = RedriveMessagesResponse::default();
    let mut ops: BTreeMap<PartitionId, Vec<Move>> = BTreeMap::new();
    for found in &walked.found {
        if is_leased(desk, found)? {
            counts.leased += 1;
            continue;
        }
        let origin = found.blob.dead_letter.as_ref();
        match targets.of(call.to.as_ref(), origin).await {
            Ok(target) => {
                let moves = ops.entry(found.partition).or_default();
                moves.push(move_to(found.peeked.location, &target, None));
            }
            Err(error) => refuse(&mut counts, found, &error),
        }
    }
    for (partition, moves) in ops {
        if call.dry_run {
            counts.moved += moves.len() as u64;
            continue;
        }
        for removal in write(desk, Redrive { partition, moves }, &queue).await? {
            match removal {
                Removal::Done => counts.moved += 1,
                Removal::Leased => counts.leased += 1,
                Removal::Gone => {}
            }
        }
    }
    Ok(ShardRedriven {
        counts: Some(counts),
        next: walked.next,
        looked_at: walked.looked_at,
    })
}

/// Whether a message is leased, also by another group than the one that it was found for.
fn is_leased<R: Runtime, P: Replica>(desk: &Desk<R, P>, found: &Found) -> Result<bool, ApiError> {
    let Location::Position(position) = found.peeked.location else {
        return Ok(false);
    };
    let replica = &desk.replica;
    let leased = replica.read(|machine, kv| machine.is_leased(kv, found.partition, position));
    leased.map_err(|error| broken(replica.id(), &error))
}

fn refuse(counts: &mut RedriveMessagesResponse, found: &Found, error: &ApiError) {
    counts.refused += 1;
    if counts.refusals.len() < REFUSALS_MAX {
        counts.refusals.push(RefusedMessage {
            message_id: found.peeked.id.to_string(),
            location: location::encode(found.partition, found.peeked.location),
            code: error.code.into(),
            message: error.message.clone(),
        });
    }
}

/// Adds the counts of another piece.
pub fn add(sum: &mut RedriveMessagesResponse, more: RedriveMessagesResponse) {
    sum.moved += more.moved;
    sum.leased += more.leased;
    sum.refused += more.refused;
    let room = REFUSALS_MAX.saturating_sub(sum.refusals.len());
    sum.refusals.extend(more.refusals.into_iter().take(room));
}

/// Logs moves out of one partition; what became of each.
pub async fn write<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    op: Redrive,
    queue: &QueueRef,
) -> Result<Vec<Removal>, ApiError> {
    let shard = desk.replica.id();
    let bytes = op.encoded_len_max();
    let answer = desk.intake.push(Op::Redrive(op), bytes);
    let answer = answer.map_err(|error| not_taken(shard, error))?;
    match outcome(shard, answer.await.unwrap_or_else(|_| stopped()))? {
        Reply::Redriven(removals) => Ok(removals),
        Reply::Refused(refusal) => Err(refused(refusal, queue)),
        _ => Err(odd_reply(shard)),
    }
}

/// A move of the message at a location.
pub fn move_to(location: Location, target: &QueueInfo, payload: Option<(Bytes, Bytes)>) -> Move {
    Move {
        location,
        to: DeadLetterTarget {
            queue: target.id(),
            partitions: target.partitions(),
        },
        payload: payload.map(|(header, body)| NewPayload { header, body }),
    }
}

/// Whether the target takes a message that was changed.
pub fn check_edited(header: &Bytes, body: &Bytes, target: &QueueInfo) -> Result<(), ApiError> {
    let blob = blob::decode(&moved::join(header, body));
    let blob = blob.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
    let message = OutgoingMessage {
        body: blob.body,
        attributes: blob.attributes,
        content_type: blob.content_type,
        // It keeps its own, or is a key by itself.
        ordering_key: "k".to_owned(),
        ..OutgoingMessage::default()
    };
    let taken = validate::message(&message, &target.spec());
    taken.map_err(|error| error.about(target.reference()))
}

/// Finds the queues that messages go to, and whether the caller may send there.
pub struct Targets<'a> {
    queues: &'a dyn Queues,
    principal: &'a Principal,
    /// Id of the queue that they leave.
    source: u64,
    known: BTreeMap<(String, String), Result<Arc<QueueInfo>, ApiError>>,
}

impl<'a> Targets<'a> {
    /// For messages of the queue `source` that `principal` moves.
    pub fn new(queues: &'a dyn Queues, principal: &'a Principal, source: u64) -> Self {
        Self {
            queues,
            principal,
            source,
            known: BTreeMap::new(),
        }
    }

    /// Who moves the messages.
    pub fn principal(&self) -> &Principal {
        self.principal
    }

    /// Where a message goes: to the named queue, else to where it was dead-lettered from.
    pub async fn of(
        &mut self,
        named: Option<&QueueRef>,
        dead: Option<&DeadLetterInfo>,
    ) -> Result<Arc<QueueInfo>, ApiError> {
        let origin = || dead.and_then(|dead| dead.source_queue.split_once('/'));
        let named = named.map(|named| (named.namespace.as_str(), named.name.as_str()));
        let Some((namespace, name)) = named.or_else(origin) else {
            let message = "the message was not dead-lettered from a queue whose name is known: \
                           name the queue that it is to go to";
            return Err(failed(message));
        };
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let reference = QueueRef {
            namespace: key.0.clone(),
            name: key.1.clone(),
        };
        let found = self.find(&reference).await;
        self.known.insert(key, found.clone());
        found
    }

    async fn find(&self, queue: &QueueRef) -> Result<Arc<QueueInfo>, ApiError> {
        authorize(self.principal, Action::Send, Some(queue))?;
        let mut found = self.queues.find(queue);
        if found.is_none() {
            // It may have been created a moment ago.
            self.queues.barrier(BARRIER).await?;
            found = self.queues.find(queue);
        }
        let QueueRef { namespace, name } = queue;
        let Some(found) = found else {
            let message = format!(
                "queue {namespace}/{name}, where the message is to go, does not exist any more: \
                 create it, or name another one"
            );
            return Err(failed(&message).about(queue));
        };
        if found.id() == self.source {
            let message = format!(
                "the message is in queue {namespace}/{name} already: name another one to go to"
            );
            return Err(failed(&message).about(queue));
        }
        Ok(found)
    }
}

fn failed(message: &str) -> ApiError {
    let mut error = ApiError::new(Code::FailedPrecondition, message);
    "to".clone_into(&mut error.detail.field);
    error
}
