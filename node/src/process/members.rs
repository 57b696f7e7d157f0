//! The other members, as they are asked by a node that does not run yet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use roadstead_proto::v1::peer_service_client::PeerServiceClient;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::tls::{PeerTls, Reloader};
use crate::transport::grpc::{MAX_FRAME, channel};

/// How long a connection may take.
const DIAL: Duration = Duration::from_secs(3);

/// Where other members listen, as the data directory remembers them, and how to get there.
pub struct Members {
    addresses: Vec<String>,
    tls: Arc<Reloader<PeerTls>>,
}

impl Members {
    /// At these addresses; this node shows its certificate.
    pub fn new(addresses: &[String], tls: Arc<Reloader<PeerTls>>) -> Self {
        let addresses = addresses.to_vec();
        Self { addresses, tls }
    }

    /// host:port of each; none when no other was ever known.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// What nodes ask each other.
    pub async fn peer(&self, address: &str) -> io::Result<PeerServiceClient<Channel>> {
        let client = PeerServiceClient::new(self.channel(address).await?);
        Ok(client.max_decoding_message_size(MAX_FRAME))
    }

    async fn channel(&self, address: &str) -> io::Result<Channel> {
        let windows = (1 << 20, 2 << 20);
        let connecting = channel(address.to_owned(), self.tls.current(), windows);
        timeout(DIAL, connecting)
            .await
            .unwrap_or_else(|_| Err(io::Error::other(format!("no connection in {DIAL:?}"))))
    }
}
