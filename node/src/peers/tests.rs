//! Two nodes over links in memory.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::{
    PeerHello, RaftAppend, RaftAppendReply, RaftTransfer, RaftTransferReply, RaftVoteReply,
    RaftVoteRequest, ShardCall, ShardReply, SnapshotPiece, SnapshotReply, SubscriptionDown,
    SubscriptionOpen, SubscriptionUp, peer_message::Body, raft_append_reply, shard_call::Call,
    shard_reply::Reply, subscription_down, subscription_up,
};
use tokio::sync::mpsc;

use super::Peers;
use super::inbound::{self, Serve};
use crate::gateway::ApiError;
use crate::raft::types::{GroupId, NodeId};
use crate::scope::{Clock, NodeScope};
use crate::transport::{Lane, Link, Transport};

const PATIENCE: Duration = Duration::from_secs(5);

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct StillClock;

impl Clock for StillClock {
    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn wall_ms(&self) -> u64 {
        1_000
    }
}

/// A start that the other node knows a later one of.
const OLD: u64 = 9;

/// Answers what can be told apart: appends by their term, calls by their principal.
struct Echo {
    is_admitted: bool,
}

impl Serve for Echo {
    fn greet(&self, hello: &PeerHello) -> Result<PeerHello, String> {
        if hello.cluster_id != "here" {
            return Err("another cluster".to_owned());
        }
        if hello.to_node_id != 2 {
            return Err("another node is meant".to_owned());
        }
        Ok(PeerHello {
            wall_ms: 5_000,
            node_id: 2,
            disowns: match &hello.boot {
                Some(boot) if boot.first == OLD => "an old disk".to_owned(),
                _ => String::new(),
            },
            ..PeerHello::default()
        })
    }

    fn is_admitted(&self) -> bool {
        self.is_admitted
    }

    fn appends(
        &self,
        _group: GroupId,
        mut requests: mpsc::Receiver<(u64, RaftAppend)>,
        answer: Box<dyn Fn(u64, RaftAppendReply) -> Task<()> + Send + Sync>,
    ) -> Task<()> {
        Box::pin(async move {
            while let Some((id, append)) = requests.recv().await {
                let vote = append.vote.unwrap_or_default();
                let outcome = Some(raft_append_reply::Outcome::HigherVote(vote));
                answer(
                    id,
                    RaftAppendReply {
                        outcome,
                        ..RaftAppendReply::default()
                    },
                )
                .await;
            }
        })
    }

    fn vote(&self, _group: GroupId, request: RaftVoteRequest) -> Task<RaftVoteReply> {
        Box::pin(async move {
            RaftVoteReply {
                vote: request.vote,
                ..RaftVoteReply::default()
            }
        })
    }

    fn transfer(&self, _group: GroupId, _request: RaftTransfer) -> Task<RaftTransferReply> {
        Box::pin(async { RaftTransferReply::default() })
    }

    fn snapshot(
        &self,
        _peer: NodeId,
        _group: GroupId,
        _id: u64,
        piece: SnapshotPiece,
    ) -> Task<SnapshotReply> {
        Box::pin(async move {
            SnapshotReply {
                vote: piece.vote,
                error: String::new(),
            }
        })
    }

    fn call(&self, group: GroupId, call: ShardCall) -> Task<Result<ShardReply, ApiError>> {
        Box::pin(async move {
            match call.call {
                Some(Call::ReadIndex(_)) => Ok(ShardReply {
                    reply: Some(Reply::ReadIndex(group.into())),
                }),
                _ => Err(ApiError::not_leader(group, Some(7))),
            }
        })
    }

    fn subscribe(
        &self,
        _group: GroupId,
        _open: SubscriptionOpen,
        mut up: mpsc::Receiver<SubscriptionUp>,
        down: mpsc::Sender<SubscriptionDown>,
    ) {
        tokio::spawn(async move {
            while let Some(SubscriptionUp {
                frame: Some(subscription_up::Frame::Credit(n)),
            }) = up.recv().await
            {
                let frame = Some(subscription_down::Frame::Returned(n));
                if down.send(SubscriptionDown { frame }).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Links to one node that serves [`Echo`]; counts the dials, and can cut what was dialled.
#[derive(Default)]
struct Memory {
    dials: AtomicUsize,
    cuts: Mutex<Vec<NodeScope<TokioRuntime>>>,
}

impl Memory {
    fn cut(&self) {
        for scope in self.cuts.lock().expect("lock").drain(..) {
            scope.stop();
        }
    }
}

impl Transport for Memory {
    fn dial(
        &self,
        address: &str,
        _lane: Lane,
    ) -> Pin<Box<dyn Future<Output = io::Result<Link>> + Send + '_>> {
        let known = ["two:1", "waiting:1"].contains(&address);
        let address = address.to_owned();
        Box::pin(async move {
            self.dials.fetch_add(1, Ordering::Relaxed);
            if !known {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let echo = Echo {
                is_admitted: address != "waiting:1",
            };
            let (a, b) = (mpsc::channel(16), mpsc::channel(16));
            let scope = NodeScope::default();
            let served = Link {
                sender: b.0,
                receiver: a.1,
            };
            scope.spawn(inbound::serve(served, Arc::new(echo), scope.clone()));
            self.cuts.lock().expect("lock").push(scope);
            Ok(Link {
                sender: a.0,
                receiver: b.1,
            })
        })
    }
}

fn peers(cluster: &str) -> (Peers<TokioRuntime>, Arc<Memory>) {
    let (peers, transport) = waiting(cluster, 1);
    peers.admit();
    (peers, transport)
}

/// Peers of a node that is not admitted yet.
fn waiting(cluster: &str, start: u64) -> (Peers<TokioRuntime>, Arc<Memory>) {
    let transport = Arc::new(Memory::default());
    let boot = roadstead_proto::v1::Boot {
        first: start,
        nonces: vec![1],
    };
    let hello = PeerHello {
        cluster_id: cluster.to_owned(),
        node_id: 1,
        boot: Some(boot),
        ..PeerHello::default()
    };
    let peers = Peers::new(
        transport.clone(),
        NodeScope::default(),
        Arc::new(StillClock),
        hello,
    );
    peers.set_address(2, "two:1");
    (peers, transport)
}

fn read_index() -> ShardCall {
    ShardCall {
        principal: None,
        call: Some(Call::ReadIndex(true)),
    }
}

#[tokio::test]
async fn a_call_is_answered_and_an_error_keeps_its_details() {
    let (peers, transport) = peers("here");
    for group in 1..=3 {
        let reply = peers
            .call(2, group, read_index(), PATIENCE)
            .await
            .expect("answer");
        assert_eq!(reply.reply, Some(Reply::ReadIndex(group.into())));
    }
    assert_eq!(
        transport.dials.load(Ordering::Relaxed),
        1,
        "one link for all"
    );
    let call = ShardCall {
        principal: None,
        call: Some(Call::Status(true)),
    };
    let error = peers.call(2, 1, call, PATIENCE).await.expect_err("refused");
    assert_eq!(error.not_leader, Some(7));
}

#[tokio::test]
async fn answers_to_appends_keep_their_order() {
    let (peers, _transport) = peers("here");
    let asked: Vec<_> = (0..200)
        .map(|term| {
            let vote = Some(roadstead_proto::v1::RaftVote {
                term,
                ..Default::default()
            });
            let append = RaftAppend {
                vote,
                ..RaftAppend::default()
            };
            peers.ask(2, Lane::Bulk, 3, Body::Append(append)).1
        })
        .collect();
    for (term, answer) in asked.into_iter().enumerate() {
        let message = answer.await.expect("kept").expect("answered");
        let Some(Body::AppendReply(reply)) = message.body else {
            panic!("another kind")
        };
        let Some(raft_append_reply::Outcome::HigherVote(vote)) = reply.outcome else {
            panic!("another outcome")
        };
        assert_eq!(vote.term, term as u64);
    }
}

#[tokio::test]
async fn a_subscription_carries_frames_both_ways_and_ends_with_the_link() {
    let (peers, transport) = peers("here");
    let (up, mut down) = peers.subscribe(2, 1, SubscriptionOpen::default());
    for credit in [5, 9] {
        let frame = Some(subscription_up::Frame::Credit(credit));
        up.send(SubscriptionUp { frame }).await.expect("open");
        let frame = down.recv().await.expect("a frame").frame;
        assert_eq!(frame, Some(subscription_down::Frame::Returned(credit)));
    }
    transport.cut();
    assert!(
        down.recv().await.is_none(),
        "the receiver ends with the link"
    );
    let reply = peers.call(2, 4, read_index(), PATIENCE).await;
    assert!(reply.is_ok(), "the next call dials anew: {reply:?}");
    assert_eq!(transport.dials.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_wall_clock_of_a_peer_is_learnt_from_its_hello() {
    let (peers, _transport) = peers("here");
    peers
        .call(2, 1, read_index(), PATIENCE)
        .await
        .expect("answer");
    assert_eq!(peers.wall_clocks(), [5_000]);
}

#[tokio::test]
async fn a_foreign_cluster_gets_no_answer() {
    let (peers, _transport) = peers("elsewhere");
    let error = peers
        .call(2, 1, read_index(), PATIENCE)
        .await
        .expect_err("refused");
    assert_eq!(error.code, tonic::Code::Unknown, "it may have been heard");
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_fails_at_once() {
    let (peers, _transport) = peers("here");
    peers.set_address(3, "three:1");
    for node in [3, 4] {
        let call = peers.call(node, 1, read_index(), PATIENCE);
        let error = tokio::time::timeout(Duration::from_secs(1), call)
            .await
            .expect("at once");
        let error = error.expect_err("unreachable");
        assert_eq!(error.code, tonic::Code::Unavailable);
        assert_eq!(error.not_leader, Some(0), "nothing was done: {error}");
    }
}

#[tokio::test]
async fn who_is_not_admitted_says_hello_and_asks_nothing() {
    let (peers, transport) = waiting("here", 1);
    let vote = Body::Vote(RaftVoteRequest::default());
    let refused = peers.request(2, Lane::Bulk, 1, vote.clone()).await;
    assert!(refused.unwrap_err().contains("not admitted"));
    assert_eq!(transport.dials.load(Ordering::Relaxed), 0);
    assert_eq!(peers.introduce(2, Duration::from_secs(5)).await, Ok(()));
    peers.admit();
    // The link that was refused pauses.
    assert!(peers.request(2, Lane::Urgent, 1, vote).await.is_ok());
}

#[tokio::test]
async fn a_peer_that_is_not_admitted_says_hello_and_answers_nothing() {
    let (peers, _transport) = peers("here");
    peers.set_address(2, "waiting:1");
    assert_eq!(peers.introduce(2, Duration::from_secs(5)).await, Ok(()));
    let vote = Body::Vote(RaftVoteRequest::default());
    let refused = peers.request(2, Lane::Urgent, 1, vote).await;
    assert!(refused.unwrap_err().contains("closed the link"));
}

#[tokio::test]
async fn who_is_disowned_is_never_admitted() {
    let (peers, _transport) = waiting("here", OLD);
    let refused = peers.introduce(2, Duration::from_secs(5)).await;
    assert_eq!(refused, Err("an old disk".to_owned()));
    peers.admit();
    assert!(!peers.is_admitted());
    assert_eq!(peers.until_disowned().await, "an old disk");
}
