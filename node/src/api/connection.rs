//! One accepted connection, plain or TLS, as the gRPC server reads and writes it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::acceptor::OpenConnection;
use super::accounts::Callers;
use super::budget::Share;
use super::unfinished::{Newcomer, Proof};
use crate::tls::PeerIdentity;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Its address.
    pub remote: SocketAddr,
    /// Whose certificate it showed, on the peer and admin listener.
    pub identity: Option<Arc<PeerIdentity>>,
    /// Given when a call was admitted, or with a certificate.
    pub proof: Proof,
    /// Who has called by it, where callers are counted.
    pub callers: Arc<Callers>,
    /// What its requests may hold.
    pub requests: Arc<Share>,
    /// What the answers may hold that it has not read.
    pub answers: Arc<Share>,
}

/// The bytes of a connection.
pub enum Socket {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that counts while it lives and breaks when its node stops.
pub struct Connection {
    socket: Socket,
    info: ConnectionInfo,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    first_byte: Option<Pin<Box<Sleep>>>,
    /// Until it has proved who is at its other end.
    newcomer: Option<Newcomer>,
    counted: OpenConnection,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Wraps a socket. It breaks when the token is cancelled, when the other end has sent nothing
    /// within the duration, or when it makes room for another before its proof was given.
    pub fn new(
        socket: Socket,
        info: ConnectionInfo,
        (stop, patience): (CancellationToken, Duration),
        newcomer: Newcomer,
        held: (OpenConnection, OwnedSemaphorePermit),
    ) -> Self {
        Self {
            socket,
            info,
            stopped: Box::pin(stop.cancelled_owned()),
            first_byte: Some(Box::pin(tokio::time::sleep(patience))),
            newcomer: Some(newcomer),
            counted: held.0,
            _permit: held.1,
        }
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "node stopped",
            ));
        }
        if let Poll::Ready(error) = self.poll_must_go(cx) {
            return Poll::Ready(error);
        }
        match &mut self.first_byte {
            Some(timer) => {
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "nothing was sent"))
            }
            None => Poll::Pending,
        }
    }

    /// Asked for writes too: who reads nothing is not read from any more.
    fn poll_must_go(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(newcomer) = &mut self.newcomer else {
            return Poll::Pending;
        };
        if self.info.proof.given() {
            self.newcomer = None;
            return Poll::Pending;
        }
        ready!(newcomer.poll_must_go(cx));
        self.counted.made_room();
        let why = "it made no call that was admitted, and had to make room for another";
        tracing::debug!(remote = %self.info.remote, why, "a connection was closed");
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, why))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_broken(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let done = match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            self.first_byte = None;
        }
        done
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_must_go(cx) {
            return Poll::Ready(Err(error));
        }
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_must_go(cx) {
            return Poll::Ready(Err(error));
        }
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_must_go(cx) {
            return Poll::Ready(Err(error));
        }
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_must_go(cx) {
            return Poll::Ready(Err(error));
        }
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}
