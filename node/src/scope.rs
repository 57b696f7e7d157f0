//! The tasks of one node, which end together.

use std::future::Future;
use std::marker::PhantomData;

use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;

/// Where a node spawns its tasks.
///
/// Stopping the scope drops every task of it at its next await point, as a crash would.
#[derive(Debug)]
pub struct NodeScope<R> {
    token: CancellationToken,
    runtime: PhantomData<fn() -> R>,
}

impl<R> Clone for NodeScope<R> {
    fn clone(&self) -> Self {
        Self {
            token: self.token.clone(),
            runtime: PhantomData,
        }
    }
}

impl<R> Default for NodeScope<R> {
    fn default() -> Self {
        Self {
            token: CancellationToken::new(),
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime> NodeScope<R> {
    /// Runs `task` until it is done or the scope stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.token.clone().run_until_cancelled_owned(task);
        drop(R::spawn(async move {
            task.await;
        }));
    }

    /// A scope that stops with this one, or before it.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            runtime: PhantomData,
        }
    }

    /// Drops every task of the scope.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the scope stops.
    pub async fn stopped(&self) {
        self.token.cancelled().await;
    }
}

/// The clocks of one node's machine.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since some fixed instant; never goes back.
    fn monotonic_ns(&self) -> u64;

    /// Milliseconds since 1970, as the machine believes.
    fn wall_ms(&self) -> u64;
}
