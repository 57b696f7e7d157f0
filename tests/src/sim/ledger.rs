//! The history of a run while it is being written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context;
use super::history::{History, Ms, Trouble};

/// Shared by every client; clones are the same.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<History>>);

impl Ledger {
    /// The history so far.
    pub fn open(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that trouble begins now; gives its number for [`calm`](Self::calm).
    pub fn trouble(&self) -> usize {
        let mut history = self.open();
        history.troubles.push(Trouble {
            from: now_ms(),
            to: Ms::MAX,
        });
        history.troubles.len() - 1
    }

    /// Notes that a trouble ended, with its aftermath of elections.
    pub fn calm(&self, number: usize) {
        const AFTERMATH: Ms = 4_000;
        if let Some(trouble) = self.open().troubles.get_mut(number) {
            trouble.to = now_ms() + AFTERMATH;
        }
    }
}

/// Virtual time in ms.
pub fn now_ms() -> Ms {
    Ms::try_from(context::now().as_millis()).unwrap_or(Ms::MAX)
}
