//! The peer and admin listener.

use std::sync::Arc;

use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::admin_service_server::AdminServiceServer;
use roadstead_proto::v1::peer_service_server::PeerServiceServer;
use tokio_util::sync::CancellationToken;

use super::acceptor::Acceptor;
use super::admin::{AdminServices, PeerLinks};
use super::authenticate::Authenticator;
use super::client_listener::{add_client_services, server};
use super::meter::STALL;
use super::services::ClientServices;
use super::streams::Streams;
use crate::gateway::Gateway;
use crate::node::Node;
use crate::transport::grpc::MAX_FRAME;

/// Links, calls and streams of one connection at the same time.
const MAX_STREAMS: u32 = 1_024;

/// The peer and admin listener: links, administration, queues, topology.
pub struct PeerListener {
    /// Where connections come from.
    pub acceptor: Acceptor,
    /// What operators may ask of queues.
    pub gateway: Arc<Gateway<TokioRuntime>>,
    /// Whom links and orders are for.
    pub node: Arc<Node<TokioRuntime>>,
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
        let server = server((4 << 20, 8 << 20), Authenticator::Certificates, STALL);
        let server = server.max_concurrent_streams(MAX_STREAMS);
        let links = PeerServiceServer::new(PeerLinks(Arc::clone(&self.node)))
            .max_decoding_message_size(MAX_FRAME)
            .max_encoding_message_size(MAX_FRAME);
        let router = add_client_services(server, &services)
            .add_service(AdminServiceServer::new(AdminServices(self.node)))
            .add_service(links);
        let stopped = stop.cancelled_owned();
        router
            .serve_with_incoming_shutdown(self.acceptor.run(), stopped)
            .await
    }
}
