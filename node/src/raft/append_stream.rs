//! Pipelined replication: many appends on the way to one follower, answers in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use openraft::{AnyError, OptionalSend};
use prost::Message;
use roadstead_proto::v1::{PeerMessage, RaftAppendReply, peer_message::Body, raft_append_reply};

use super::types::{GroupId, LogId, NodeId, TypeConfig};
use crate::peers::{Answer, Peers, codec};
use crate::runtime::Runtime;
use crate::transport::Lane;

/// Appends that may be unanswered at a time.
const WINDOW_REQUESTS: usize = 32;

/// Bytes of appends that may be unanswered at a time.
const WINDOW_BYTES: usize = 8 << 20;

/// A follower that stays silent for longer than this makes the stream start anew.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

type StreamResult<R> =
    Result<Result<Option<LogId>, StreamAppendError<TypeConfig<R>>>, RPCError<TypeConfig<R>>>;

struct Pending {
    id: u64,
    previous: Option<LogId>,
    bytes: usize,
    answer: Answer,
}

/// Takes what a follower says of itself beside its answer.
pub(super) type Report = Box<dyn Fn(&RaftAppendReply) + Send + Sync>;

/// Sends what `input` gives as long as the window allows and yields the answers in order.
///
/// Nothing is spawned: a stream that is dropped takes nothing more from `input`.
pub(super) struct AppendStream<R: Runtime, S> {
    peers: Peers<R>,
    target: NodeId,
    group: GroupId,
    lane: Lane,
    input: Option<S>,
    pending: VecDeque<Pending>,
    bytes: usize,
    timeout: Option<Pin<Box<R::Sleep>>>,
    failed: bool,
    report: Report,
}

/// Where the appends of one stream go.
pub(super) struct Route<R: Runtime> {
    pub(super) peers: Peers<R>,
    pub(super) target: NodeId,
    pub(super) group: GroupId,
    pub(super) lane: Lane,
}

impl<R: Runtime, S> AppendStream<R, S> {
    pub(super) fn new(route: Route<R>, input: S, report: Report) -> Self {
        let Route {
            peers,
            target,
            group,
            lane,
        } = route;
        Self {
            peers,
            target,
            group,
            lane,
            input: Some(input),
            pending: VecDeque::new(),
            bytes: 0,
            timeout: None,
            failed: false,
            report,
        }
    }

    fn send(&mut self, request: &AppendEntriesRequest<TypeConfig<R>>) {
        let append = codec::append_to_wire(request);
        let bytes = append.encoded_len();
        let (id, answer) = self
            .peers
            .ask(self.target, self.lane, self.group, Body::Append(append));
        self.bytes += bytes;
        self.pending.push_back(Pending {
            id,
            previous: request.prev_log_id,
            bytes,
            answer,
        });
    }

    fn accept(&mut self, message: PeerMessage, previous: Option<LogId>) -> StreamResult<R> {
        let Some(Body::AppendReply(reply)) = message.body else {
            return Err(unreachable("the follower gave an answer of another kind"));
        };
        (self.report)(&reply);
        if !reply.error.is_empty() {
            return Err(unreachable(&reply.error));
        }
        outcome(&reply, previous)
    }
}

impl<R: Runtime, S> Drop for AppendStream<R, S> {
    fn drop(&mut self) {
        for pending in &self.pending {
            self.peers.forget(self.target, self.lane, pending.id);
        }
    }
}

fn outcome<R: Runtime>(reply: &RaftAppendReply, previous: Option<LogId>) -> StreamResult<R> {
    use raft_append_reply::Outcome;
    match &reply.outcome {
        Some(Outcome::Appended(appended)) => {
            Ok(Ok(appended.log_id.as_ref().map(codec::log_id_from_wire)))
        }
        Some(Outcome::Conflict(_)) => match previous {
            Some(previous) => Ok(Err(StreamAppendError::Conflict(previous))),
            None => Err(unreachable(
                "the follower refused an append that cannot conflict",
            )),
        },
        Some(Outcome::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(
            codec::vote_from_wire(Some(vote)),
        ))),
        None => Err(unreachable("the follower gave an empty answer")),
    }
}

/// An error after which openraft backs off before it tries again.
pub(super) fn unreachable<R: Runtime>(why: &str) -> RPCError<TypeConfig<R>> {
    RPCError::Unreachable(Unreachable::new(&AnyError::error(why)))
}

impl<R: Runtime, S> Stream for AppendStream<R, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + OptionalSend + Unpin,
{
    type Item = StreamResult<R>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        while this.pending.len() < WINDOW_REQUESTS && this.bytes < WINDOW_BYTES {
            let Some(input) = &mut this.input else { break };
            match Pin::new(input).poll_next(context) {
                Poll::Ready(Some(request)) => this.send(&request),
                Poll::Ready(None) => this.input = None,
                Poll::Pending => break,
            }
        }
        let Some(front) = this.pending.front_mut() else {
            return if this.input.is_none() {
                Poll::Ready(None)
            } else {
                Poll::Pending
            };
        };
        if let Poll::Ready(answer) = Pin::new(&mut front.answer).poll(context) {
            let previous = front.previous;
            this.bytes -= front.bytes;
            this.pending.pop_front();
            this.timeout = None;
            let answer = answer.unwrap_or_else(|_| Err("the link broke".to_owned()));
            let result = match answer {
                Ok(message) => this.accept(message, previous),
                Err(why) => {
                    let why = AnyError::error(why);
                    Err(RPCError::Network(NetworkError::new(&why)))
                }
            };
            this.failed = !matches!(result, Ok(Ok(_)));
            return Poll::Ready(Some(result));
        }
        let sleep = this
            .timeout
            .get_or_insert_with(|| Box::pin(R::sleep(ANSWER_TIMEOUT)));
        if sleep.as_mut().poll(context).is_ready() {
            this.failed = true;
            return Poll::Ready(Some(Err(unreachable(
                "the follower did not answer in time",
            ))));
        }
        Poll::Pending
    }
}
