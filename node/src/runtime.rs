//! The asynchronous runtime that node code runs on: tokio, or openraft's simulator in tests.

use std::task::Poll;

use openraft::AsyncRuntime;
use openraft_rt_tokio::TokioRuntime;

/// What node code asks of its runtime.
///
/// Node code spawns, sleeps and measures time only through this trait, so that a whole cluster can
/// run on virtual time. `tokio::sync` channels other than `watch` are fine: they need no runtime.
pub trait Runtime: AsyncRuntime<Instant: Send + Sync> + Send + Sync + 'static {}

impl Runtime for TokioRuntime {}

/// Lets the other tasks that are ready run first.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(move |context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
