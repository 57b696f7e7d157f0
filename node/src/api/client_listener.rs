//! The client listener, and what both gRPC listeners have in common.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::cluster_service_server::ClusterServiceServer;
use roadstead_proto::v1::message_service_server::{MessageService, MessageServiceServer};
use roadstead_proto::v1::queue_service_server::QueueServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::pb::FILE_DESCRIPTOR_SET as HEALTH_DESCRIPTORS;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::Builder as ReflectionBuilder;
use tower::layer::util::{Identity, Stack};

use super::acceptor::Acceptor;
use super::authenticate::Authenticator;
use super::meter::{Meter, STALL};
use super::services::ClientServices;
use super::streams::Streams;
use crate::gateway::Gateway;
use crate::transport::grpc::MAX_FRAME;

/// Largest message in bytes: a request of 16 MiB and what surrounds the bodies in it.
pub const MAX_MESSAGE: usize = (16 << 20) + (1 << 20);
/// Largest headers in bytes: a token of 16 KiB and more.
const MAX_HEADERS: u32 = 32 << 10;
/// Largest HTTP/2 frame in bytes, as large as a batch of messages.
const MAX_HTTP_FRAME: u32 = 256 << 10;
/// A connection whose other end does not answer pings is closed after twice this.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What reflection shows of this listener.
pub(super) const SERVED: [&str; 4] = [
    "roadstead.v1.QueueService",
    "roadstead.v1.MessageService",
    "roadstead.v1.ClusterService",
    "grpc.health.v1.Health",
];

/// The client listener: queues, messages, topology, health and reflection.
pub struct ClientListener {
    /// Where connections come from.
    pub acceptor: Acceptor,
    /// How callers are known.
    pub authenticator: Authenticator,
    /// What they may ask.
    pub gateway: Arc<Gateway<TokioRuntime>>,
    /// Places for streams.
    pub streams: Streams,
    /// Tells load balancers whether to send clients here.
    pub health: HealthReporter,
}

/// What every call passes: who calls is found out first, then its bytes are counted.
type Layers = Stack<Meter, Stack<Authenticator, Identity>>;
/// A listener's services behind these layers.
pub(super) type Served = Router<Layers>;

impl ClientListener {
    /// Serves until `drain` is cancelled, then until what was begun is answered.
    ///
    /// # Errors
    /// When the server cannot go on.
    pub async fn serve(self, drain: CancellationToken) -> Result<(), tonic::transport::Error> {
        let services = ClientServices {
            gateway: self.gateway,
            drain: drain.clone(),
            streams: self.streams.clone(),
        };
        let most = self.streams.of_a_connection();
        let server = server((1 << 20, 4 << 20), self.authenticator, STALL, most);
        let health = HealthService::from_health_reporter(self.health);
        let router = add_client_services(server, &services)
            .add_service(messages(services))
            .add_service(HealthServer::new(health));
        with_reflection(router, &SERVED)
            .serve_with_incoming_shutdown(self.acceptor.run(), drain.cancelled_owned())
            .await
    }
}

/// A server whose windows are given in bytes, per stream and per connection; a request may stand
/// still for `stall`, and a connection may have `most` calls at the same time.
pub(super) fn server(
    (stream_window, connection_window): (u32, u32),
    authenticator: Authenticator,
    stall: Duration,
    most: u32,
) -> Server<Layers> {
    Server::builder()
        .max_concurrent_streams(most)
        // As many that waited for their turn may be given up at once: their time was over.
        .http2_max_pending_accept_reset_streams(Some(most as usize))
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(connection_window)
        .max_frame_size(MAX_HTTP_FRAME)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .layer(authenticator)
        .layer(Meter { stall })
}

/// Adds what both listeners serve.
pub(super) fn add_client_services(mut server: Server<Layers>, services: &ClientServices) -> Served {
    // Bodies come back by PeekMessages only; requests here are small.
    let queues =
        QueueServiceServer::new(services.clone()).max_encoding_message_size(2 * MAX_MESSAGE);
    server
        .add_service(queues)
        .add_service(ClusterServiceServer::new(services.clone()))
}

/// The message service with the limits of its messages.
pub(super) fn messages<S: MessageService>(services: S) -> MessageServiceServer<S> {
    MessageServiceServer::new(services)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_FRAME)
}

/// Adds reflection, also by its older name, which many tools still ask for.
pub(super) fn with_reflection(router: Served, services: &[&str]) -> Served {
    let built = described(services)
        .build_v1()
        .map(|new| (new, described(services).build_v1alpha()));
    match built {
        Ok((new, Ok(old))) => router.add_service(new).add_service(old),
        Ok((_, Err(error))) | Err(error) => {
            tracing::error!(%error, "reflection is not served");
            router
        }
    }
}

fn described<'a>(services: &[&str]) -> ReflectionBuilder<'a> {
    let all = ReflectionBuilder::configure()
        .register_encoded_file_descriptor_set(roadstead_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(HEALTH_DESCRIPTORS);
    services
        .iter()
        .fold(all, |all, service| all.with_service_name(*service))
}
