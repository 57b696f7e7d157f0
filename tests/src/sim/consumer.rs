//! A consumer that acks most of what it gets, and does everything else that consumers do.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use openraft_rt::{AsyncRuntime as _, Select2};
use roadstead_node::auth::Principal;
use roadstead_proto::v1::{
    Ack, Delivery, Extend, Nack, QueueRef, ReceiveCredit, ReceiveRequest, ReceiveStreamOpen,
    ReceiveStreamRequest, Reject, SettleBatch, SettleRequest, SettleResult, Settlement,
    receive_stream_request, receive_stream_response, settlement,
};

use super::client::{Channel, Failed, Stream};
use super::context::{below, count, millis, note, one_in};
use super::history::{Action, Answer, Delivered, Settled};
use super::ledger::{Ledger, now_ms};
use super::queues::Queue;
use super::run::Switch;
use super::runtime::Sim;

/// Longest time that a consumer works on a message in ms.
const WORK_MS: u64 = 40;

/// One consumer of one queue.
pub struct Receiver {
    /// Its number in the run.
    pub number: usize,
    /// Where it receives.
    pub queue: Queue,
    /// Its way to the cluster.
    pub channel: Channel,
    /// What it writes down.
    pub ledger: Ledger,
    /// Once on it acks everything and leaves nothing.
    pub diligent: Switch,
}

/// What a consumer's stream has in hand.
struct Session {
    name: String,
    /// Deliveries that wait for their turn, by receipt; the reconnect names them.
    held: BTreeMap<Bytes, Delivery>,
    /// Settlements on their way, by batch: places in the ledger.
    asked: BTreeMap<u64, Vec<usize>>,
    batches: u64,
}

impl Receiver {
    /// Receives until told to stop.
    pub async fn run(self, stop: Switch) {
        let mut generation = 0;
        let mut session = self.session(generation);
        while !stop.is_on() {
            if one_in(6) {
                self.receive_once().await;
            }
            if !session.held.is_empty() && !self.diligent.is_on() && one_in(10) {
                count("session abandoned");
                generation += 1;
                session = self.session(generation);
            }
            self.serve(&mut session, &stop).await;
            self.ledger
                .open()
                .lost_streams
                .push((session.name.clone(), now_ms()));
            session.asked.clear();
            Sim::sleep(millis(5, 150)).await;
        }
    }

    fn session(&self, generation: u64) -> Session {
        let name = format!("c{}-{generation}", self.number);
        Session {
            name,
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            batches: 0,
        }
    }

    fn queue_ref(&self) -> QueueRef {
        QueueRef {
            namespace: "default".into(),
            name: self.queue.name.into(),
        }
    }

    /// Opens a stream and works until it ends or the consumer has had enough.
    async fn serve(&self, session: &mut Session, stop: &Switch) {
        let Some(mut stream) = self.channel.receive_stream(self.channel.any_host()) else {
            return;
        };
        let held: Vec<Bytes> = session.held.keys().cloned().collect();
        count(if held.is_empty() {
            "stream opened"
        } else {
            "stream opened again with receipts"
        });
        let open = receive_stream_request::Frame::Open(ReceiveStreamOpen {
            queue: Some(self.queue_ref()),
            session_id: session.name.clone(),
            held_receipts: held,
            ..ReceiveStreamOpen::default()
        });
        let credit = 1 + below(6) as u32;
        if !up(&stream, open).await || !up(&stream, credit_of(credit)).await {
            return;
        }
        let turns = if self.diligent.is_on() {
            4_000
        } else {
            20 + below(300)
        };
        for _ in 0..turns {
            if stop.is_on() {
                return;
            }
            let wait = if session.held.is_empty() {
                Duration::from_millis(200)
            } else {
                millis(0, if self.diligent.is_on() { 1 } else { WORK_MS })
            };
            let sleep = Sim::sleep(wait);
            let event = Sim::select2(pin!(stream.down.recv()), pin!(sleep)).await;
            match event {
                Select2::First(Some(Ok(response))) => self.got(session, response.frame),
                Select2::First(Some(Err(error))) => {
                    note(format_args!("{} stream: {error}", session.name));
                    return;
                }
                Select2::First(None) => return,
                Select2::Second(()) => {
                    if !self.work(session, &stream).await {
                        return;
                    }
                }
            }
        }
    }

    fn got(&self, session: &mut Session, frame: Option<receive_stream_response::Frame>) {
        match frame {
            Some(receive_stream_response::Frame::Deliveries(batch)) => {
                for delivery in batch.deliveries {
                    self.note_delivery(&delivery, &session.name);
                    session.held.insert(delivery.receipt.clone(), delivery);
                }
            }
            Some(receive_stream_response::Frame::Settled(settled)) => {
                let places = session.asked.remove(&settled.batch_id).unwrap_or_default();
                for (place, result) in places.into_iter().zip(settled.results) {
                    self.note_answer(place, &result);
                }
            }
            Some(
                receive_stream_response::Frame::Opened(_)
                | receive_stream_response::Frame::Draining(_)
                | receive_stream_response::Frame::Returned(_)
                | receive_stream_response::Frame::Available(_),
            )
            | None => {}
        }
    }

    /// Does one thing with one of the messages it holds; false when the stream has ended.
    async fn work(&self, session: &mut Session, stream: &Stream) -> bool {
        let Some(receipt) = session.held.keys().next().cloned() else {
            return true;
        };
        let Some(action) = self.decide() else {
            count("lease left to end");
            session.held.remove(&receipt);
            return up(stream, credit_of(1)).await;
        };
        let place = self.note_asked(&receipt, action);
        session.batches += 1;
        session.asked.insert(session.batches, vec![place]);
        if !matches!(action, Action::Extend(_)) {
            session.held.remove(&receipt);
        }
        let batch = SettleBatch {
            batch_id: session.batches,
            settlements: vec![settlement_of(receipt, action)],
        };
        let gives_back = !matches!(action, Action::Extend(_));
        up(stream, receive_stream_request::Frame::Settle(batch)).await
            && (!gives_back || up(stream, credit_of(1)).await)
    }

    /// What to do with a message; nothing is to let its lease end.
    fn decide(&self) -> Option<Action> {
        if self.diligent.is_on() {
            return Some(Action::Ack);
        }
        let is_dead_queue = self.queue.dead;
        match below(100) {
            0..=4 => Some(Action::Nack),
            5..=6 => Some(Action::Unstarted),
            7..=8 if !is_dead_queue => Some(Action::Reject),
            9..=12 => Some(Action::Extend(8_000 + below(2_000) as u32)),
            13..=14 => None,
            _ => Some(Action::Ack),
        }
    }

    /// A unary receive, and a unary settle of what came.
    async fn receive_once(&self) {
        let request = ReceiveRequest {
            queue: Some(self.queue_ref()),
            max_messages: 1 + below(3) as u32,
            wait: Some(prost_types::Duration {
                seconds: 0,
                nanos: 300_000_000,
            }),
            ..ReceiveRequest::default()
        };
        let receiving = self
            .channel
            .call(self.channel.any_host(), |gateway| async move {
                gateway.receive(&Principal::Anonymous, request).await
            });
        let Ok(received) = receiving.await else {
            return;
        };
        count("unary receive");
        for delivery in &received.deliveries {
            self.note_delivery(delivery, "");
        }
        for delivery in received.deliveries {
            Sim::sleep(millis(0, WORK_MS)).await;
            if let Some(action) = self.decide() {
                self.settle_once(delivery.receipt, action).await;
            } else {
                count("lease left to end");
            }
        }
    }

    async fn settle_once(&self, receipt: Bytes, action: Action) {
        let place = self.note_asked(&receipt, action);
        let request = SettleRequest {
            queue: Some(self.queue_ref()),
            settlements: vec![settlement_of(receipt, action)],
        };
        let settling = self
            .channel
            .call(self.channel.any_host(), |gateway| async move {
                gateway.settle(&Principal::Anonymous, request).await
            });
        match settling.await {
            Ok(settled) => {
                if let [result] = &settled.results[..] {
                    self.note_answer(place, result);
                }
            }
            Err(Failed::Refused(why) | Failed::Unknown(why)) => {
                note(format_args!("settle: {why}"));
            }
            Err(Failed::Said(error)) => note(format_args!("settle: {error}")),
        }
    }

    fn note_delivery(&self, delivery: &Delivery, session: &str) {
        count("delivery");
        let body = String::from_utf8_lossy(&delivery.body).into_owned();
        let times = delivery.delivery_count;
        note(format_args!(
            "{} gets {body} ×{times} {} as {:x?}",
            self.number, delivery.message_id, delivery.receipt
        ));
        if times > 1 {
            count("redelivery");
        }
        if delivery.dead_letter.is_some() {
            count("dead letter");
        }
        self.ledger.open().delivered.push(Delivered {
            at: now_ms(),
            queue: self.queue.name,
            partition: delivery.partition,
            sequence: delivery.sequence,
            message_id: delivery.message_id.clone(),
            body,
            key: delivery.ordering_key.clone(),
            receipt: delivery.receipt.to_vec(),
            count: times,
            remaining_ms: delivery.lease_remaining_ms,
            session: session.to_owned(),
        });
    }

    /// Writes down what is asked, before it is; gives its place for the answer.
    fn note_asked(&self, receipt: &Bytes, action: Action) -> usize {
        match action {
            Action::Ack => {}
            Action::Nack => count("nack with delay"),
            Action::Unstarted => count("nack unstarted"),
            Action::Reject => count("reject"),
            Action::Extend(_) => count("extend"),
        }
        let mut history = self.ledger.open();
        let place = history.settled.len();
        note(format_args!(
            "{} asks {action:?} as {place}: {receipt:x?}",
            self.number
        ));
        history.settled.push(Settled {
            queue: self.queue.name,
            receipt: receipt.to_vec(),
            action,
            asked_at: now_ms(),
            answer: Answer::Unknown,
        });
        place
    }

    fn note_answer(&self, place: usize, result: &SettleResult) {
        let answer = match &result.error {
            None => Answer::Done,
            Some(error) if error.code == tonic::Code::NotFound as i32 => Answer::Stale,
            Some(error) => {
                note(format_args!("{} settle: {}", self.number, error.message));
                Answer::Unknown
            }
        };
        let mut history = self.ledger.open();
        let Some(settled) = history.settled.get_mut(place) else {
            return;
        };
        settled.answer = answer;
        note(format_args!("{} hears {answer:?} of {place}", self.number));
        let is_ack = settled.action == Action::Ack;
        drop(history);
        match answer {
            Answer::Done if is_ack => count("ack done"),
            Answer::Stale if is_ack => count("ack stale"),
            _ => {}
        }
    }
}

async fn up(stream: &Stream, frame: receive_stream_request::Frame) -> bool {
    stream
        .up
        .send(ReceiveStreamRequest { frame: Some(frame) })
        .await
        .is_ok()
}

fn credit_of(messages: u32) -> receive_stream_request::Frame {
    receive_stream_request::Frame::Credit(ReceiveCredit { messages })
}

fn settlement_of(receipt: Bytes, action: Action) -> Settlement {
    let millis = |ms: u64| prost_types::Duration {
        seconds: i64::try_from(ms / 1_000).unwrap_or_default(),
        nanos: i32::try_from(ms % 1_000).unwrap_or_default() * 1_000_000,
    };
    let action = match action {
        Action::Ack => settlement::Action::Ack(Ack {}),
        Action::Nack => settlement::Action::Nack(Nack {
            delay: Some(millis(below(400))),
            error: "again".into(),
            unstarted: false,
        }),
        Action::Unstarted => settlement::Action::Nack(Nack {
            unstarted: true,
            ..Nack::default()
        }),
        Action::Reject => settlement::Action::Reject(Reject { error: "no".into() }),
        Action::Extend(ms) => settlement::Action::Extend(Extend {
            lease: Some(millis(u64::from(ms))),
        }),
    };
    Settlement {
        receipt,
        action: Some(action),
    }
}
