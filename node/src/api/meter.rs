//! Counts the bytes of requests while they are held, and of answers while they are not read; gives
//! up on requests that stand still.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready as done};
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::answers::Bodies;
use super::budget::{Held, SMALL};
use super::client_listener::MAX_MESSAGE;
use super::connection::ConnectionInfo;
use super::framing::Framing;
use super::procedure::{self, Requests};
use super::status::to_status;
use crate::gateway::ApiError;

/// A request of which less than [`SMALL`] comes in this time is given up.
pub const STALL: Duration = Duration::from_secs(30);

/// Holds requests against the share of their connection: until they are answered, and in streams
/// each message until the stream is asked for the next.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// How long a request may stand still.
    pub stall: Duration,
}

impl<S> Layer<S> for Meter {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered {
            inner,
            stall: self.stall,
        }
    }
}

/// Calls `inner` with a body that is counted; what is counted is among the request's extensions.
#[derive(Debug, Clone)]
pub struct Metered<S> {
    inner: S,
    stall: Duration,
}

impl<S> Service<Request<Body>> for Metered<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (requests, answers) = procedure::of(request.uri().path());
        let info = request.extensions().get::<ConnectionInfo>();
        let (Some(info), Requests::Unary | Requests::Stream) = (info, requests) else {
            return self.inner.call(request).boxed();
        };
        let bodies = Bodies::of(answers, &info.answers);
        if let Some(Err(status)) = bodies.as_ref().map(Bodies::ask) {
            return done(Ok(status.into_http())).boxed();
        }
        let held = Arc::new(Held::new(Arc::clone(&info.requests)));
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(Arc::clone(&held));
        let body = Body::new(MeteredBody {
            body,
            held: Arc::clone(&held),
            framing: Framing::default(),
            stall: Stall::new(self.stall),
            stream: requests == Requests::Stream,
        });
        let answer = self.inner.call(Request::from_parts(parts, body));
        async move {
            let answer = answer.await?;
            drop(held);
            Ok(match bodies {
                Some(bodies) => bodies.count(answer),
                None => answer,
            })
        }
        .boxed()
    }
}

/// A request's body, of which the bytes that came are held.
struct MeteredBody {
    body: Body,
    held: Arc<Held>,
    framing: Framing,
    stall: Stall,
    stream: bool,
}

impl MeteredBody {
    fn hold(&mut self, chunk: &Bytes) -> Result<(), ApiError> {
        let before = self.framing.expected();
        let begun = self.framing.partial() > 0;
        self.framing.read(chunk);
        match self.framing.expected() {
            Some(bytes) if bytes > MAX_MESSAGE => return Err(too_large(bytes)),
            Some(bytes) if before.is_none() => self.held.expect(bytes)?,
            _ => {}
        }
        self.held.grow(chunk.len())?;
        self.stall.came(chunk.len(), begun);
        Ok(())
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.stream {
            // Whoever asks for more has taken all whole messages.
            this.held.shrink(this.framing.partial());
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            if this.stream && this.framing.partial() == 0 {
                return Poll::Pending;
            }
            ready!(this.stall.poll(cx));
            return Poll::Ready(Some(Err(to_status(stalled(this.stall.limit)))));
        };
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            if let Some(chunk) = frame.data_ref() {
                this.hold(chunk).map_err(to_status)?;
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_large(bytes: usize) -> ApiError {
    let message = format!(
        "the request has {bytes} bytes, and may have {MAX_MESSAGE}: 16 MiB of messages, and what \
         surrounds them; send less at once"
    );
    ApiError::new(Code::InvalidArgument, message)
}

fn stalled(limit: Duration) -> ApiError {
    let message = format!(
        "the request stood still: less than {} KiB of it came in {limit:?}; send it again",
        SMALL >> 10
    );
    ApiError::new(Code::DeadlineExceeded, message).retryable()
}

/// When a request stood still for too long.
struct Stall {
    limit: Duration,
    since: Instant,
    bytes: usize,
    /// Made when it is first waited for, and set anew only when it rings.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: Instant::now(),
            bytes: 0,
            timer: None,
        }
    }

    /// `bytes` came, of a message that had `begun` before or begins with them.
    fn came(&mut self, bytes: usize, begun: bool) {
        self.bytes += bytes;
        if !begun || self.bytes >= SMALL {
            (self.since, self.bytes) = (Instant::now(), 0);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.since + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        while timer.deadline() < due {
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }
}
