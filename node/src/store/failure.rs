//! The first thing that went wrong for good, told to whoever must stop the node.

use std::io;
use std::sync::{Arc, OnceLock};

use thiserror::Error;
use tokio::sync::Notify;

/// Why the store can go on no longer. The node must stop: nothing of it may be retried.
#[derive(Debug, Clone, Error)]
pub enum StoreFailure {
    /// A write or sync failed; what is on disk is unknown.
    #[error(
        "{what} failed: {error}; the state of the disk is unknown, so this node stops; \
         check the disk and the kernel log, then start the node again"
    )]
    Io {
        /// File and operation.
        what: String,
        /// What the operating system said.
        error: String,
    },
    /// A record or page on disk is not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
}

/// A place on disk that does not hold what was written there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{file} is damaged at byte {offset}: {what}; started anew, the node makes its rows anew, or \
     comes back as another one where its journal is damaged"
)]
pub struct Damage {
    /// File, relative to the data directory.
    pub file: String,
    /// Byte offset in the file.
    pub offset: u64,
    /// What was found.
    pub what: String,
}

/// Remembers the first failure and wakes who waits for it. Clones share it.
#[derive(Clone, Default)]
pub struct Failure(Arc<Inner>);

#[derive(Default)]
struct Inner {
    first: OnceLock<StoreFailure>,
    told: Notify,
}

impl Failure {
    /// Notes a failure; only the first one counts.
    pub fn set(&self, failure: StoreFailure) {
        if self.0.first.set(failure).is_ok() {
            self.0.told.notify_waiters();
        }
    }

    /// The failure, if there is one.
    pub fn get(&self) -> Option<StoreFailure> {
        self.0.first.get().cloned()
    }

    /// Waits until there is a failure.
    pub async fn wait(&self) -> StoreFailure {
        loop {
            let told = self.0.told.notified();
            if let Some(failure) = self.get() {
                return failure;
            }
            told.await;
        }
    }

    /// The failure as an error for callers of I/O, or nothing.
    pub fn check(&self) -> io::Result<()> {
        match self.get() {
            Some(failure) => Err(io::Error::other(failure)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_counts_and_wakes_the_waiting() {
        let failure = Failure::default();
        let waiting = tokio::spawn({
            let failure = failure.clone();
            async move { failure.wait().await }
        });
        tokio::task::yield_now().await;
        let damage = |offset| Damage {
            file: "a".into(),
            offset,
            what: "bad".into(),
        };
        failure.set(damage(1).into());
        failure.set(damage(2).into());
        assert!(matches!(waiting.await.unwrap(), StoreFailure::Damage(d) if d.offset == 1));
        assert!(
            failure
                .check()
                .unwrap_err()
                .to_string()
                .contains("a is damaged at byte 1")
        );
    }
}
