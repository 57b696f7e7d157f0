//! The connections of the HTTP listener: a bounded number, each for a bounded time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::api::{Newcomer, Unfinished};

/// Longest header of a request in bytes.
const MAX_HEADER: usize = 16 << 10;
/// Requests of one HTTP/2 connection at the same time.
const MAX_STREAMS: u32 = 8;
/// Pause after a connection that could not be accepted.
const RETRY_ACCEPT: Duration = Duration::from_millis(50);

/// How many connections there are, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At the same time; where there are more, the oldest goes.
    pub connections: usize,
    /// From the start, or the last answer, to the end of a request's header.
    pub header: Duration,
    /// How long requests are taken; what was asked by then has as long again to be answered.
    pub life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            header: Duration::from_secs(10),
            life: Duration::from_secs(30),
        }
    }
}

/// Accepts connections and answers what they ask.
pub async fn accept(listener: TcpListener, app: Router, limits: Limits) -> Infallible {
    let mut unfinished = Unfinished::new(limits.connections);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((tcp, remote)) => {
                let newcomer = unfinished.begin();
                // The one that makes room is told to; it is waited for, so that however fast
                // others come there are never more.
                while connections.len() >= limits.connections {
                    connections.join_next().await;
                }
                connections.spawn(answer(tcp, remote, newcomer, app.clone(), limits));
            }
            Err(error) => {
                // Mostly too many open files; what is open goes on.
                tracing::warn!(%error, "a connection of the HTTP listener could not be accepted");
                sleep(RETRY_ACCEPT).await;
            }
        }
    }
}

/// Answers one connection until it ends, takes too long or has to make room.
async fn answer(
    tcp: TcpStream,
    remote: SocketAddr,
    mut newcomer: Newcomer,
    app: Router,
    limits: Limits,
) {
    let voice = newcomer.voice();
    let service = service_fn(move |request: Request<Incoming>| {
        voice.store(true, Ordering::Relaxed);
        app.clone().oneshot(request)
    });
    // HTTP/2 as well: a gRPC client that comes here hears of it in words that it understands.
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(MAX_HEADER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER as u32);
    let ended = async {
        // Who says nothing is not known by its version yet.
        timeout(limits.header, tcp.peek(&mut [0])).await??;
        let mut connection = pin!(builder.serve_connection(TokioIo::new(tcp), service));
        if let Ok(ended) = timeout(limits.life, connection.as_mut()).await {
            return ended.map_err(io::Error::other);
        }
        connection.as_mut().graceful_shutdown();
        let ended = timeout(limits.life, connection).await?;
        ended.map_err(io::Error::other)
    };
    let ended = tokio::select! {
        biased;
        () = newcomer.must_go() => Err(io::Error::other("it had to make room for another")),
        ended = ended => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%remote, %error, "a connection of the HTTP listener was closed");
    }
}
