//! Answers that clients do not read: large ones count until they are written out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::budget::{Held, Over, SMALL, Share};
use super::procedure::Answers;
use super::status::to_status;
use crate::gateway::ApiError;

/// A call whose answer holds bodies of messages.
#[derive(Debug)]
pub struct Bodies {
    share: Arc<Share>,
    /// It may be refused after the fact.
    again: bool,
}

impl Bodies {
    /// None where answers are small.
    pub fn of(answers: Answers, share: &Arc<Share>) -> Option<Self> {
        let again = match answers {
            Answers::Shown => true,
            Answers::Leased => false,
            Answers::Small => return None,
        };
        let share = Arc::clone(share);
        Some(Self { share, again })
    }

    /// Whether more may be asked for.
    ///
    /// # Errors
    /// When too much is unread.
    pub fn ask(&self) -> Result<(), Status> {
        self.room(SMALL)
    }

    fn room(&self, bytes: usize) -> Result<(), Status> {
        match self.share.has_room(bytes) {
            Err(Over::Connection(limit)) if !self.share.is_empty() => {
                Err(unread("on this connection", limit))
            }
            Err(Over::Listener(limit)) if self.again => Err(unread("on this node", limit)),
            _ => Ok(()),
        }
    }

    /// Counts what is answered.
    pub fn count(self, answer: Response<Body>) -> Response<Body> {
        answer.map(|body| {
            Body::new(Counted {
                body,
                bodies: self,
                ended: false,
            })
        })
    }
}

fn unread(place: &str, limit: usize) -> Status {
    to_status(ApiError::exhausted(format!(
        "answers that were not read {place} hold as much memory as they may, {} MiB; \
         read them before you ask for more",
        limit >> 20
    )))
}

/// The body of an answer.
struct Counted {
    body: Body,
    bodies: Bodies,
    ended: bool,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        let bytes = match frame.into_data() {
            Ok(bytes) if bytes.len() > SMALL => bytes,
            Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(frame) => return Poll::Ready(Some(Ok(frame))),
        };
        if self.bodies.again
            && let Err(status) = self.bodies.room(bytes.len())
        {
            self.ended = true;
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let held = Held::new(Arc::clone(&self.bodies.share));
        held.grow_beyond(bytes.len());
        let unread = Unread { bytes, _held: held };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(unread)))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Bytes that count until nobody has them any more.
struct Unread {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
