//! Streams of deliveries over shards without Raft.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{
    Ack, Delivery, Nack, ReceiveCredit, ReceiveStreamOpen, ReceiveStreamRequest,
    ReceiveStreamResponse, SettleBatch, Settlement, receive_stream_request,
    receive_stream_response,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::tests::{LONG, WHO, message, named, send, start};
use super::{ApiError, Gateway};
use crate::shard::twin::queue_info;

pub(super) struct Stream {
    up: mpsc::Sender<ReceiveStreamRequest>,
    down: mpsc::Receiver<Result<ReceiveStreamResponse, ApiError>>,
}

impl Stream {
    async fn open(gateway: &Arc<Gateway<TokioRuntime>>, name: &str, session: &str) -> Self {
        let open = ReceiveStreamOpen {
            queue: named(name),
            session_id: session.to_owned(),
            ..ReceiveStreamOpen::default()
        };
        Self::open_as(gateway, open).await
    }

    pub(super) async fn open_as(
        gateway: &Arc<Gateway<TokioRuntime>>,
        open: ReceiveStreamOpen,
    ) -> Self {
        let (up, frames) = mpsc::channel(64);
        let down = gateway.receive_stream(WHO, frames);
        let mut stream = Self { up, down };
        stream.say(receive_stream_request::Frame::Open(open)).await;
        assert!(matches!(
            stream.next().await,
            receive_stream_response::Frame::Opened(_)
        ));
        stream
    }

    pub(super) async fn say(&self, frame: receive_stream_request::Frame) {
        self.up
            .send(ReceiveStreamRequest { frame: Some(frame) })
            .await
            .unwrap();
    }

    pub(super) async fn credit(&self, messages: u32) {
        self.say(receive_stream_request::Frame::Credit(ReceiveCredit {
            messages,
        }))
        .await;
    }

    /// The next frame that is not of credit.
    pub(super) async fn next(&mut self) -> receive_stream_response::Frame {
        loop {
            let frame = self.frame().await;
            if !is_of_credit(&frame) {
                return frame;
            }
        }
    }

    async fn frame(&mut self) -> receive_stream_response::Frame {
        timeout(LONG, self.down.recv())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .frame
            .unwrap()
    }

    /// What came back of the credit, by the next frame.
    async fn returned(&mut self) -> u32 {
        match self.frame().await {
            receive_stream_response::Frame::Returned(returned) => returned.messages,
            other => panic!("{other:?}"),
        }
    }

    /// The next frame says that more is ready.
    async fn available(&mut self) {
        let frame = self.frame().await;
        assert!(
            matches!(frame, receive_stream_response::Frame::Available(_)),
            "{frame:?}"
        );
    }

    pub(super) async fn deliveries(&mut self) -> Vec<Delivery> {
        match self.next().await {
            receive_stream_response::Frame::Deliveries(batch) => batch.deliveries,
            other => panic!("{other:?}"),
        }
    }

    /// The error that answers the first frame.
    pub(super) async fn refused(
        gateway: &Arc<Gateway<TokioRuntime>>,
        open: ReceiveStreamOpen,
    ) -> ApiError {
        let (up, frames) = mpsc::channel(64);
        let down = gateway.receive_stream(WHO, frames);
        let mut stream = Self { up, down };
        stream.say(receive_stream_request::Frame::Open(open)).await;
        stream.error().await
    }

    /// The error that ends it.
    async fn error(&mut self) -> ApiError {
        let last = timeout(LONG, self.down.recv()).await.unwrap();
        last.unwrap().unwrap_err()
    }

    pub(super) async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(100), self.next())
            .await
            .is_err()
    }

    /// Not even a frame of credit comes.
    async fn is_mute(&mut self) -> bool {
        timeout(Duration::from_millis(100), self.frame())
            .await
            .is_err()
    }
}

fn is_of_credit(frame: &receive_stream_response::Frame) -> bool {
    matches!(
        frame,
        receive_stream_response::Frame::Returned(_) | receive_stream_response::Frame::Available(_)
    )
}

#[tokio::test]
async fn one_credit_over_eight_partitions_never_over_delivers_and_finds_every_message() {
    let (_cluster, gateway) = start().await;
    for turn in 0..24 {
        send(&gateway, "a", vec![message(&turn.to_string())]).await;
    }
    let mut stream = Stream::open(&gateway, "a", "s").await;
    let mut seen = BTreeSet::new();
    for _ in 0..24 {
        stream.credit(1).await;
        let got = stream.deliveries().await;
        assert_eq!(got.len(), 1);
        seen.insert(got[0].body.clone());
    }
    assert_eq!(seen.len(), 24);
    send(&gateway, "a", vec![message("more")]).await;
    assert!(stream.is_silent().await, "its credit is used up");
}

#[tokio::test]
async fn a_stream_settles_and_goes_on_after_leadership_came_back() {
    let (cluster, gateway) = start().await;
    send(&gateway, "one", vec![message("x"), message("y")]).await;
    let mut stream = Stream::open(&gateway, "one", "s").await;
    stream.credit(10).await;
    let mut got = stream.deliveries().await;
    while got.len() < 2 {
        got.extend(stream.deliveries().await);
    }
    let settlement = Settlement {
        receipt: got[0].receipt.clone(),
        action: Some(Action::Ack(Ack {})),
    };
    let batch = SettleBatch {
        batch_id: 5,
        settlements: vec![settlement],
    };
    stream
        .say(receive_stream_request::Frame::Settle(batch))
        .await;
    match stream.next().await {
        receive_stream_response::Frame::Settled(result) => {
            assert_eq!(
                (result.batch_id, result.results[0].error.clone()),
                (5, None)
            );
        }
        other => panic!("{other:?}"),
    }
    cluster.twins[&2].lead(false, None);
    sleep(Duration::from_millis(50)).await;
    cluster.twins[&2].lead(true, Some(1));
    send(&gateway, "one", vec![message("z")]).await;
    // What it holds already does not come again.
    let more = stream.deliveries().await;
    assert_eq!(
        more.iter()
            .map(|delivery| delivery.body.clone())
            .collect::<Vec<_>>(),
        ["z"]
    );
}

#[tokio::test]
async fn what_is_being_acked_while_leadership_moves_does_not_come_again() {
    let (cluster, gateway) = start().await;
    let mut stream = Stream::open(&gateway, "one", "s").await;
    stream.credit(1_000).await;
    for turn in 0..20 {
        send(&gateway, "one", vec![message("x")]).await;
        let got = stream.deliveries().await;
        let settlement = Settlement {
            receipt: got[0].receipt.clone(),
            action: Some(Action::Ack(Ack {})),
        };
        let batch = SettleBatch {
            batch_id: turn,
            settlements: vec![settlement],
        };
        cluster.twins[&2].lead(false, None);
        stream
            .say(receive_stream_request::Frame::Settle(batch))
            .await;
        sleep(Duration::from_millis(5 * turn)).await;
        cluster.twins[&2].lead(true, Some(1));
        match stream.next().await {
            receive_stream_response::Frame::Settled(result) => {
                assert_eq!(result.results[0].error, None, "turn {turn}");
            }
            other => panic!("turn {turn}: {other:?}"),
        }
    }
    assert!(stream.is_silent().await);
}

#[tokio::test]
async fn credit_that_is_taken_back_brings_nothing() {
    let (_cluster, gateway) = start().await;
    let mut stream = Stream::open(&gateway, "a", "s").await;
    stream.credit(100).await;
    stream.credit(0).await;
    sleep(Duration::from_millis(50)).await;
    send(&gateway, "a", (0..8).map(|_| message("x")).collect()).await;
    assert!(stream.is_silent().await);
    stream.credit(100).await;
    assert_eq!(stream.deliveries().await.len(), 8);
}

#[tokio::test]
async fn credit_that_is_taken_back_is_what_was_granted_but_for_what_was_delivered() {
    let (_cluster, gateway) = start().await;
    let mut stream = Stream::open(&gateway, "a", "s").await;
    stream.credit(0).await;
    assert_eq!(stream.returned().await, 0);
    send(&gateway, "a", (0..8).map(|_| message("x")).collect()).await;
    stream.credit(100).await;
    let mut got = 0;
    while got < 8 {
        got += stream.deliveries().await.len();
    }
    stream.credit(0).await;
    assert_eq!(stream.returned().await, 92);
    stream.credit(5).await;
    stream.credit(0).await;
    stream.credit(0).await;
    assert_eq!(stream.returned().await, 5);
    assert_eq!(stream.returned().await, 0);
    assert!(stream.is_mute().await);
}

#[tokio::test]
async fn credit_of_a_shard_that_lost_its_leader_comes_back_as_well() {
    let (cluster, gateway) = start().await;
    let mut stream = Stream::open(&gateway, "one", "s").await;
    stream.credit(5).await;
    assert!(stream.is_mute().await);
    cluster.twins[&2].lead(false, None);
    stream.credit(0).await;
    assert_eq!(stream.returned().await, 5);
    cluster.twins[&2].lead(true, Some(1));
    send(&gateway, "one", vec![message("x")]).await;
    stream.available().await;
    assert!(stream.is_mute().await);
}

#[tokio::test]
async fn that_more_is_ready_than_the_credit_covers_is_said_once() {
    let (_cluster, gateway) = start().await;
    let mut stream = Stream::open(&gateway, "a", "s").await;
    send(&gateway, "a", vec![message("x")]).await;
    stream.available().await;
    for turn in 0..8 {
        send(&gateway, "a", vec![message("x")]).await;
        stream.credit(1).await;
        assert_eq!(stream.deliveries().await.len(), 1, "turn {turn}");
        stream.available().await;
        assert!(stream.is_mute().await);
    }
    stream.credit(2).await;
    assert_eq!(stream.deliveries().await.len(), 1);
    assert!(stream.is_mute().await, "it has credit");
}

#[tokio::test]
async fn a_stream_ends_with_its_queue_and_is_not_moved_to_one_of_the_same_name() {
    let (cluster, gateway) = start().await;
    let mut stream = Stream::open(&gateway, "one", "s").await;
    stream.credit(1).await;
    assert!(stream.is_silent().await);
    cluster.queues.remove(8);
    cluster.queues.set(queue_info(11, "one", &[2]));
    let error = stream.error().await;
    assert_eq!(error.code, Code::NotFound);
    assert!(
        error.message.contains("queue default/one does not exist"),
        "{error}"
    );
    assert!(!error.detail.retryable);
    let again = |queue_id| {
        let (up, frames) = mpsc::channel(64);
        let down = gateway.receive_stream(WHO, frames);
        let open = ReceiveStreamOpen {
            queue: named("one"),
            queue_id,
            session_id: "s".to_owned(),
            ..ReceiveStreamOpen::default()
        };
        (
            Stream { up, down },
            receive_stream_request::Frame::Open(open),
        )
    };
    let (mut moved, open) = again(8);
    moved.say(open).await;
    assert_eq!(moved.error().await.code, Code::NotFound);
    let (mut new, open) = again(11);
    new.say(open).await;
    assert!(matches!(
        new.next().await,
        receive_stream_response::Frame::Opened(_)
    ));
}

#[tokio::test]
async fn what_is_given_back_behind_the_credit_is_not_leased_again() {
    let (cluster, gateway) = start().await;
    send(&gateway, "one", vec![message("first")]).await;
    let mut stream = Stream::open(&gateway, "one", "s").await;
    stream.credit(5).await;
    let first = stream.deliveries().await.remove(0);
    let twin = &cluster.twins[&2];
    let written = || twin.proposed.load(Ordering::SeqCst);
    // The next message is on its way to the client when this takes its credit back.
    twin.hold(true);
    let before = written();
    let sending = async { send(&gateway, "one", vec![message("second")]).await };
    let stopping = async {
        while written() == before {
            sleep(Duration::from_millis(1)).await;
        }
        let writing = written();
        stream.credit(0).await;
        let unstarted = Action::Nack(Nack {
            unstarted: true,
            ..Nack::default()
        });
        let settlement = Settlement {
            receipt: first.receipt.clone(),
            action: Some(unstarted),
        };
        let batch = SettleBatch {
            batch_id: 1,
            settlements: vec![settlement],
        };
        stream
            .say(receive_stream_request::Frame::Settle(batch))
            .await;
        sleep(Duration::from_millis(100)).await;
        assert_eq!(written(), writing, "it waits until the credit is back");
        twin.hold(false);
    };
    tokio::join!(sending, stopping);
    assert_eq!(stream.deliveries().await[0].body, "second");
    assert!(matches!(
        stream.next().await,
        receive_stream_response::Frame::Settled(_)
    ));
    assert!(stream.is_silent().await);
}
