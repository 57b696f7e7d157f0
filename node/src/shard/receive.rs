//! A one-time receive: what is ready now, or the first that comes within a while.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt::Select2;
use roadstead_core::shard::{MAX_RECEIVE, PartitionId, Received};
use roadstead_proto::v1::{ReceiveResponse, ShardReceive};

use super::consumer::{Closed, Push, Rank, Wish};
use super::deliver::{self, ANSWER_BYTES, Leased};
use super::desk::Desk;
use super::refusal::unapplied;
use super::replica::Replica;
use super::sessions::session_id;
use super::subscription::Seat;
use super::wire::millis;
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// What was asked for comes back within this, or the node is in trouble.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Receives once: the leases end by themselves, or by being settled. A receive that is tried again
/// under the same session gets what is leased to that, and nothing else.
pub async fn receive<R: Runtime, P: Replica>(
    desk: &Arc<Desk<R, P>>,
    call: ShardReceive,
) -> Result<ReceiveResponse, ApiError> {
    let wait = call.wait.as_ref().and_then(millis).unwrap_or(0);
    let queue = call.queue_id;
    let partitions = call.partitions.iter();
    let named = Some(&call.session_id).filter(|name| !name.is_empty());
    let wish = Wish {
        queue: call.queue.unwrap_or_default(),
        partitions: partitions
            .map(|partition| PartitionId {
                queue,
                partition: *partition,
            })
            .collect(),
        group: call.group_id,
        session: named.map(|name| session_id((queue, call.group_id), name, true)),
        one_time: true,
        session_name: String::new(),
        stream: 0,
        lease_ms: call.lease.as_ref().and_then(millis),
        at_most_once: call.at_most_once,
        rank: Rank::default(),
        label: call.consumer.unwrap_or_default(),
    };
    let max = call.max_messages.clamp(1, MAX_RECEIVE);
    let mut seat = Seat::take(desk, wish, &[]);
    let leased = if seat.owed > 0 {
        desk.seats()
            .consumers
            .grant_once(seat.id, seat.owed.min(max));
        desk.intake.wake();
        rest(&mut seat).await?
    } else if call.held_only {
        return Ok(ReceiveResponse::default());
    } else if wait == 0 {
        desk.seats().consumers.grant_once(seat.id, max);
        desk.intake.wake();
        rest(&mut seat).await?
    } else {
        desk.seats().consumers.grant(seat.id, max);
        desk.intake.wake();
        let first = first::<R, P>(&mut seat, Duration::from_millis(wait)).await?;
        desk.seats().consumers.take_back(seat.id);
        let mut leased = first.map_or_else(Vec::new, |first| vec![first]);
        leased.extend(rest(&mut seat).await?);
        leased
    };
    let mut waiting = Leased::default();
    for batch in leased {
        waiting.push(batch);
    }
    let answered = waiting.take(ANSWER_BYTES);
    desk.hand_back_all(&mut waiting);
    let deliveries = deliver::frame(&*desk.replica, &answered).await;
    Ok(ReceiveResponse { deliveries })
}

/// The first that is leased within `wait`.
async fn first<R: Runtime, P: Replica>(
    seat: &mut Seat<R, P>,
    wait: Duration,
) -> Result<Option<Received>, ApiError> {
    let mut sleep = Box::pin(R::sleep(wait));
    loop {
        let push = match R::select2(pin!(seat.pushes.recv()), &mut sleep).await {
            Select2::First(push) => push,
            Select2::Second(()) => return Ok(None),
        };
        match push {
            Some(Push::Leased(received)) => return Ok(Some(received)),
            Some(Push::Available | Push::Returned(_) | Push::Draining(_)) => {}
            Some(Push::Closed(why)) => return Err(over(seat, why)),
            None => return Ok(None),
        }
    }
}

/// What else is leased until the unused credit has come back.
async fn rest<R: Runtime, P: Replica>(seat: &mut Seat<R, P>) -> Result<Vec<Received>, ApiError> {
    let mut leased = Vec::new();
    let mut sleep = Box::pin(R::sleep(ANSWER_MAX));
    loop {
        let event = R::select2(pin!(seat.pushes.recv()), &mut sleep).await;
        match event {
            Select2::First(Some(Push::Leased(received))) => leased.push(received),
            Select2::First(Some(Push::Available | Push::Draining(_))) => {}
            // What is leased already is delivered, though the shard is led elsewhere now.
            Select2::First(Some(Push::Closed(_))) if !leased.is_empty() => return Ok(leased),
            Select2::First(Some(Push::Closed(why))) => return Err(over(seat, why)),
            Select2::First(Some(Push::Returned(_)) | None) | Select2::Second(()) => {
                return Ok(leased);
            }
        }
    }
}

fn over<R: Runtime, P: Replica>(seat: &Seat<R, P>, why: Closed) -> ApiError {
    let shard = seat.shard();
    match why {
        Closed::Leadership(why) => unapplied(shard, &why),
        Closed::Replaced | Closed::Outdated => {
            let message = "the same receive, by its retry_token, was asked for again";
            ApiError::new(tonic::Code::Aborted, message)
        }
        Closed::Gone(queue) => ApiError::queue_gone(&queue),
        Closed::GroupGone(queue) => ApiError::group_gone(&queue),
    }
}
