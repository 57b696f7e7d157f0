//! openraft's network over the links between nodes.

use std::future::Future;
use std::sync::Arc;

use futures_util::Stream;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError};
use openraft::impls::BasicNode;
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    TransferLeaderError, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use openraft_rt::{BoxFuture, BoxStream};
use roadstead_proto::v1::{
    RaftAppendReply, RaftTransfer, RaftVoteReply, RaftVoteRequest, peer_message::Body,
};

use super::append_stream::{AppendStream, Route, unreachable};
use super::disk_watch::DiskWatch;
use super::snapshot::{self, Snapshot, SnapshotData};
use super::state_machine::GroupState;
use super::types::{GroupId, NodeId, TypeConfig, Vote};
use crate::peers::{Peers, codec};
use crate::runtime::Runtime;
use crate::transport::Lane;

type StreamResult<R> = Result<
    Result<Option<super::types::LogId>, StreamAppendError<TypeConfig<R>>>,
    RPCError<TypeConfig<R>>,
>;

/// Makes the clients through which one group reaches its replicas.
#[derive(Clone)]
pub struct NetworkFactory<R: Runtime> {
    peers: Peers<R>,
    state: Arc<GroupState>,
    group: GroupId,
    disks: Arc<DiskWatch>,
}

impl<R: Runtime> NetworkFactory<R> {
    /// For the group of `state`; what followers say of their disks is noted in `disks`.
    pub fn new(peers: Peers<R>, state: Arc<GroupState>, disks: Arc<DiskWatch>) -> Self {
        let group = state.group();
        Self {
            peers,
            state,
            group,
            disks,
        }
    }

    fn client(&self, target: NodeId, node: &BasicNode, lane: Lane) -> Network<R> {
        self.peers.learn_address(target, &node.addr);
        Network {
            peers: self.peers.clone(),
            state: self.state.clone(),
            group: self.group,
            target,
            lane,
            disks: self.disks.clone(),
        }
    }
}

impl<R: Runtime> RaftNetworkFactory<TypeConfig<R>> for NetworkFactory<R> {
    type Network = Network<R>;

    async fn new_client(&mut self, target: NodeId, node: &BasicNode) -> Network<R> {
        self.client(target, node, Lane::Bulk)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &BasicNode) -> Network<R> {
        self.client(target, node, Lane::Urgent)
    }
}

/// One group's way to one replica.
pub struct Network<R: Runtime> {
    peers: Peers<R>,
    state: Arc<GroupState>,
    group: GroupId,
    target: NodeId,
    lane: Lane,
    disks: Arc<DiskWatch>,
}

impl<R: Runtime> Network<R> {
    async fn ask(&self, body: Body, option: &RPCOption) -> Result<Body, RPCError<TypeConfig<R>>> {
        let request = self
            .peers
            .request(self.target, Lane::Urgent, self.group, body);
        let message = R::timeout(option.hard_ttl(), request)
            .await
            .map_err(|_| unreachable("no answer in time"))?
            .map_err(|why| unreachable(&why))?;
        message.body.ok_or_else(|| unreachable("an empty answer"))
    }

    async fn ask_vote(
        &self,
        request: VoteRequest<TypeConfig<R>>,
        pre_vote: bool,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        let body = Body::Vote(RaftVoteRequest {
            vote: Some(codec::vote_to_wire(&request.vote)),
            last_log_id: request.last_log_id.as_ref().map(codec::log_id_to_wire),
            pre_vote,
            leadership_transfer: request.leadership_transfer,
        });
        match self.ask(body, &option).await? {
            Body::VoteReply(RaftVoteReply { error, .. }) if !error.is_empty() => {
                Err(unreachable(&error))
            }
            Body::VoteReply(reply) => Ok(VoteResponse::new(
                codec::vote_from_wire(reply.vote.as_ref()),
                reply.last_log_id.as_ref().map(codec::log_id_from_wire),
                reply.granted,
            )),
            _ => Err(unreachable("an answer of another kind")),
        }
    }
}

impl<R: Runtime> RaftNetworkV2<TypeConfig<R>> for Network<R> {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        use futures_util::StreamExt;
        let input = Box::pin(futures_util::stream::once(async { request }));
        let mut answers = self.stream_append(input, option).await?;
        match answers.next().await {
            Some(answer) => Ok(match answer? {
                Ok(log_id) => AppendEntriesResponse::PartialSuccess(log_id),
                Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
                Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
            }),
            None => Err(unreachable("the stream ended without an answer")),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, StreamResult<R>>, RPCError<TypeConfig<R>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + OptionalSend + Unpin + 'static,
    {
        let route = Route {
            peers: self.peers.clone(),
            target: self.target,
            group: self.group,
            lane: self.lane,
        };
        let (disks, state, target) = (self.disks.clone(), self.state.clone(), self.target);
        let report = Box::new(move |reply: &RaftAppendReply| {
            disks.report(target, reply.disk_low);
            state.hear_clock(reply.cluster_time_ms);
        });
        let answers: BoxStream<'s, _> = Box::pin(AppendStream::new(route, input, report));
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        self.ask_vote(request, false, option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        self.ask_vote(request, true, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        _noted: Snapshot<R>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<R>>, StreamingError<TypeConfig<R>>> {
        let way = snapshot::Way {
            peers: &self.peers,
            state: &self.state,
            target: self.target,
            group: self.group,
        };
        snapshot::send(way, vote, cancel).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<Result<(), TransferLeaderError<TypeConfig<R>>>, RPCError<TypeConfig<R>>> {
        let body = Body::Transfer(RaftTransfer {
            from_leader: Some(codec::vote_to_wire(request.from_leader())),
            to_node: *request.to_node_id(),
            last_log_id: request.last_log_id().map(codec::log_id_to_wire),
        });
        match self.ask(body, &option).await? {
            Body::TransferReply(reply) if reply.error.is_empty() => Ok(Ok(())),
            Body::TransferReply(reply) => Err(unreachable(&reply.error)),
            _ => Err(unreachable("an answer of another kind")),
        }
    }
}
