//! How many streams of messages a listener serves at a time, and a connection of it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gateway::ApiError;

/// Calls and streams of one connection at most, however many there may be in all.
const CONNECTION_MAX: usize = 1_024;
/// And at least, so that a small node serves a busy client.
const CONNECTION_MIN: usize = 64;

/// The places for streams. A stream costs memory also when nothing comes by it, and most when its
/// client does not read. Clones share the places.
#[derive(Debug, Clone)]
pub struct Streams {
    places: Arc<Semaphore>,
    most: usize,
}

impl Streams {
    /// So many places.
    pub fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    /// Streams and other calls that one connection may have at a time: it takes two connections to
    /// take all places of a node with much to do.
    pub fn of_a_connection(&self) -> u32 {
        (self.most / 2).clamp(CONNECTION_MIN, CONNECTION_MAX) as u32
    }

    /// A place, for as long as what is returned lives.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when all are taken.
    pub fn take(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| {
            ApiError::exhausted(format!(
                "this node serves {} streams, as many as its memory allows (--memory-limit): \
                 connect to another node, share streams, or raise the limit",
                self.most
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_stream_is_over() {
        let streams = Streams::new(2);
        let first = streams.take().unwrap();
        let _second = streams.clone().take().unwrap();
        let error = streams.take().unwrap_err();
        assert_eq!(error.code, tonic::Code::ResourceExhausted);
        assert!(error.message.contains("serves 2 streams"), "{error:?}");
        drop(first);
        assert!(streams.take().is_ok());
    }

    #[test]
    fn one_connection_takes_half_of_the_places_of_a_large_node() {
        let of = |most| Streams::new(most).of_a_connection();
        assert_eq!((of(64), of(256), of(1 << 20)), (64, 128, 1_024));
    }
}
