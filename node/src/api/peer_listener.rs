//! The peer and admin listener.

use std::sync::Arc;

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::admin_service_server::AdminServiceServer;
use roadstead_proto::v1::peer_service_server::PeerServiceServer;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::acceptor::Acceptor;
use super::admin::{AdminServices, PeerLinks};
use super::authenticate::Authenticator;
use super::client_listener::{add_client_services, server, with_reflection};
use super::meter::STALL;
use super::services::ClientServices;
use super::streams::Streams;
use crate::gateway::Gateway;
use crate::node::Node;
use crate::transport::grpc::MAX_FRAME;

/// Links, calls and streams of one connection at the same time.
const MAX_STREAMS: u32 = 1_024;
/// What reflection shows of this listener.
const SERVED: [&str; 5] = [
    "roadstead.v1.AdminService",
    "roadstead.v1.QueueService",
    "roadstead.v1.ClusterService",
    "roadstead.v1.PeerService",
    "grpc.health.v1.Health",
];

/// The peer and admin listener: links, administration, queues, topology.
pub struct PeerListener {
    /// Where connections come from.
    pub acceptor: Acceptor,
    /// What operators may ask of queues.
    pub gateway: Arc<Gateway<TokioRuntime>>,
    /// Whom links and orders are for.
    pub node: Arc<Node<TokioRuntime>>,
    /// Says whether clients are served, as on their listener.
    pub health: HealthReporter,
}

impl PeerListener {
    /// Serves until `stop` is cancelled, then until every connection has closed.
    ///
    /// # Errors
    /// When the server cannot go on.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), tonic::transport::Error> {
        let services = ClientServices {
            gateway: self.gateway,
            drain: stop.clone(),
            // Messages are not served here.
            streams: Streams::new(0),
        };
        let windows = (4 << 20, 8 << 20);
        let server = server(windows, Authenticator::Certificates, STALL, MAX_STREAMS);
        let health = HealthService::from_health_reporter(self.health);
        let links = PeerServiceServer::new(PeerLinks(Arc::clone(&self.node)))
            .max_decoding_message_size(MAX_FRAME)
            .max_encoding_message_size(MAX_FRAME);
        let router = add_client_services(server, &services)
            .add_service(AdminServiceServer::new(AdminServices(self.node)))
            .add_service(links)
            .add_service(HealthServer::new(health));
        let stopped = stop.cancelled_owned();
        with_reflection(router, &SERVED)
            .serve_with_incoming_shutdown(self.acceptor.run(), stopped)
            .await
    }
}
