//! Accepts connections: a bounded number, with a bounded time for the TLS handshake. Those that
//! have proved nothing yet have a bound of their own, so that strangers leave room for friends.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::connection::{Connection, ConnectionInfo, Socket};
use super::unfinished::{Newcomer, Unfinished};
use crate::tls::{ClientTls, PeerIdentity, PeerTls, Reloader};

/// How long a client may take for its TLS handshake, and again for its first byte after it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections without an admitted call, or without a certificate where there has to be one.
const MAX_UNFINISHED: usize = 512;
/// Where that is more than half of all: that half, but at least this many.
const MIN_UNFINISHED: usize = 8;
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
    /// Closed because too many were open, or too many that had proved nothing.
    pub refused: u64,
    /// TLS handshakes that failed or took too long, and connections that said nothing.
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

    fn failed(&self) {
        self.0.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
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

impl OpenConnection {
    /// It is closed for the sake of another.
    pub fn made_room(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }
}

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

/// How many connections a listener has, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open at the same time; further ones are closed at once.
    pub connections: usize,
    /// Without an admitted call or a certificate; where there are more, the oldest are closed.
    pub unfinished: usize,
    /// How long the TLS handshake may take, and the first byte after it.
    pub patience: Duration,
}

impl Limits {
    /// This many open ones, and what is usual for the rest.
    pub fn of(connections: usize) -> Self {
        Self {
            connections,
            unfinished: (connections / 2).clamp(MIN_UNFINISHED, MAX_UNFINISHED),
            patience: PATIENCE,
        }
    }
}

/// A listener before it serves.
pub struct Acceptor {
    /// Bound already.
    pub listener: TcpListener,
    /// What each connection has to prove.
    pub security: Security,
    /// How many, and how long they may take.
    pub limits: Limits,
    /// What the requests of all connections may hold.
    pub requests: Arc<Budget>,
    /// What the answers may hold that were not read.
    pub answers: Arc<Budget>,
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
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let mut unfinished = Unfinished::new(self.limits.unfinished);
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
            let newcomer = Welcome {
                newcomer: unfinished.begin(),
                security: self.security.clone(),
                stop: self.stop.clone(),
                patience: self.limits.patience,
                counts: self.counts.clone(),
            };
            let (requests, answers) = (self.requests.share(), self.answers.share());
            let (sender, permits) = (sender.clone(), Arc::clone(&permits));
            tokio::spawn(async move {
                let (stop, patience) = (newcomer.stop.clone(), newcomer.patience);
                let counts = newcomer.counts.clone();
                let Some(((socket, identity), newcomer)) = newcomer.secure(tcp, remote).await
                else {
                    return;
                };
                let Ok(permit) = permits.try_acquire_owned() else {
                    tracing::debug!(%remote, "too many connections");
                    return counts.refused();
                };
                let proof = newcomer.proof();
                if identity.is_some() {
                    proof.give();
                }
                let info = ConnectionInfo {
                    remote,
                    identity: identity.map(Arc::new),
                    proof,
                    callers: Arc::default(),
                    requests,
                    answers,
                };
                let held = (counts.opened(), permit);
                let ends = (stop, patience);
                // When nobody listens any more the connection closes.
                let _ = sender
                    .send(Connection::new(socket, info, ends, newcomer, held))
                    .await;
            });
        }
    }
}

/// What a connection meets before it is served.
struct Welcome {
    newcomer: Newcomer,
    security: Security,
    stop: CancellationToken,
    patience: Duration,
    counts: ConnectionCounts,
}

type Secured = (Socket, Option<PeerIdentity>);

impl Welcome {
    /// The handshake; none when it failed, took too long or had to make room.
    async fn secure(mut self, tcp: TcpStream, remote: SocketAddr) -> Option<(Secured, Newcomer)> {
        let voice = self.newcomer.voice();
        let handshake = handshake(tcp, &self.security, &voice);
        let why = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            secured = timeout(self.patience, handshake) => match secured {
                Ok(Ok(secured)) => return Some((secured, self.newcomer)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it took too long".to_owned(),
            },
            () = self.newcomer.must_go() => "it had to make room for another".to_owned(),
        };
        self.counts.failed();
        if voice.load(Ordering::Relaxed) {
            tracing::info!(%remote, why, "a connection was refused");
        } else {
            // It is not worth a line that strangers can have without end.
            tracing::debug!(%remote, why, "a connection said nothing");
        }
        None
    }
}

async fn handshake(tcp: TcpStream, security: &Security, voice: &AtomicBool) -> io::Result<Secured> {
    tcp.set_nodelay(true)?;
    // The other end may be silent although the socket is said to be readable.
    tcp.peek(&mut [0]).await?;
    voice.store(true, Ordering::Relaxed);
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
