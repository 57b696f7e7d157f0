//! Reads that block, done one after the other off the asynchronous side.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::drivers::{BackgroundLoop, Turn, Wakeup};

type Job = Box<dyn FnOnce() + Send>;

/// Where jobs are given. Clones give to the same loop.
#[derive(Clone, Default)]
pub(super) struct Jobs(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    wakeup: Wakeup,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Jobs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `job` on the loop and waits for what it returns; `None` once the loop has ended.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        {
            let mut state = self.state();
            if state.closed {
                return None;
            }
            state
                .waiting
                .push_back(Box::new(move || drop(tell.send(job()))));
        }
        self.0.wakeup.wake();
        told.await.ok()
    }

    /// Ends the loop after what is waiting.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.0.wakeup.wake();
    }
}

/// The loop that does the jobs.
pub(super) struct JobLoop(pub Jobs);

impl BackgroundLoop for JobLoop {
    fn name(&self) -> &'static str {
        "store-reader"
    }

    fn wakeup(&self) -> Wakeup {
        self.0.0.wakeup.clone()
    }

    fn turn(&mut self) -> Turn {
        let (job, closed) = {
            let mut state = self.0.state();
            (state.waiting.pop_front(), state.closed)
        };
        match job {
            Some(job) => {
                job();
                Turn::Again
            }
            None if closed => Turn::Stop,
            None => Turn::Wait(None),
        }
    }
}
