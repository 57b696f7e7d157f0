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
use super::consumers::Consumers;
use super::deliver::{self, FRAME_BYTES, Leased};
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
    group: u32,
    /// Messages that were leased to its session before, and are delivered again first.
    pub owed: u32,
    /// Heard, and not written yet; `next` comes behind it.
    leased: Leased,
    next: Option<Push>,
}

impl<R: Runtime, P: Replica> Seat<R, P> {
    /// Takes a place. What is leased to the session already and not among `held` (receipts) is
    /// delivered again, within the credit.
    pub fn take(desk: &Arc<Desk<R, P>>, wish: Wish, held: &[Bytes]) -> Self {
        let (push, pushes) = mpsc::unbounded_channel();
        let (session, group) = (wish.session, wish.group);
        let held: BTreeSet<&[u8]> = held.iter().map(|receipt| &receipt[..]).collect();
        let mut seats = desk.seats();
        seats.consumers.pass(desk.now_ms());
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
                        .filter(|lease| lease.group == wish.group)
                        .filter_map(|lease| lacking(lease, &held)),
                );
            }
        }
        for line in wish.lines() {
            seats.wake_ups.quiet(line);
        }
        events::log_given_again(desk.replica.id(), &owed);
        // Popped from the end: the oldest deliveries first.
        owed.reverse();
        let messages = owed.iter().map(|batch| batch.messages.len()).sum::<usize>();
        let id = seats.consumers.open(wish, owed, push);
        drop(seats);
        // Where another node leads by now, the proposer closes it.
        desk.intake.wake();
        Self {
            desk: desk.clone(),
            id,
            pushes,
            session,
            group,
            owed: messages as u32,
            leased: Leased::default(),
            next: None,
        }
    }

    /// The id of its consumer group.
    pub fn group(&self) -> u32 {
        self.group
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
            if let Push::Leased(received) = push {
                self.leased.push(received);
            }
        }
        if self.session.is_none() {
            self.desk.hand_back_all(&mut self.leased);
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
    let mut unread = 0;
    loop {
        let going_on = if seat.leased.is_empty() {
            let push = match seat.next.take() {
                Some(push) => Select2::Second(Some(push)),
                None => R::select2(pin!(up.recv()), pin!(seat.pushes.recv())).await,
            };
            match push {
                Select2::First(frame) => heard(&seat, frame, &mut unread),
                Select2::Second(Some(push)) => pass_on(&mut seat, push, &down).await,
                Select2::Second(None) => false,
            }
        } else {
            let window = seat.desk.window();
            if unread < window || seat.leased.are_consumed() {
                deliver(&mut seat, &down, FRAME_BYTES.min(window), &mut unread).await
            } else {
                let frame = up.recv().await;
                heard(&seat, frame, &mut unread)
            }
        };
        if !going_on {
            return;
        }
    }
}

/// Obeys the consumer; false when it ends the subscription.
fn heard<R: Runtime, P: Replica>(
    seat: &Seat<R, P>,
    frame: Option<SubscriptionUp>,
    unread: &mut usize,
) -> bool {
    let consumers = |act: &dyn Fn(&mut Consumers)| act(&mut seat.desk.seats().consumers);
    match frame.and_then(|up| up.frame) {
        Some(subscription_up::Frame::Credit(0)) => consumers(&|all| all.take_back(seat.id)),
        Some(subscription_up::Frame::Credit(credit)) => {
            consumers(&|all| all.grant(seat.id, credit));
        }
        Some(subscription_up::Frame::Settled(_)) => {
            let now = seat.desk.now_ms();
            consumers(&|all| {
                all.pass(now);
                all.settled(seat.id);
            });
            return true;
        }
        Some(subscription_up::Frame::Read(bytes)) => {
            *unread = unread.saturating_sub(bytes as usize);
            return true;
        }
        Some(subscription_up::Frame::Open(_)) => return true,
        Some(subscription_up::Frame::Close(_)) | None => return false,
    }
    seat.desk.intake.wake();
    true
}

/// Takes note of what is leased, and writes what else the consumer is to hear; false when the
/// stream is over.
async fn pass_on<R: Runtime, P: Replica>(
    seat: &mut Seat<R, P>,
    push: Push,
    down: &mpsc::Sender<SubscriptionDown>,
) -> bool {
    let (frame, last) = match push {
        Push::Leased(received) => {
            seat.leased.push(received);
            // What was leased at the same time goes into the same frame.
            while seat.leased.bytes() < FRAME_BYTES && seat.next.is_none() {
                match seat.pushes.try_recv() {
                    Ok(Push::Leased(received)) => seat.leased.push(received),
                    Ok(other) => seat.next = Some(other),
                    Err(_) => break,
                }
            }
            return true;
        }
        Push::Available => (subscription_down::Frame::Available(true), false),
        Push::Returned(unused) => (subscription_down::Frame::Returned(unused), false),
        Push::Draining(left) => {
            let left = u32::try_from(left.unwrap_or(0)).unwrap_or(u32::MAX);
            (subscription_down::Frame::DrainingMs(left), false)
        }
        Push::Closed(why) => {
            let error = closed(seat.desk.replica.id(), &why);
            (subscription_down::Frame::Closed(error), true)
        }
    };
    down.send(SubscriptionDown { frame: Some(frame) })
        .await
        .is_ok()
        && !last
}

/// Writes one frame of what is leased, of about `bytes`, or all of it where it was consumed; false
/// when the stream is over.
async fn deliver<R: Runtime, P: Replica>(
    seat: &mut Seat<R, P>,
    down: &mpsc::Sender<SubscriptionDown>,
    bytes: usize,
    unread: &mut usize,
) -> bool {
    let leased = seat.leased.take(bytes);
    let deliveries = deliver::frame(&*seat.desk.replica, &leased).await;
    let messages: usize = leased.iter().map(|received| received.messages.len()).sum();
    let missing = messages - deliveries.len();
    if missing > 0 {
        let mut seats = seat.desk.seats();
        seats.consumers.grant(seat.id, missing as u32);
        drop(seats);
        seat.desk.intake.wake();
    }
    for deliveries in deliver::frames(deliveries) {
        *unread += deliver::weight(&deliveries);
        let frame = subscription_down::Frame::Deliveries(DeliveryBatch { deliveries });
        let down = down.send(SubscriptionDown { frame: Some(frame) });
        if down.await.is_err() {
            return false;
        }
    }
    true
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
        Closed::GroupGone(queue) => ApiError::group_gone(queue).into(),
    }
}
