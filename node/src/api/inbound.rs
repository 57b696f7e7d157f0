//! What comes in with a request: who asks, and the frames of a stream.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};

use crate::auth::Principal;

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
/// Frames that are not taken are not read either: the client feels it through flow control.
pub fn frames<T: Send + 'static>(
    mut stream: Streaming<T>,
    drain: CancellationToken,
) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel(WAITING_FRAMES);
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
                }
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(%status, "a stream broke");
                    return;
                }
            }
        }
    });
    receiver
}
