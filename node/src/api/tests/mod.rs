//! Listeners over TCP: callers, certificates, limits and garbage. The services are stand-ins that
//! say who called; what the real ones answer is tested where they are.

mod limits;
mod links;
mod metering;
mod strangers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roadstead_proto::v1::admin_service_client::AdminServiceClient;
use roadstead_proto::v1::cluster_service_client::ClusterServiceClient;
use roadstead_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use roadstead_proto::v1::message_service_client::MessageServiceClient;
use roadstead_proto::v1::message_service_server::MessageService;
use roadstead_proto::v1::peer_service_server::{PeerService, PeerServiceServer};
use roadstead_proto::v1::{
    CompleteRequest, CompleteResponse, FetchStateRequest, GetClusterStatusRequest,
    GetClusterStatusResponse, GetNodeRequest, GetTopologyRequest, GetTopologyResponse, PeerFrame,
    ReceiveRequest, ReceiveResponse, ReceiveStreamRequest, ReceiveStreamResponse,
    ReplaceMemberRequest, ReplaceMemberResponse, SendRequest, SendResponse, SendStreamRequest,
    SendStreamResponse, SettleRequest, SettleResponse, StateChunk,
};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming, async_trait};

use super::client_listener::{SERVED, messages, server, with_reflection};
use super::inbound::{frames, principal};
use super::services::Replies;
use super::*;
use crate::tls::testing::TestCa;
use crate::tls::{PeerTls, Reloader, Source};
use crate::transport::grpc;

const CLUSTER: &str = "0f3a6b1c-0000-4000-8000-000000000001";

/// Answers with who called, and echoes frames.
#[derive(Clone, Default)]
struct Echo {
    drain: CancellationToken,
}

#[async_trait]
impl ClusterService for Echo {
    async fn get_topology(
        &self,
        request: Request<GetTopologyRequest>,
    ) -> Result<Response<GetTopologyResponse>, Status> {
        let cluster_id = principal(&request)?.to_string();
        Ok(Response::new(GetTopologyResponse {
            cluster_id,
            ..GetTopologyResponse::default()
        }))
    }

    async fn get_cluster_status(
        &self,
        _: Request<GetClusterStatusRequest>,
    ) -> Result<Response<GetClusterStatusResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

#[async_trait]
impl MessageService for Echo {
    type SendStreamStream = Replies<SendStreamResponse>;
    type ReceiveStreamStream = Replies<ReceiveStreamResponse>;

    async fn send(&self, _: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        Ok(Response::new(SendResponse::default()))
    }

    async fn receive(
        &self,
        _: Request<ReceiveRequest>,
    ) -> Result<Response<ReceiveResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn settle(&self, _: Request<SettleRequest>) -> Result<Response<SettleResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn complete(
        &self,
        _: Request<CompleteRequest>,
    ) -> Result<Response<CompleteResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<SendStreamRequest>>,
    ) -> Result<Response<Self::SendStreamStream>, Status> {
        let (frames, why) = frames(request, self.drain.clone());
        let echo = ReceiverStream::new(frames).map(|_| Ok(SendStreamResponse::default()));
        let end = futures_util::stream::once(why).filter_map(|why| why.ok().map(Err));
        Ok(Response::new(Box::pin(echo.chain(end))))
    }

    async fn receive_stream(
        &self,
        _: Request<Streaming<ReceiveStreamRequest>>,
    ) -> Result<Response<Self::ReceiveStreamStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

#[async_trait]
impl PeerService for Echo {
    type ExchangeStream = Replies<PeerFrame>;
    type FetchStateStream = Replies<StateChunk>;

    async fn fetch_state(
        &self,
        _: Request<FetchStateRequest>,
    ) -> Result<Response<Self::FetchStateStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn replace_member(
        &self,
        _: Request<ReplaceMemberRequest>,
    ) -> Result<Response<ReplaceMemberResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn exchange(
        &self,
        request: Request<Streaming<PeerFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (mut link, outgoing) = grpc::accept(request.into_inner());
        tokio::spawn(async move {
            while let Some(frame) = link.receiver.recv().await {
                if link.sender.send(frame).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(
            ReceiverStream::new(outgoing).map(Ok),
        )))
    }
}

/// How long a request may stand still here.
const STALL: Duration = Duration::from_millis(500);

struct Listener {
    address: SocketAddr,
    budget: Arc<Budget>,
    counts: ConnectionCounts,
    drain: CancellationToken,
    stop: CancellationToken,
}

async fn listen(security: Security, authenticator: Authenticator, most: usize) -> Listener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (counts, stop) = (ConnectionCounts::default(), CancellationToken::new());
    let address = listener.local_addr().unwrap();
    let budget = Budget::new(0);
    let acceptor = Acceptor {
        listener,
        security,
        limits: Limits {
            connections: most,
            unfinished: 8,
            patience: Duration::from_millis(300),
        },
        requests: Arc::clone(&budget),
        answers: Budget::new(0),
        counts: counts.clone(),
        stop: stop.clone(),
    };
    let echo = Echo::default();
    let drain = echo.drain.clone();
    let router = server((1 << 20, 4 << 20), authenticator, STALL, 256)
        .add_service(messages(echo.clone()))
        .add_service(ClusterServiceServer::new(echo.clone()))
        .add_service(PeerServiceServer::new(echo));
    let router = with_reflection(router, &SERVED);
    let drained = drain.clone().cancelled_owned();
    tokio::spawn(router.serve_with_incoming_shutdown(acceptor.run(), drained));
    Listener {
        address,
        budget,
        counts,
        drain,
        stop,
    }
}

async fn anonymous() -> Listener {
    listen(Security::Plain, Authenticator::Anonymous, 100).await
}

fn peer_tls(pems: crate::tls::Pems) -> Arc<Reloader<PeerTls>> {
    Arc::new(PeerTls::open(Source::Memory(pems)).unwrap())
}

async fn mutual(ca: &TestCa) -> Listener {
    let security = Security::Mutual(peer_tls(ca.node(CLUSTER)));
    listen(security, Authenticator::Certificates, 100).await
}

async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn caller(channel: Channel) -> Result<String, Status> {
    let mut client = ClusterServiceClient::new(channel);
    Ok(client
        .get_topology(GetTopologyRequest {})
        .await?
        .into_inner()
        .cluster_id)
}

#[tokio::test]
async fn an_anonymous_listener_serves_clients_and_no_administration() {
    let listener = anonymous().await;
    let channel = connect(listener.address).await;
    assert_eq!(caller(channel.clone()).await.unwrap(), "anonymous");
    let mut admin = AdminServiceClient::new(channel);
    let status = admin.get_node(GetNodeRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(
        status.message().contains("may not see this node"),
        "{status}"
    );
}

#[tokio::test]
async fn what_has_no_rule_is_not_served() {
    let listener = anonymous().await;
    let mut client = tonic::client::Grpc::new(connect(listener.address).await);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<GetTopologyRequest, GetTopologyResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/roadstead.v1.ClusterService/Steal");
    let request = Request::new(GetTopologyRequest {});
    let status = client.unary(request, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_token_is_needed_where_the_listener_says_so() {
    let server = crate::auth::token::ApiServer {
        host: "127.0.0.1".to_owned(),
        port: 1,
        directory: "/nowhere".into(),
    };
    let tokens = Arc::new(crate::auth::token::TokenAuthenticator::new(server));
    let by_token = Authenticator::Tokens(tokens, Accounts::new(100));
    let listener = listen(Security::Plain, by_token, 100).await;
    let channel = connect(listener.address).await;
    let status = caller(channel.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);

    let mut client = ClusterServiceClient::new(channel);
    let mut request = Request::new(GetTopologyRequest {});
    request
        .metadata_mut()
        .insert("authorization", "Bearer abc".parse().unwrap());
    let status = client.get_topology(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(detail_of(&status).unwrap().retryable);
}

#[tokio::test]
async fn reflection_shows_the_services_of_clients() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let listener = anonymous().await;
    let mut client = ServerReflectionClient::new(connect(listener.address).await);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let replies = client
        .server_reflection_info(tokio_stream::once(ask))
        .await
        .unwrap();
    let reply = replies.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = reply.message_response else {
        panic!("{reply:?}")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for name in ["MessageService", "QueueService", "ClusterService"] {
        assert!(names.contains(&format!("roadstead.v1.{name}")), "{names:?}");
    }
    assert!(
        !names.iter().any(|name| name.contains("Admin")),
        "{names:?}"
    );
}

#[tokio::test]
async fn reflection_is_found_by_its_older_name() {
    use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;

    let listener = anonymous().await;
    let mut client = ServerReflectionClient::new(connect(listener.address).await);
    let symbol = "roadstead.v1.MessageService".to_owned();
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
    };
    let asked = client.server_reflection_info(tokio_stream::once(ask));
    let reply = asked.await.unwrap().into_inner().message().await.unwrap();
    let reply = format!("{:?}", reply.unwrap().message_response);
    assert!(reply.contains("FileDescriptorResponse"), "{reply}");
}
