//! The stream of one consumer at its shard: credit in, deliveries out.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use openraft_rt::Select2;
use roadstead_core::shard::{Received, SessionId};
use roadstead_proto::v1::{
    CallError, DeliveryBatch, SubscriptionDown, SubscriptionUp, subscription_down, subscription_up,
};
use tokio::sync::mpsc;

use super::consumer::{Closed, ConsumerId, Push, Wish};
use super::deliver::{self, FRAME_BYTES};
use super::desk::Desk;
use super::events;
use super::replica::{Replica, Unapplied};
use crate::gateway::ApiError;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;

/// What one consumer hears, and its place among the consumers. Dropping it leaves the shard:
/// what it was given and did not take is handed back, or kept for its session.
#[derive(Debug)]
pub struct Seat<R: Runtime, P: Replica> {
    /// Where it sits.
    pub desk: Arc<Desk<R, P>>,
    /// Its number.
    pub id: ConsumerId,
    /// What it hears.
    pub pushes: mpsc::UnboundedReceiver<Push>,
    session: Option<SessionId>,
}

impl<R: Runtime, P: Replica> Seat<R, P> {
    /// Takes a place. What is leased to the session already and not among `held` (receipts) is
    /// delivered again, within the credit.
    pub fn take(desk: &Arc<Desk<R, P>>, wish: Wish, held: &[Bytes]) -> Self {
        let (push, pushes) = mpsc::unbounded_channel();
        let session = wish.session;
        let held: BTreeSet<&[u8]> = held.iter().map(|receipt| &receipt[..]).collect();
        let mut seats = desk.seats();
        let mut owed = Vec::new();
        let outdated = seats.consumers.is_outdated(&wish);
        if let Some(session) = session.filter(|_| !outdated) {
            seats.sessions.back(session, &wish.partitions);
            for partition in &wish.partitions {
                let leases = desk
                    .replica
                    .read(|machine, kv| machine.leases_of(kv, *partition, session));
                owed.extend(
                    leases
                        .into_iter()
                        .flatten()
                        .filter_map(|lease| lacking(lease, &held)),
                );
            }
        }
        for partition in &wish.partitions {
            seats.wake_ups.quiet(*partition);
        }
        events::log_given_again(desk.replica.id(), &owed);
        // Popped from the end: the oldest deliveries first.
        owed.reverse();
        let id = seats.consumers.open(wish, owed, push);
        drop(seats);
        // Where another node leads by now, the proposer closes it.
        desk.intake.wake();
        Self {
            desk: desk.clone(),
            id,
            pushes,
            session,
        }
    }

    /// The shard.
    pub fn shard(&self) -> GroupId {
        self.desk.replica.id()
    }
}

impl<R: Runtime, P: Replica> Drop for Seat<R, P> {
    fn drop(&mut self) {
        self.desk.leave(self.id);
        self.pushes.close();
        while let Ok(push) = self.pushes.try_recv() {
            if let (Push::Leased(received), None) = (push, self.session) {
                self.desk.hand_back(&received);
            }
        }
    }
}

fn lacking(mut lease: Received, held: &BTreeSet<&[u8]>) -> Option<Received> {
    let messages = std::mem::take(&mut lease.messages);
    let lacks = |message: &_| {
        lease
            .receipt(message)
            .is_some_and(|receipt| !held.contains(&receipt.encode()[..]))
    };
    let messages: Vec<_> = messages.into_iter().filter(lacks).collect();
    (!messages.is_empty()).then_some(Received { messages, ..lease })
}

/// Serves a subscription until one side ends it.
pub async fn run<R: Runtime, P: Replica>(
    mut seat: Seat<R, P>,
    mut up: mpsc::Receiver<SubscriptionUp>,
    down: mpsc::Sender<SubscriptionDown>,
) {
    let desk = seat.desk.clone();
    loop {
        let event = R::select2(pin!(up.recv()), pin!(seat.pushes.recv())).await;
        let going_on = match event {
            Select2::First(frame) => grant(&desk, seat.id, frame),
            Select2::Second(Some(push)) => pass_on(&mut seat, push, &down).await,
            Select2::Second(None) => false,
        };
        if !going_on {
            return;
        }
    }
}

fn grant<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    id: ConsumerId,
    frame: Option<SubscriptionUp>,
) -> bool {
    match frame.and_then(|up| up.frame) {
        Some(subscription_up::Frame::Credit(0)) => desk.seats().consumers.take_back(id),
        Some(subscription_up::Frame::Credit(credit)) => desk.seats().consumers.grant(id, credit),
        Some(subscription_up::Frame::Open(_)) => return true,
        Some(subscription_up::Frame::Close(_)) | None => return false,
    }
    desk.intake.wake();
    true
}

/// Writes what the consumer is to hear; false when the stream is over.
async fn pass_on<R: Runtime, P: Replica>(
    seat: &mut Seat<R, P>,
    push: Push,
    down: &mpsc::Sender<SubscriptionDown>,
) -> bool {
    let mut next = Some(push);
    let mut leased = Vec::new();
    let mut bytes = 0;
    // What was leased at the same time goes into the same frame.
    while let Some(Push::Leased(received)) = next {
        bytes += received
            .messages
            .iter()
            .map(|m| m.payload.len as usize)
            .sum::<usize>();
        leased.push(received);
        next = if bytes < FRAME_BYTES {
            seat.pushes.try_recv().ok()
        } else {
            None
        };
    }
    if !leased.is_empty() {
        let replica = seat.desk.replica.clone();
        let mut missing: usize = leased.iter().map(|received| received.messages.len()).sum();
        for deliveries in deliver::frames(&*replica, &leased).await {
            missing -= deliveries.len();
            let frame = subscription_down::Frame::Deliveries(DeliveryBatch { deliveries });
            if down
                .send(SubscriptionDown { frame: Some(frame) })
                .await
                .is_err()
            {
                return false;
            }
        }
        if missing > 0 {
            seat.desk.seats().consumers.grant(seat.id, missing as u32);
            seat.desk.intake.wake();
        }
    }
    let (frame, last) = match next {
        None | Some(Push::Leased(_)) => return true,
        Some(Push::Available) => (subscription_down::Frame::Available(true), false),
        Some(Push::Returned(unused)) => (subscription_down::Frame::Returned(unused), false),
        Some(Push::Closed(why)) => {
            let error = closed(seat.desk.replica.id(), &why);
            (subscription_down::Frame::Closed(error), true)
        }
    };
    down.send(SubscriptionDown { frame: Some(frame) })
        .await
        .is_ok()
        && !last
}

fn closed(shard: GroupId, why: &Closed) -> CallError {
    match why {
        Closed::Leadership(Unapplied::NotLeader(leader)) => {
            ApiError::not_leader(shard, *leader).into()
        }
        Closed::Leadership(Unapplied::Unknown(_)) => ApiError::not_leader(shard, None).into(),
        Closed::Replaced => ApiError::new(
            tonic::Code::Aborted,
            "the same session was opened by another stream; give each consumer its own session_id",
        )
        .into(),
        Closed::Outdated => ApiError::new(
            tonic::Code::Aborted,
            "a newer stream of the same session is open; a session's streams are numbered upwards",
        )
        .into(),
        Closed::Gone(queue) => ApiError::queue_gone(queue).into(),
    }
}
