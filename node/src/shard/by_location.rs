//! Deletes or moves the message at a location.

use std::sync::Arc;

use roadstead_core::shard::{
    DeleteMessage, LeaseRef, Location, MessageId, Op, PartitionId, PayloadRef, Redrive, Removal,
    Reply,
};
use roadstead_proto::v1::{QueueRef, ShardDeleteMessage, ShardRedriveMessage};
use tonic::Code;

use super::blob::{self, Edit};
use super::deliver;
use super::desk::Desk;
use super::redrive::{Targets, check_edited, move_to};
use super::refusal::{not_taken, refused};
use super::replica::Replica;
use super::send::{odd_reply, outcome, stopped};
use super::walk::broken;
use super::{location, redrive};
use crate::auth::Principal;
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// How often a forced delete goes after a message that is leased anew meanwhile.
const TRIES: usize = 4;

/// Where a request says that its message stands.
struct Named<'a> {
    queue: &'a QueueRef,
    id: u64,
    location: &'a str,
    message_id: &'a str,
}

/// The message that stands there.
struct Standing {
    partition: PartitionId,
    location: Location,
    message: MessageId,
    payload: PayloadRef,
}

/// Deletes one message, and writes down who did it.
pub async fn delete<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    principal: &Principal,
    call: ShardDeleteMessage,
) -> Result<(), ApiError> {
    let (queue, request) = (
        call.queue.unwrap_or_default(),
        call.request.unwrap_or_default(),
    );
    let named = Named {
        queue: &queue,
        id: call.queue_id,
        location: &request.location,
        message_id: &request.message_id,
    };
    for _ in 0..TRIES {
        let standing = find(desk, &named)?;
        let leases = match standing.location {
            Location::Position(at) if request.force => leases(desk, standing.partition, at)?,
            _ => Vec::new(),
        };
        let op = Op::DeleteMessage(DeleteMessage {
            partition: standing.partition,
            location: standing.location,
            leases,
        });
        match write(desk, op, &queue).await? {
            Reply::Deleted(Removal::Done) => {
                let (message, force) = (standing.message, request.force);
                let queue = queue.to_string();
                tracing::info!(%principal, %message, queue, force, "message deleted");
                return Ok(());
            }
            Reply::Deleted(Removal::Gone) => return Err(gone(&named)),
            Reply::Deleted(Removal::Leased) if request.force => {}
            Reply::Deleted(Removal::Leased) => return Err(leased(&named, &standing, "delete")),
            _ => return Err(odd_reply(desk.replica.id())),
        }
    }
    let message = "the message is leased anew all the time: try again";
    Err(ApiError::unavailable(message).about(&queue))
}

/// Moves one message, and changes it if that is asked for, and writes down who did it. Where it
/// goes.
pub async fn redrive<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    mut targets: Targets<'_>,
    call: ShardRedriveMessage,
) -> Result<QueueRef, ApiError> {
    let (queue, request) = (
        call.queue.unwrap_or_default(),
        call.request.unwrap_or_default(),
    );
    let named = Named {
        queue: &queue,
        id: call.queue_id,
        location: &request.location,
        message_id: &request.message_id,
    };
    let standing = find(desk, &named)?;
    let mut payloads = deliver::payloads(&*desk.replica, vec![standing.payload]).await;
    let payload = payloads.pop().flatten().ok_or_else(|| gone(&named))?;
    let unreadable = |error: blob::BlobError| ApiError::new(Code::Internal, error.to_string());
    let read = blob::decode(&payload).map_err(unreadable)?;
    let target = targets
        .of(call.to.as_ref(), read.dead_letter.as_ref())
        .await?;
    let edit = Edit {
        body: request.body,
        attributes: request.attributes.map(|new| new.attributes),
        content_type: request.content_type,
    };
    let changed = edit != Edit::default();
    let payload = if changed {
        desk.replica.sends_allowed().map_err(|why| {
            let message = format!("no changed message can be stored now: {why}");
            ApiError::exhausted(message).about(&queue)
        })?;
        let (header, body) = blob::edited(&payload, &edit).map_err(unreadable)?;
        check_edited(&header, &body, &target)?;
        Some((header, body))
    } else {
        None
    };
    let op = Redrive {
        partition: standing.partition,
        moves: vec![move_to(standing.location, &target, payload)],
    };
    match redrive::write(desk, op, &queue).await?.first() {
        Some(Removal::Done) => {
            let to = target.reference().clone();
            let (message, queue) = (standing.message, queue.to_string());
            let target = to.to_string();
            let principal = targets.principal();
            tracing::info!(
                %principal, %message, queue, to = target, changed, "message redriven"
            );
            Ok(to)
        }
        Some(Removal::Leased) => Err(leased(&named, &standing, "redrive")),
        Some(Removal::Gone) | None => Err(gone(&named)),
    }
}

/// The message that a request names, whichever group needs it.
fn find<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    named: &Named<'_>,
) -> Result<Standing, ApiError> {
    let read = location::decode(named.location).filter(|(at, _)| at.queue == named.id);
    let Some((partition, at)) = read else {
        return Err(gone(named));
    };
    let replica = &desk.replica;
    let found = replica.read(|machine, kv| machine.message_at(kv, partition, at));
    let found = found.map_err(|error| broken(replica.id(), &error))?;
    let is_it = |id: &MessageId| named.message_id.is_empty() || id.to_string() == named.message_id;
    match found.filter(|(id, _)| is_it(id)) {
        Some((message, payload)) => Ok(Standing {
            partition,
            location: at,
            message,
            payload,
        }),
        None => Err(gone(named)),
    }
}

fn leases<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    partition: PartitionId,
    position: u64,
) -> Result<Vec<LeaseRef>, ApiError> {
    let replica = &desk.replica;
    let found = replica.read(|machine, kv| machine.leases_at(kv, partition, position));
    found.map_err(|error| broken(replica.id(), &error))
}

async fn write<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    op: Op,
    queue: &QueueRef,
) -> Result<Reply, ApiError> {
    let shard = desk.replica.id();
    // A lease of each group at most.
    let answer = desk.intake.push(op, 16 << 10);
    let answer = answer.map_err(|error| not_taken(shard, error))?;
    match outcome(shard, answer.await.unwrap_or_else(|_| stopped()))? {
        Reply::Refused(refusal) => Err(refused(refusal, queue)),
        reply => Ok(reply),
    }
}

fn gone(named: &Named<'_>) -> ApiError {
    let queue = named.queue;
    let what = match named.message_id {
        "" => "no message".to_owned(),
        id => format!("no message {id}"),
    };
    let message = format!(
        "queue {queue} has {what} at {:?}: it was settled, moved, expired or has fallen \
         due; peek shows where messages stand",
        named.location
    );
    ApiError::new(Code::NotFound, message).about(named.queue)
}

fn leased(named: &Named<'_>, standing: &Standing, verb: &str) -> ApiError {
    let queue = named.queue;
    let instead = match verb {
        "delete" => "wait until its consumer is done, or delete it by force",
        _ => "wait until its consumer is done",
    };
    let message = format!(
        "queue {queue}: cannot {verb} message {}, as it is leased to a consumer; \
         {instead}",
        standing.message
    );
    ApiError::new(Code::FailedPrecondition, message).about(named.queue)
}
