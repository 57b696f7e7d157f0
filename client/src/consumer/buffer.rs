//! Messages that have arrived and wait for the application.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Delivery;
use crate::error::ReceiveError;

/// Between the engine, which fills it, and the application, which takes.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    state: Mutex<State>,
    changed: Notify,
    /// The consumer is drained.
    draining: AtomicBool,
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

    /// Whether the consumer is drained.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Release);
    }

    /// Takes out what waits and can be given back.
    pub fn leased(&self) -> Vec<Delivery> {
        let waiting = &mut self.state().waiting;
        let (leased, own) = std::mem::take(waiting)
            .into_iter()
            .partition(Delivery::is_leased);
        *waiting = VecDeque::from(own);
        leased
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

    /// Nothing more will come behind what waits.
    pub fn end_behind(&self) {
        self.state().end.get_or_insert(Ok(()));
        self.changed.notify_waiters();
        self.changed.notify_one();
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

#[cfg(test)]
mod tests {
    use roadstead_proto::v1 as proto;
    use tokio::sync::mpsc;

    use super::*;
    use crate::message::ReceivedMessage;

    #[test]
    fn what_was_acked_by_being_delivered_stays() {
        let (commands, _inbox) = mpsc::unbounded_channel();
        let buffer = Buffer::default();
        for receipt in [&b"r"[..], b""] {
            let delivery = proto::Delivery {
                receipt: bytes::Bytes::from_static(receipt),
                ..proto::Delivery::default()
            };
            let (message, receipt) = ReceivedMessage::split(delivery);
            buffer.push(Delivery::new(message, receipt, commands.clone()));
        }
        assert_eq!(buffer.leased().len(), 1);
        let left = &buffer.state().waiting;
        assert!(left.len() == 1 && !left[0].is_leased());
    }
}
