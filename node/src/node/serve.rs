//! What this node does with what its peers ask.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use openraft::SnapshotMeta;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
};
use openraft_rt::Select2;
use roadstead_proto::v1::{
    PeerHello, RaftAppend, RaftAppendReply, RaftAppended, RaftTransfer, RaftTransferReply,
    RaftVoteReply, RaftVoteRequest, ShardCall, ShardReply, SnapshotPiece, SnapshotReply,
    SubscriptionDown, SubscriptionOpen, SubscriptionUp, raft_append_reply::Outcome,
};
use tokio::sync::mpsc;

use super::Node;
use crate::controls::Protection;
use crate::gateway::ApiError;
use crate::ordered::in_order;
use crate::peers::codec;
use crate::peers::inbound::Serve;
use crate::raft::Group;
use crate::raft::snapshot::{SnapshotData, Source};
use crate::raft::types::{CATALOG, GroupId, LogId, NodeId, TypeConfig};
use crate::runtime::Runtime;

/// Appends of one link and group that may be in the works at a time.
const APPENDS_IN_FLIGHT: usize = 64;

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<R: Runtime> Node<R> {
    fn greeting(&self, hello: &PeerHello) -> Result<PeerHello, String> {
        // What is sent to a node that lived here before is not for this one: an append would be
        // acknowledged in the other's name.
        let (meant, me) = (hello.to_node_id, self.node_id());
        if meant != 0 && meant != me {
            return Err(format!(
                "node {meant:016x} is meant, this is node {me:016x}"
            ));
        }
        self.join_cluster(&hello.cluster_id)?;
        let mut answer = self.peers().hello();
        if let Err(why) = self.peers().vouch(hello) {
            tracing::warn!(peer = %format_args!("{:016x}", hello.node_id), why, "peer disowned");
            answer.disowns = why;
        }
        Ok(answer)
    }
}

impl<R: Runtime> Serve for Arc<Node<R>> {
    fn greet(&self, hello: &PeerHello) -> Result<PeerHello, String> {
        let greeted = self.greeting(hello);
        let noted = greeted.as_ref().map(|_| ()).map_err(String::as_str);
        self.peers().note_greeting(hello, noted);
        greeted
    }

    fn is_admitted(&self) -> bool {
        self.peers().is_admitted()
    }

    fn appends(
        &self,
        group: GroupId,
        requests: mpsc::Receiver<(u64, RaftAppend)>,
        answer: Box<dyn Fn(u64, RaftAppendReply) -> Task<()> + Send + Sync>,
    ) -> Task<()> {
        Box::pin(appends(self.clone(), group, requests, answer))
    }

    fn vote(&self, group: GroupId, request: RaftVoteRequest) -> Task<RaftVoteReply> {
        let group = self.groups().get(group);
        Box::pin(async move {
            let Some(group) = group else {
                return vote_error("the group does not run here");
            };
            let pre_vote = request.pre_vote;
            let request: VoteRequest<TypeConfig<R>> = VoteRequest {
                vote: codec::vote_from_wire(request.vote.as_ref()),
                last_log_id: request.last_log_id.as_ref().map(codec::log_id_from_wire),
                leadership_transfer: request.leadership_transfer,
            };
            let reply = if pre_vote {
                group.raft().pre_vote(request).await
            } else {
                group.raft().vote(request).await
            };
            match reply {
                Ok(reply) => RaftVoteReply {
                    vote: Some(codec::vote_to_wire(&reply.vote)),
                    last_log_id: reply.last_log_id.as_ref().map(codec::log_id_to_wire),
                    granted: reply.vote_granted,
                    error: String::new(),
                },
                Err(error) => vote_error(&error.to_string()),
            }
        })
    }

    fn transfer(&self, group: GroupId, request: RaftTransfer) -> Task<RaftTransferReply> {
        let group = self.groups().get(group);
        let refused = |why: &str| RaftTransferReply {
            error: why.to_owned(),
        };
        let stopping = self.is_stopping();
        Box::pin(async move {
            if stopping {
                return refused("this node is stopping");
            }
            let Some(group) = group else {
                return refused("the group does not run here");
            };
            let request = TransferLeaderRequest::new(
                codec::vote_from_wire(request.from_leader.as_ref()),
                request.to_node,
                request.last_log_id.as_ref().map(codec::log_id_from_wire),
            );
            let error = match group.raft().handle_transfer_leader(request).await {
                Ok(Ok(())) => String::new(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            RaftTransferReply { error }
        })
    }

    fn snapshot(
        &self,
        peer: NodeId,
        group: GroupId,
        id: u64,
        piece: SnapshotPiece,
    ) -> Task<SnapshotReply> {
        let node = self.clone();
        Box::pin(async move {
            let vote = piece.vote;
            let source = Source { peer, id, group };
            take_piece(&node, source, piece)
                .await
                .unwrap_or_else(|error| SnapshotReply { vote, error })
        })
    }

    fn call(&self, group: GroupId, call: ShardCall) -> Task<Result<ShardReply, ApiError>> {
        let node = self.clone();
        Box::pin(async move { node.serve_call(group, call).await })
    }

    fn subscribe(
        &self,
        group: GroupId,
        open: SubscriptionOpen,
        up: mpsc::Receiver<SubscriptionUp>,
        down: mpsc::Sender<SubscriptionDown>,
    ) {
        self.serve_subscription(group, open, up, down);
    }
}

fn vote_error(why: &str) -> RaftVoteReply {
    RaftVoteReply {
        error: why.to_owned(),
        ..RaftVoteReply::default()
    }
}

/// Feeds openraft the appends of one link in order, without waiting for each to be flushed, and
/// answers them in order. openraft sees them in the order in which they came.
async fn appends<R: Runtime>(
    node: Arc<Node<R>>,
    id: GroupId,
    mut requests: mpsc::Receiver<(u64, RaftAppend)>,
    answer: Box<dyn Fn(u64, RaftAppendReply) -> Task<()> + Send + Sync>,
) {
    let mut answers = FuturesOrdered::new();
    let forgets = id != CATALOG && node.controls.lacks(Protection::Append);
    let begin = |request, mut append: RaftAppend| {
        let group = node.groups().get(id);
        let forgets = forgets && group.as_ref().is_some_and(|one| one.has_caught_up_once());
        let claimed = forgets.then(|| forget(&mut append));
        in_order(async move {
            let reply = match group {
                Some(group) => append_reply(&group, append).await,
                None => Err("the group does not run here".to_owned()),
            };
            let reply = match (reply, claimed) {
                (Ok(reply), Some(claimed)) => Ok(RaftAppendReply {
                    outcome: Some(claimed),
                    ..reply
                }),
                (reply, _) => reply,
            };
            let refused = |error| RaftAppendReply {
                error,
                ..RaftAppendReply::default()
            };
            (request, reply.unwrap_or_else(refused))
        })
    };
    loop {
        if answers.is_empty() {
            let Some((request, append)) = requests.recv().await else {
                return;
            };
            answers.push_back(begin(request, append));
            continue;
        }
        if answers.len() >= APPENDS_IN_FLIGHT {
            if let Some((request, reply)) = answers.next().await {
                answer(request, reply).await;
            }
            continue;
        }
        match R::select2(Box::pin(requests.recv()), answers.next()).await {
            Select2::First(None) => return,
            Select2::First(Some((request, append))) => {
                answers.push_back(begin(request, append));
            }
            Select2::Second(Some((request, reply))) => answer(request, reply).await,
            Select2::Second(None) => {}
        }
    }
}

/// Makes a mere heartbeat of an append; what a follower then claims to have, in a control run.
fn forget(append: &mut RaftAppend) -> Outcome {
    let last = append.entries.pop().and_then(|entry| entry.log_id);
    let log_id = last.or(append.prev_log_id);
    append.entries.clear();
    append.prev_log_id = None;
    append.leader_commit = None;
    Outcome::Appended(RaftAppended { log_id })
}

async fn append_reply<R: Runtime>(
    group: &Group<R>,
    append: RaftAppend,
) -> Result<RaftAppendReply, String> {
    let request: AppendEntriesRequest<TypeConfig<R>> = codec::append_from_wire(append)?;
    let last = request
        .entries
        .last()
        .map(|entry| entry.log_id)
        .or(request.prev_log_id);
    let reply = group
        .raft()
        .append_entries(request)
        .await
        .map_err(|error| error.to_string())?;
    let appended = |log_id: Option<LogId>| {
        Outcome::Appended(RaftAppended {
            log_id: log_id.as_ref().map(codec::log_id_to_wire),
        })
    };
    let outcome = match reply {
        AppendEntriesResponse::Success => appended(last),
        AppendEntriesResponse::PartialSuccess(log_id) => appended(log_id),
        AppendEntriesResponse::Conflict => Outcome::Conflict(true),
        AppendEntriesResponse::HigherVote(vote) => Outcome::HigherVote(codec::vote_to_wire(&vote)),
    };
    Ok(RaftAppendReply {
        outcome: Some(outcome),
        disk_low: group.disk_low(),
        error: String::new(),
        cluster_time_ms: group.state().running_clock().unwrap_or(0),
    })
}

async fn take_piece<R: Runtime>(
    node: &Node<R>,
    source: Source,
    piece: SnapshotPiece,
) -> Result<SnapshotReply, String> {
    let group = node
        .groups()
        .get(source.group)
        .ok_or("the group does not run here")?;
    let (receiving, store) = (node.receiving(), node.store());
    if !piece.done {
        receiving
            .write(store, source, piece.number, piece.chunk)
            .await?;
        return Ok(SnapshotReply {
            vote: piece.vote,
            error: String::new(),
        });
    }
    let staged = receiving.finish(source, piece.number)?;
    let info = staged.info().clone();
    let meta = SnapshotMeta {
        last_log_id: info.applied,
        last_membership: info.membership,
    };
    let snapshot = openraft::Snapshot {
        meta,
        snapshot: SnapshotData::Staged(Box::new(staged)),
    };
    let vote = codec::vote_from_wire(piece.vote.as_ref());
    let reply = group
        .raft()
        .install_full_snapshot(vote, snapshot)
        .await
        .map_err(|error| error.to_string())?;
    Ok(SnapshotReply {
        vote: Some(codec::vote_to_wire(&reply.vote)),
        error: String::new(),
    })
}
