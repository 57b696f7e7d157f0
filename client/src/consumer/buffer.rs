//! Messages that have arrived and wait for the application.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Delivery;
use crate::error::ReceiveError;

/// Between the engine, which fills it, and the application, which takes.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Delivery>,
    end: Option<Result<(), ReceiveError>>,
}

impl Buffer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, delivery: Delivery) {
        self.state().waiting.push_back(delivery);
        self.changed.notify_one();
    }

    /// Nothing more will come; returns what has not been taken.
    pub fn end(&self, why: Result<(), ReceiveError>) -> VecDeque<Delivery> {
        let mut state = self.state();
        state.end.get_or_insert(why);
        let rest = std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_waiters();
        self.changed.notify_one();
        rest
    }

    /// The next one; `None` when no more will come.
    pub async fn take(&self) -> Result<Option<Delivery>, ReceiveError> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if let Some(delivery) = state.waiting.pop_front() {
                    if !state.waiting.is_empty() {
                        self.changed.notify_one();
                    }
                    return Ok(Some(delivery));
                }
                if let Some(end) = &state.end {
                    self.changed.notify_one();
                    return end.clone().map(|()| None);
                }
            }
            changed.await;
        }
    }
}
