//! Whether this node may take part: not before its peers have said that its data is its latest.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum State {
    /// It neither asks nor answers.
    #[default]
    Waiting,
    Admitted,
    /// A peer has seen a later start than this one.
    Disowned(String),
}

/// Whether this node may take part.
#[derive(Debug, Default)]
pub(super) struct Admission {
    state: Mutex<State>,
    changed: Notify,
}

impl Admission {
    pub fn is_admitted(&self) -> bool {
        *self.lock() == State::Admitted
    }

    /// It may, unless it was disowned.
    pub fn admit(&self) {
        let mut state = self.lock();
        if *state == State::Waiting {
            *state = State::Admitted;
        }
    }

    /// It may not any more, for this reason.
    pub fn disown(&self, why: &str) {
        *self.lock() = State::Disowned(why.to_owned());
        self.changed.notify_waiters();
    }

    /// Why it was disowned, if it was.
    pub fn disowned(&self) -> Option<String> {
        match &*self.lock() {
            State::Disowned(why) => Some(why.clone()),
            State::Waiting | State::Admitted => None,
        }
    }

    /// Waits until it is disowned, and says why.
    pub async fn until_disowned(&self) -> String {
        loop {
            let changed = self.changed.notified();
            if let Some(why) = self.disowned() {
                return why;
            }
            changed.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
