//! The client listener of a live node, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use roadstead_node::api::{
    Acceptor, Authenticator, Budget, ClientListener, ConnectionCounts, Limits, Security, Streams,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use super::host::LiveNode;

/// Listens on a port, or on a free one for 0.
pub async fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// Serves clients until the runtime that it is called on ends.
pub fn serve(node: &LiveNode, listener: TcpListener) {
    let listener = ClientListener {
        acceptor: Acceptor {
            listener,
            security: Security::Plain,
            limits: Limits::of(200),
            requests: Budget::new(64 << 20),
            answers: Budget::new(64 << 20),
            counts: ConnectionCounts::default(),
            stop: CancellationToken::new(),
        },
        authenticator: Authenticator::Anonymous,
        gateway: Arc::clone(node.gateway()),
        streams: Streams::new(200),
        health: HealthReporter::new(),
    };
    tokio::spawn(listener.serve(CancellationToken::new()));
}
