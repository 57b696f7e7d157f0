//! Moves messages from one queue to others, at a bounded rate.

use std::time::Duration;

use roadstead_proto::v1::{MessageFilter, RedriveMessagesRequest, RedriveMessagesResponse};
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::error::CallError;

/// Messages of a piece at most, where no rate is set.
const PIECE: u32 = 500;
/// Pieces of a second, where a rate is set.
const PER_SECOND: u32 = 10;

/// Messages on their way back: each to the queue that it was dead-lettered from, unless one is
/// named. What is leased stays.
///
/// ```no_run
/// # use roadstead_client::{CallError, Client};
/// # async fn example(client: Client) -> Result<(), CallError> {
/// let mut redrive = client.redrive("orders-dead").rate(100);
/// while let Some(piece) = redrive.next().await? {
///     println!("{} moved, {} refused", piece.moved, piece.refused);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Redrive {
    client: Client,
    request: RedriveMessagesRequest,
    rate: Option<u32>,
    /// When the next piece may go.
    next_at: Instant,
    over: bool,
}

impl Client {
    /// Moves the messages of a queue that are not leased; nothing happens before
    /// [`Redrive::next`].
    pub fn redrive(&self, name: &str) -> Redrive {
        let request = RedriveMessagesRequest {
            queue: Some(self.queue_ref(name)),
            max_messages: PIECE,
            ..RedriveMessagesRequest::default()
        };
        Redrive {
            client: self.clone(),
            request,
            rate: None,
            next_at: Instant::now(),
            over: false,
        }
    }
}

impl Redrive {
    /// All of them to this queue of the same namespace.
    #[must_use]
    pub fn to(mut self, queue: &str) -> Self {
        queue.clone_into(&mut self.request.to);
        self
    }

    /// Only what this consumer group has not settled. Default: `default`.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.request.group = group.into();
        self
    }

    /// Only those that the filter means.
    #[must_use]
    pub fn filter(mut self, filter: MessageFilter) -> Self {
        self.request.filter = Some(filter);
        self
    }

    /// So many messages per second at most; 0 counts as 1.
    #[must_use]
    pub fn rate(mut self, per_second: u32) -> Self {
        let rate = per_second.max(1);
        self.rate = Some(rate);
        self.request.max_messages = rate.div_ceil(PER_SECOND).min(PIECE);
        self
    }

    /// Only counts what would be moved.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.request.dry_run = true;
        self
    }

    /// Waits until the rate lets the next piece go. What waits here has not begun.
    pub async fn turn(&self) {
        if !self.over {
            sleep_until(self.next_at).await;
        }
    }

    /// Moves the next piece, when the rate lets it go; None when the walk is over. After an error
    /// it goes on where it was, and what had been moved then is not counted.
    ///
    /// When it is dropped half-way it is not known whether the piece was moved.
    pub async fn next(&mut self) -> Result<Option<RedriveMessagesResponse>, CallError> {
        if self.over {
            return Ok(None);
        }
        self.turn().await;
        let began = Instant::now();
        let piece = self.client.redrive_piece(self.request.clone()).await?;
        if let Some(rate) = self.rate.filter(|_| !self.request.dry_run) {
            self.next_at = began + pause(piece.moved, rate);
        }
        self.over = piece.next_page_token.is_empty();
        self.request.page_token.clone_from(&piece.next_page_token);
        Ok(Some(piece))
    }
}

/// How long so many messages take at a rate.
fn pause(moved: u64, rate: u32) -> Duration {
    Duration::from_millis(moved.saturating_mul(1_000).div_ceil(u64::from(rate.max(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_takes_its_time() {
        assert_eq!(pause(0, 100), Duration::ZERO);
        assert_eq!(pause(10, 100), Duration::from_millis(100));
        assert_eq!(pause(1, 3), Duration::from_millis(334));
        assert_eq!(pause(1, 0), Duration::from_secs(1));
    }
}
