//! What comes in with a request: who asks, and the frames of a stream.

use std::sync::Arc;

use futures_util::stream::once;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};

use super::budget::{Held, SMALL};
use super::status::{explained, to_status};
use crate::auth::Principal;
use crate::gateway::ApiError;

/// Frames of a stream that wait to be taken.
const WAITING_FRAMES: usize = 4;

/// Who asks, as the listener found out.
///
/// # Errors
/// When it did not: the service was put on a listener without authentication.
pub fn principal<T>(request: &Request<T>) -> Result<Principal, Status> {
    let found = request.extensions().get::<Principal>();
    found
        .cloned()
        .ok_or_else(|| Status::unauthenticated("this listener knows no callers"))
}

/// Reads frames until the stream ends, nobody wants them any more or `drain` is cancelled.
///
/// Frames that are not taken are not read either: the client feels it through flow control. Of a
/// frame that cannot be read the second receiver hears why.
pub fn frames<T: Send + 'static>(
    request: Request<Streaming<T>>,
    drain: CancellationToken,
) -> (mpsc::Receiver<T>, oneshot::Receiver<Status>) {
    let (sender, receiver) = mpsc::channel(WAITING_FRAMES);
    let (broken, why) = oneshot::channel();
    let held = request.extensions().get::<Arc<Held>>().cloned();
    let mut stream = request.into_inner();
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                biased;
                () = sender.closed() => return,
                () = drain.cancelled() => return,
                frame = stream.message() => frame,
            };
            match frame {
                Ok(Some(frame)) => {
                    if sender.send(frame).await.is_err() {
                        return;
                    }
                    // Asking for the next says that this one need not be counted any more.
                    let large = held.as_ref().is_some_and(|held| held.bytes() > SMALL);
                    if large && sender.reserve_many(WAITING_FRAMES).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(%status, "a stream broke");
                    let _ = broken.send(explained(status));
                    return;
                }
            }
        }
    });
    (receiver, why)
}

/// What a stream answers, and behind it why no more frames were read, if one was refused.
pub fn replies<T: Send + 'static>(
    replies: mpsc::Receiver<Result<T, ApiError>>,
    why: oneshot::Receiver<Status>,
) -> impl Stream<Item = Result<T, Status>> {
    let replies = ReceiverStream::new(replies).map(|reply| reply.map_err(to_status));
    replies.chain(once(why).filter_map(|why| why.ok().map(Err)))
}
