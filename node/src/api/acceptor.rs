//! Accepts connections: a bounded number, with a bounded time for the TLS handshake.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::connection::{Connection, ConnectionInfo, Socket};
use crate::tls::{ClientTls, PeerIdentity, PeerTls, Reloader};

/// How long a client may take for its TLS handshake, and again for its first byte after it.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a connection that could not be accepted.
const RETRY_ACCEPT: Duration = Duration::from_millis(50);

/// What a listener has seen. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    failed_handshakes: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionNumbers {
    /// Connections open now.
    pub open: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Closed at once because too many were open.
    pub refused: u64,
    /// TLS handshakes that failed or took too long.
    pub failed_handshakes: u64,
}

impl ConnectionCounts {
    /// Reads the counts.
    pub fn read(&self) -> ConnectionNumbers {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ConnectionNumbers {
            open: load(&self.0.open),
            accepted: load(&self.0.accepted),
            refused: load(&self.0.refused),
            failed_handshakes: load(&self.0.failed_handshakes),
        }
    }

    fn failed(&self, remote: SocketAddr, why: &str) {
        self.0.failed_handshakes.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%remote, why, "a connection was refused");
    }

    fn opened(&self) -> OpenConnection {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.0))
    }
}

/// Counts as open until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<Counts>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection has to prove before it is served.
#[derive(Debug, Clone)]
pub enum Security {
    /// Nothing; what it sends can be read on the way.
    Plain,
    /// TLS without a client certificate.
    Tls(Arc<Reloader<ClientTls>>),
    /// TLS with a certificate of the cluster.
    Mutual(Arc<Reloader<PeerTls>>),
}

/// A listener before it serves.
pub struct Acceptor {
    /// Bound already.
    pub listener: TcpListener,
    /// What each connection has to prove.
    pub security: Security,
    /// Connections open at the same time; further ones are closed at once.
    pub max_connections: usize,
    /// How long the TLS handshake may take, and the first byte after it.
    pub patience: Duration,
    /// What the requests of all connections may hold.
    pub budget: Arc<Budget>,
    /// Where they are counted.
    pub counts: ConnectionCounts,
    /// Cancelled: no more connections, and those that are open break.
    pub stop: CancellationToken,
}

impl Acceptor {
    /// Accepts on a task of its own until the stream is dropped or the node stops.
    pub fn run(self) -> impl Stream<Item = Result<Connection, Infallible>> {
        let (sender, receiver) = mpsc::channel(16);
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = sender.closed() => {}
                () = self.accept(sender.clone()) => {}
            }
        });
        ReceiverStream::new(receiver).map(Ok)
    }

    async fn accept(self, sender: mpsc::Sender<Connection>) {
        let permits = Arc::new(Semaphore::new(self.max_connections));
        loop {
            let (tcp, remote) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly too many open files; what is open goes on.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(RETRY_ACCEPT).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                self.counts.0.refused.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%remote, max = self.max_connections, "too many connections");
                continue;
            };
            let (security, counts) = (self.security.clone(), self.counts.clone());
            let share = self.budget.share();
            let (sender, stop, patience) = (sender.clone(), self.stop.clone(), self.patience);
            tokio::spawn(async move {
                let secured = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    secured = timeout(patience, handshake(tcp, &security)) => secured,
                };
                let (socket, identity) = match secured {
                    Ok(Ok(secured)) => secured,
                    Ok(Err(error)) => return counts.failed(remote, &error.to_string()),
                    Err(_) => return counts.failed(remote, "it took too long"),
                };
                let info = ConnectionInfo {
                    remote,
                    identity: identity.map(Arc::new),
                    share,
                };
                let held: (OpenConnection, OwnedSemaphorePermit) = (counts.opened(), permit);
                // When nobody listens any more the connection closes.
                let _ = sender
                    .send(Connection::new(socket, info, (stop, patience), held))
                    .await;
            });
        }
    }
}

async fn handshake(
    tcp: TcpStream,
    security: &Security,
) -> io::Result<(Socket, Option<PeerIdentity>)> {
    tcp.set_nodelay(true)?;
    let config = match security {
        Security::Plain => return Ok((Socket::Plain(tcp), None)),
        Security::Tls(tls) => Arc::clone(&tls.current().server),
        Security::Mutual(tls) => Arc::clone(&tls.current().server),
    };
    let stream = TlsAcceptor::from(config).accept(tcp).await?;
    let identity = match stream.get_ref().1.peer_certificates() {
        Some([certificate, ..]) => Some(PeerIdentity::of(certificate).map_err(io::Error::other)?),
        _ => None,
    };
    Ok((Socket::Tls(Box::new(stream)), identity))
}
