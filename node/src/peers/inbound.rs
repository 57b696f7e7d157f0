//! What comes in over a link that another node dialled.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use roadstead_proto::v1::{
    CallError, PeerFrame, PeerHello, PeerMessage, RaftAppend, RaftAppendReply, RaftTransfer,
    RaftTransferReply, RaftVoteReply, RaftVoteRequest, ShardCall, ShardReply, SnapshotPiece,
    SnapshotReply, SubscriptionDown, SubscriptionOpen, SubscriptionUp, peer_message::Body,
    shard_reply, subscription_down, subscription_up,
};
use tokio::sync::mpsc;

use super::connection::fill_frame;
use crate::gateway::ApiError;
use crate::raft::types::{GroupId, NodeId};
use crate::runtime::Runtime;
use crate::scope::NodeScope;
use crate::transport::Link;

/// A peer that has not introduced itself by then is dropped.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers that may wait for the link; who answers more waits.
const ANSWER_BUFFER: usize = 1_024;

/// Credit frames that may wait for a subscription.
const CREDIT_BUFFER: usize = 256;

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a node does with what its peers ask.
pub trait Serve: Send + Sync + 'static {
    /// Whether the peer belongs to the same cluster; the error says why not. An answer that
    /// disowns the peer is the last.
    fn greet(&self, hello: &PeerHello) -> Result<PeerHello, String>;

    /// Whether more than a hello is answered.
    fn is_admitted(&self) -> bool;

    /// Takes the appends of one link for one group and answers them in their order.
    fn appends(
        &self,
        group: GroupId,
        requests: mpsc::Receiver<(u64, RaftAppend)>,
        answer: Box<dyn Fn(u64, RaftAppendReply) -> Task<()> + Send + Sync>,
    ) -> Task<()>;

    /// Answers a vote or pre-vote.
    fn vote(&self, group: GroupId, request: RaftVoteRequest) -> Task<RaftVoteReply>;

    /// Takes part in a transfer of leadership.
    fn transfer(&self, group: GroupId, request: RaftTransfer) -> Task<RaftTransferReply>;

    /// Takes one piece of the snapshot `id` of a peer.
    fn snapshot(
        &self,
        peer: NodeId,
        group: GroupId,
        id: u64,
        piece: SnapshotPiece,
    ) -> Task<SnapshotReply>;

    /// Answers a call of the group's leader.
    fn call(&self, group: GroupId, call: ShardCall) -> Task<Result<ShardReply, ApiError>>;

    /// Serves a subscription until one side ends it.
    fn subscribe(
        &self,
        group: GroupId,
        open: SubscriptionOpen,
        up: mpsc::Receiver<SubscriptionUp>,
        down: mpsc::Sender<SubscriptionDown>,
    );
}

/// Serves one link until it breaks. The peer's certificate was checked by whoever accepted it.
pub async fn serve<R: Runtime>(link: Link, service: Arc<dyn Serve>, scope: NodeScope<R>) {
    let Link {
        sender,
        mut receiver,
    } = link;
    let (answers, queue) = mpsc::channel(ANSWER_BUFFER);
    let first = R::timeout(HELLO_TIMEOUT, receiver.recv())
        .await
        .ok()
        .flatten();
    let mut messages = first.unwrap_or_default().messages.into_iter();
    let Some(PeerMessage {
        body: Some(Body::Hello(hello)),
        ..
    }) = messages.next()
    else {
        tracing::debug!("a peer did not introduce itself");
        return;
    };
    let Ok(reply) = service.greet(&hello) else {
        return;
    };
    let is_last = !reply.disowns.is_empty() || !service.is_admitted();
    let answer = PeerMessage {
        id: 0,
        group: 0,
        body: Some(Body::Hello(reply)),
    };
    let frame = PeerFrame {
        messages: vec![answer],
    };
    if sender.send(frame).await.is_err() || is_last {
        return;
    }
    // Everything of the link ends with it.
    let scope = scope.child();
    scope.spawn(write(sender, queue));
    let mut link = Inbound {
        peer: hello.node_id,
        service,
        scope: scope.clone(),
        answers,
        appends: BTreeMap::new(),
        subscriptions: BTreeMap::new(),
    };
    for message in messages {
        link.dispatch(message).await;
    }
    while let Some(frame) = receiver.recv().await {
        for message in frame.messages {
            link.dispatch(message).await;
        }
    }
    scope.stop();
}

async fn write(sender: mpsc::Sender<PeerFrame>, mut queue: mpsc::Receiver<PeerMessage>) {
    while let Some(first) = queue.recv().await {
        let frame = fill_frame(first, || queue.try_recv().ok());
        if sender.send(frame).await.is_err() {
            return;
        }
    }
}

struct Inbound<R> {
    peer: NodeId,
    service: Arc<dyn Serve>,
    scope: NodeScope<R>,
    answers: mpsc::Sender<PeerMessage>,
    appends: BTreeMap<GroupId, mpsc::Sender<(u64, RaftAppend)>>,
    subscriptions: BTreeMap<u64, mpsc::Sender<SubscriptionUp>>,
}

impl<R: Runtime> Inbound<R> {
    async fn dispatch(&mut self, message: PeerMessage) {
        let PeerMessage {
            id,
            group,
            body: Some(body),
        } = message
        else {
            return;
        };
        let Ok(group) = GroupId::try_from(group) else {
            return;
        };
        match body {
            Body::Append(append) => self.append(id, group, append).await,
            Body::Vote(vote) => {
                let reply = self.service.vote(group, vote);
                self.answer_later(id, async move { Body::VoteReply(reply.await) });
            }
            Body::Transfer(transfer) => {
                let reply = self.service.transfer(group, transfer);
                self.answer_later(id, async move { Body::TransferReply(reply.await) });
            }
            Body::Snapshot(piece) => {
                let reply = self.service.snapshot(self.peer, group, id, piece);
                self.answer_later(id, async move { Body::SnapshotReply(reply.await) });
            }
            Body::Call(call) => {
                let mut reply = self.service.call(group, call);
                // What two calls of one link queue is queued in their order.
                let begun = poll_fn(|context| Poll::Ready(reply.as_mut().poll(context))).await;
                let reply = async move {
                    match begun {
                        Poll::Ready(reply) => reply,
                        Poll::Pending => reply.await,
                    }
                };
                self.answer_later(id, async move {
                    let reply = reply.await.unwrap_or_else(|error| ShardReply {
                        reply: Some(shard_reply::Reply::Error(error.into())),
                    });
                    Body::Reply(reply)
                });
            }
            Body::SubscriptionUp(up) => self.subscription(id, group, up),
            // Answers belong on the links that we dialled.
            _ => {
                let peer = format_args!("{:016x}", self.peer);
                tracing::debug!(%peer, "unexpected message");
            }
        }
    }

    fn answer_later(&self, id: u64, body: impl Future<Output = Body> + Send + 'static) {
        let answers = self.answers.clone();
        self.scope.spawn(async move {
            let message = PeerMessage {
                id,
                group: 0,
                body: Some(body.await),
            };
            let _ = answers.send(message).await;
        });
    }

    async fn append(&mut self, id: u64, group: GroupId, append: RaftAppend) {
        let requests = self.appends.entry(group).or_insert_with(|| {
            let (sender, requests) = mpsc::channel(ANSWER_BUFFER);
            let answers = self.answers.clone();
            let answer = move |id, reply| -> Task<()> {
                let answers = answers.clone();
                Box::pin(async move {
                    let body = Some(Body::AppendReply(reply));
                    let _ = answers.send(PeerMessage { id, group: 0, body }).await;
                })
            };
            self.scope
                .spawn(self.service.appends(group, requests, Box::new(answer)));
            sender
        });
        if requests.send((id, append)).await.is_err() {
            self.appends.remove(&group);
        }
    }

    fn subscription(&mut self, id: u64, group: GroupId, up: SubscriptionUp) {
        match up.frame {
            Some(subscription_up::Frame::Open(open)) => {
                let (sender, ups) = mpsc::channel(CREDIT_BUFFER);
                let (down, mut downs) = mpsc::channel(1);
                self.subscriptions.insert(id, sender);
                self.service.subscribe(group, open, ups, down);
                let answers = self.answers.clone();
                self.scope.spawn(async move {
                    let message = |down| PeerMessage {
                        id,
                        group: group.into(),
                        body: Some(Body::SubscriptionDown(down)),
                    };
                    while let Some(down) = downs.recv().await {
                        if answers.send(message(down)).await.is_err() {
                            return;
                        }
                    }
                    let closed: CallError = ApiError::not_leader(group, None).into();
                    let frame = Some(subscription_down::Frame::Closed(closed));
                    let _ = answers.send(message(SubscriptionDown { frame })).await;
                });
            }
            Some(subscription_up::Frame::Close(_)) | None => {
                self.subscriptions.remove(&id);
            }
            Some(_) => {
                if let Some(sender) = self.subscriptions.get(&id)
                    && sender.try_send(up).is_err()
                {
                    self.subscriptions.remove(&id);
                }
            }
        }
    }
}
