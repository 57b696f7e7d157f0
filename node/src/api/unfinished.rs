//! Connections that have proved nothing yet: a bounded number, of which the oldest makes room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

/// The unfinished connections of a listener, oldest first.
#[derive(Debug)]
pub struct Unfinished {
    queue: VecDeque<Begun>,
    most: usize,
}

#[derive(Debug)]
struct Begun {
    spoke: Arc<AtomicBool>,
    /// Dropped: the connection has to go. Closed: it is unfinished no more.
    stays: oneshot::Sender<()>,
}

/// A connection's own end; dropped when it is finished.
#[derive(Debug)]
pub struct Newcomer {
    spoke: Arc<AtomicBool>,
    stays: oneshot::Receiver<()>,
}

impl Unfinished {
    /// At most `most` at a time.
    pub fn new(most: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            most,
        }
    }

    /// Takes a new one in. Where there is no room the oldest goes that has said nothing yet, or
    /// the oldest of all: who is in earnest speaks at once.
    pub fn begin(&mut self) -> Newcomer {
        if self.queue.len() >= self.most {
            self.queue.retain(|begun| !begun.stays.is_closed());
        }
        if self.queue.len() >= self.most {
            let silent = |begun: &Begun| !begun.spoke.load(Ordering::Relaxed);
            let goes = self.queue.iter().position(silent).unwrap_or(0);
            self.queue.remove(goes);
        }
        let spoke = Arc::new(AtomicBool::new(false));
        let (stays, newcomer) = oneshot::channel();
        self.queue.push_back(Begun {
            spoke: Arc::clone(&spoke),
            stays,
        });
        Newcomer {
            spoke,
            stays: newcomer,
        }
    }
}

impl Newcomer {
    /// To be set when it has sent something.
    pub fn voice(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.spoke)
    }

    /// Waits until it has to make room for another.
    pub async fn must_go(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.stays).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    /// Who of them has to go.
    fn gone(newcomers: &mut [Newcomer]) -> Vec<usize> {
        let all = newcomers.iter_mut().enumerate();
        all.filter_map(|(at, one)| {
            (one.stays.try_recv() == Err(TryRecvError::Closed)).then_some(at)
        })
        .collect()
    }

    #[test]
    fn the_oldest_silent_one_makes_room_before_those_that_spoke() {
        let mut unfinished = Unfinished::new(3);
        let mut all: Vec<_> = (0..3).map(|_| unfinished.begin()).collect();
        all[0].voice().store(true, Ordering::Relaxed);
        assert_eq!(gone(&mut all), [0; 0]);
        all.push(unfinished.begin());
        assert_eq!(gone(&mut all), [1]);
        for one in &all {
            one.voice().store(true, Ordering::Relaxed);
        }
        all.push(unfinished.begin());
        assert_eq!(gone(&mut all), [0, 1]);
    }

    #[test]
    fn who_is_finished_takes_no_room() {
        let mut unfinished = Unfinished::new(2);
        let mut first = vec![unfinished.begin()];
        for _ in 0..10 {
            drop(unfinished.begin());
        }
        assert_eq!(gone(&mut first), [0; 0]);
        assert!(unfinished.queue.len() <= 2);
    }
}
