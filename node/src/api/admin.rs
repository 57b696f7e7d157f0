//! What operators and other nodes ask, on the peer and admin listener.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::admin_service_server::AdminService;
use roadstead_proto::v1::peer_service_server::PeerService;
use roadstead_proto::v1::{
    AddMemberRequest, AddMemberResponse, BootstrapRequest, BootstrapResponse, ConsumerLoadFrame,
    DrainMemberRequest, DrainMemberResponse, FetchStateRequest, GetNodeRequest, GetNodeResponse,
    ListMembersRequest, ListMembersResponse, ListNamespaceQuotasRequest,
    ListNamespaceQuotasResponse, PeerFrame, RemoveMemberRequest, RemoveMemberResponse,
    ReplaceMemberRequest, ReplaceMemberResponse, SetNamespaceQuotaRequest,
    SetNamespaceQuotaResponse, StateChunk, TransferLeadershipRequest, TransferLeadershipResponse,
    WatchConsumerLoadRequest,
};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::inbound::principal;
use super::services::Replies;
use super::status::to_status;
use super::unary::unary;
use crate::node::Node;
use crate::transport::grpc;

/// Membership, leadership and load.
#[derive(Clone)]
pub struct AdminServices(pub Arc<Node<TokioRuntime>>);

type Reply<T> = Result<Response<T>, Status>;

#[async_trait]
impl AdminService for AdminServices {
    type WatchConsumerLoadStream = Replies<ConsumerLoadFrame>;

    unary! {
        |services| services.0.admin();
        bootstrap(BootstrapRequest) -> BootstrapResponse;
        list_members(ListMembersRequest) -> ListMembersResponse;
        add_member(AddMemberRequest) -> AddMemberResponse;
        drain_member(DrainMemberRequest) -> DrainMemberResponse;
        remove_member(RemoveMemberRequest) -> RemoveMemberResponse;
        set_namespace_quota(SetNamespaceQuotaRequest) -> SetNamespaceQuotaResponse;
        list_namespace_quotas(ListNamespaceQuotasRequest) -> ListNamespaceQuotasResponse;
        transfer_leadership(TransferLeadershipRequest) -> TransferLeadershipResponse;
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Reply<GetNodeResponse> {
        let principal = principal(&request)?;
        self.0
            .admin()
            .get_node(&principal)
            .map(Response::new)
            .map_err(to_status)
    }

    async fn watch_consumer_load(
        &self,
        request: Request<WatchConsumerLoadRequest>,
    ) -> Reply<Self::WatchConsumerLoadStream> {
        let principal = principal(&request)?;
        let loads = self
            .0
            .admin()
            .watch_consumer_load(&principal)
            .map_err(to_status)?;
        Ok(Response::new(Box::pin(ReceiverStream::new(loads).map(Ok))))
    }
}

/// Links that other nodes open.
#[derive(Clone)]
pub struct PeerLinks(pub Arc<Node<TokioRuntime>>);

#[async_trait]
impl PeerService for PeerLinks {
    type ExchangeStream = Replies<PeerFrame>;
    type FetchStateStream = Replies<StateChunk>;

    async fn exchange(
        &self,
        request: Request<Streaming<PeerFrame>>,
    ) -> Reply<Self::ExchangeStream> {
        let (link, outgoing) = grpc::accept(request.into_inner());
        self.0.accept(link);
        Ok(Response::new(Box::pin(
            ReceiverStream::new(outgoing).map(Ok),
        )))
    }

    async fn fetch_state(
        &self,
        request: Request<FetchStateRequest>,
    ) -> Reply<Self::FetchStateStream> {
        let FetchStateRequest { cluster_id, group } = request.into_inner();
        let chunks = self.0.state_of(&cluster_id, group).await;
        let chunks = ReceiverStream::new(chunks.map_err(to_status)?);
        Ok(Response::new(Box::pin(
            chunks.map(|chunk| chunk.map_err(to_status)),
        )))
    }

    async fn replace_member(
        &self,
        request: Request<ReplaceMemberRequest>,
    ) -> Reply<ReplaceMemberResponse> {
        let replaced = self.0.replace_member(request.into_inner()).await;
        let done = |()| Response::new(ReplaceMemberResponse {});
        replaced.map(done).map_err(to_status)
    }
}
