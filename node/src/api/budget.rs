//! How many bytes of requests, or of answers, a listener holds, and each of its connections. Pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::client_listener::MAX_MESSAGE;
use crate::gateway::ApiError;

/// A request of so few bytes may use a reserve that larger ones may not: settlements make room.
pub const SMALL: usize = 64 << 10;
/// The largest request with its framing.
const LARGEST: usize = MAX_MESSAGE + SMALL;
/// Connections that it takes to use all of a budget.
const SHARES: usize = 4;
/// The reserve for small requests is this part of a limit, on top of it.
const RESERVE: usize = 4;

/// The bytes that a listener may hold.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    /// At most `limit` bytes at a time, and at least two of the largest requests.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit: limit.max(2 * LARGEST),
        })
    }

    /// The part of one connection: at least one of the largest requests.
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share {
            used: AtomicUsize::new(0),
            limit: (self.limit / SHARES).max(LARGEST),
            budget: Arc::clone(self),
        })
    }

    /// Bytes held now.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// What one connection may hold of a [`Budget`].
#[derive(Debug)]
pub struct Share {
    used: AtomicUsize,
    limit: usize,
    budget: Arc<Budget>,
}

/// Whose limit a request is over, with that limit in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The connection holds too much.
    Connection(usize),
    /// All connections together do.
    Listener(usize),
}

impl Share {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    /// Whether there is room for `bytes` more; nothing is held yet.
    ///
    /// # Errors
    /// Whose limit they would be over.
    pub fn has_room(&self, bytes: usize) -> Result<(), Over> {
        let over = |used: &AtomicUsize, limit| used.load(Ordering::Relaxed) + bytes > limit;
        if over(&self.used, self.limit) {
            return Err(Over::Connection(self.limit));
        }
        if over(&self.budget.used, self.budget.limit) {
            return Err(Over::Listener(self.budget.limit));
        }
        Ok(())
    }

    fn take(&self, bytes: usize, small: bool) -> Result<(), Over> {
        let most = |limit| limit + if small { limit / RESERVE } else { 0 };
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > most(self.limit) {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Over::Connection(self.limit));
        }
        let budget = &self.budget;
        if budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes > most(budget.limit) {
            self.give(bytes);
            return Err(Over::Listener(budget.limit));
        }
        Ok(())
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one call holds until it is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: AtomicUsize,
    share: Arc<Share>,
}

impl Held {
    /// Nothing yet.
    pub fn new(share: Arc<Share>) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            share,
        }
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a message of `bytes` could be held now. What is refused here has not come yet.
    ///
    /// # Errors
    /// Whose limit it would be over.
    pub fn expect(&self, bytes: usize) -> Result<(), Over> {
        if bytes <= SMALL {
            return Ok(());
        }
        self.share.has_room(bytes)
    }

    /// Holds `bytes` more.
    ///
    /// # Errors
    /// Whose limit that would be over; then nothing more is held.
    pub fn grow(&self, bytes: usize) -> Result<(), Over> {
        let small = self.bytes() + bytes <= SMALL;
        self.share.take(bytes, small)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Holds `bytes` more, whatever the limits say.
    pub fn grow_beyond(&self, bytes: usize) {
        self.share.used.fetch_add(bytes, Ordering::Relaxed);
        self.share.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Holds no more than `bytes` from now on.
    pub fn shrink(&self, bytes: usize) {
        let held = self.bytes();
        if held > bytes {
            self.bytes.store(bytes, Ordering::Relaxed);
            self.share.give(held - bytes);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

impl From<Over> for ApiError {
    fn from(over: Over) -> Self {
        let mib = |bytes: usize| bytes >> 20;
        Self::exhausted(match over {
            Over::Connection(limit) => format!(
                "requests on this connection hold as much memory as they may, {} MiB; \
                 wait for answers before you send more",
                mib(limit)
            ),
            Over::Listener(limit) => format!(
                "requests hold as much of this node's memory as they may, {} MiB; \
                 try again soon, or ask another node",
                mib(limit)
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const LIMIT: usize = 8 * MAX_MESSAGE;

    fn used(share: &Share) -> (usize, usize) {
        (share.used.load(Ordering::Relaxed), share.budget.used())
    }

    #[test]
    fn there_is_always_room_for_two_of_the_largest_on_two_connections() {
        let budget = Budget::new(0);
        let (one, two) = (Held::new(budget.share()), Held::new(budget.share()));
        assert_eq!(one.expect(MAX_MESSAGE), Ok(()));
        assert_eq!(one.grow(LARGEST), Ok(()));
        assert_eq!(one.grow(1), Err(Over::Connection(LARGEST)));
        assert_eq!(two.grow(LARGEST), Ok(()));
        assert_eq!(budget.used(), 2 * LARGEST);
        drop((one, two));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_connection_has_its_share_and_all_together_their_limit() {
        let budget = Budget::new(LIMIT);
        let shares: Vec<_> = (0..5).map(|_| budget.share()).collect();
        let most = 2 * MAX_MESSAGE;
        let held: Vec<_> = shares.iter().map(|s| Held::new(Arc::clone(s))).collect();
        for held in &held[..4] {
            assert_eq!(held.grow(most), Ok(()));
            assert_eq!(held.grow(1), Err(Over::Connection(most)));
            assert_eq!(held.expect(SMALL + 1), Err(Over::Connection(most)));
        }
        assert_eq!(held[4].expect(SMALL + 1), Err(Over::Listener(LIMIT)));
        assert_eq!(held[4].grow(SMALL + 1), Err(Over::Listener(LIMIT)));
        assert_eq!(used(&shares[4]), (0, LIMIT), "what is refused is not held");
        held[0].shrink(MAX_MESSAGE);
        held[0].shrink(2 * MAX_MESSAGE);
        assert_eq!(held[0].bytes(), MAX_MESSAGE);
        assert_eq!(held[4].grow(MAX_MESSAGE), Ok(()));
    }

    #[test]
    fn small_requests_pass_beside_large_ones_and_have_a_limit_too() {
        let budget = Budget::new(LIMIT);
        let share = budget.share();
        let large = Held::new(Arc::clone(&share));
        large.grow(2 * MAX_MESSAGE).unwrap();
        let mut small = Vec::new();
        loop {
            let held = Held::new(Arc::clone(&share));
            assert_eq!(held.expect(SMALL), Ok(()));
            if held.grow(SMALL).is_err() {
                break;
            }
            assert!(held.grow(1).is_err(), "it is not small any more");
            small.push(held);
        }
        assert_eq!(small.len() * SMALL, 2 * MAX_MESSAGE / RESERVE);
        drop((large, small));
        assert_eq!(used(&share), (0, 0));
    }

    #[test]
    fn a_refusal_says_what_to_do_and_that_it_may_be_tried_again() {
        for over in [Over::Connection(LIMIT), Over::Listener(LIMIT)] {
            let error = ApiError::from(over);
            assert_eq!(error.code, Code::ResourceExhausted);
            assert!(error.detail.retryable && error.message.contains("136 MiB; "));
        }
    }
}
