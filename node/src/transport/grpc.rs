//! Links to peers over gRPC and mutual TLS.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use roadstead_proto::v1::PeerFrame;
use roadstead_proto::v1::peer_service_client::PeerServiceClient;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::{Lane, Link, Transport};
use crate::tls::{PeerTls, Reloader};

/// Largest frame in bytes: a whole request of 16 MiB, forwarded, and what surrounds it.
pub const MAX_FRAME: usize = 24 << 20;
/// Frames waiting in each direction of a link.
const WAITING_FRAMES: usize = 16;
/// How long dialling may take: name, TCP, TLS and the first answer.
const DIAL: Duration = Duration::from_secs(5);
/// A link whose peer does not answer pings for this long is broken.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Dials peers with the certificate of this node, as it is at that moment.
pub struct GrpcTransport {
    tls: Arc<Reloader<PeerTls>>,
}

impl GrpcTransport {
    /// Shows and verifies certificates by these settings.
    pub fn new(tls: Arc<Reloader<PeerTls>>) -> Self {
        Self { tls }
    }

    async fn connect(&self, address: String, lane: Lane) -> io::Result<Link> {
        let windows = match lane {
            Lane::Urgent => (256 << 10, 512 << 10),
            Lane::Bulk => (4 << 20, 8 << 20),
        };
        let channel = channel(address, self.tls.current(), windows).await?;
        let (sender, outgoing) = mpsc::channel(WAITING_FRAMES);
        let mut client = PeerServiceClient::new(channel)
            .max_decoding_message_size(MAX_FRAME)
            .max_encoding_message_size(MAX_FRAME);
        let answer = client
            .exchange(ReceiverStream::new(outgoing))
            .await
            .map_err(other)?;
        Ok(Link {
            sender,
            receiver: receive(answer.into_inner()),
        })
    }
}

/// A connection to the peer listener at `address`, with windows of so many bytes for each stream
/// and for all.
///
/// # Errors
/// When nobody listens there, or shows a certificate of another cluster.
pub async fn channel(
    address: String,
    tls: Arc<PeerTls>,
    windows: (u32, u32),
) -> io::Result<Channel> {
    let connector = tower::service_fn(move |_| {
        let (address, tls) = (address.clone(), Arc::clone(&tls));
        async move {
            let tcp = TcpStream::connect(&address).await?;
            tcp.set_nodelay(true)?;
            let connector = TlsConnector::from(Arc::clone(&tls.client));
            let stream = connector.connect(tls.server_name.clone(), tcp).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://peer")
        .initial_stream_window_size(windows.0)
        .initial_connection_window_size(windows.1)
        .max_frame_size(256 << 10)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let connected = endpoint.connect_with_connector(connector);
    connected.await.map_err(other)
}

impl Transport for GrpcTransport {
    fn dial(
        &self,
        address: &str,
        lane: Lane,
    ) -> Pin<Box<dyn Future<Output = io::Result<Link>> + Send + '_>> {
        let address = address.to_owned();
        Box::pin(async move {
            let dialled = timeout(DIAL, self.connect(address.clone(), lane)).await;
            let failed = match dialled {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => error,
                Err(_) => io::Error::new(io::ErrorKind::TimedOut, format!("no link in {DIAL:?}")),
            };
            Err(io::Error::new(
                failed.kind(),
                format!("peer {address}: {failed}"),
            ))
        })
    }
}

/// A link whose peer has dialled: what it sends comes by `incoming`, and what goes to it is to be
/// sent by whoever holds the returned receiver.
pub fn accept(incoming: Streaming<PeerFrame>) -> (Link, mpsc::Receiver<PeerFrame>) {
    let (sender, outgoing) = mpsc::channel(WAITING_FRAMES);
    (
        Link {
            sender,
            receiver: receive(incoming),
        },
        outgoing,
    )
}

/// Reads frames until the stream ends or nobody wants them any more.
fn receive(mut frames: Streaming<PeerFrame>) -> mpsc::Receiver<PeerFrame> {
    let (sender, receiver) = mpsc::channel(WAITING_FRAMES);
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                biased;
                () = sender.closed() => return,
                frame = frames.message() => frame,
            };
            match frame {
                Ok(Some(frame)) => {
                    if sender.send(frame).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(%status, "a link broke");
                    return;
                }
            }
        }
    });
    receiver
}

/// The text of an error with its causes: the outermost alone says only `transport error`.
fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    io::Error::other(text)
}
