//! Connections that have proved nothing yet: a bounded number, of which the oldest makes room.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// Whether a connection has proved that a friend is at its other end. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Proof(Arc<AtomicBool>);

impl Proof {
    /// From now on the connection never makes room for another.
    pub fn give(&self) {
        // Most calls are not the first; those leave the line of memory as it is.
        if !self.given() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was given.
    pub fn given(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The unfinished connections of a listener, oldest first.
#[derive(Debug)]
pub struct Unfinished {
    queue: VecDeque<Begun>,
    most: usize,
}

#[derive(Debug)]
struct Begun {
    spoke: Arc<AtomicBool>,
    proof: Proof,
    /// Dropped: the connection has to go. Closed: it is unfinished no more.
    stays: oneshot::Sender<()>,
}

/// A connection's own end; dropped when it is finished.
#[derive(Debug)]
pub struct Newcomer {
    spoke: Arc<AtomicBool>,
    proof: Proof,
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

    /// Takes a new one in. Where there is no room the oldest goes: of those that have said nothing
    /// when they are more than half, for who is in earnest speaks at once; else of those that
    /// spoke, so that they do not leave a newcomer too little time to speak.
    pub fn begin(&mut self) -> Newcomer {
        if self.queue.len() >= self.most {
            let waits = |begun: &Begun| !begun.stays.is_closed() && !begun.proof.given();
            self.queue.retain(waits);
        }
        if self.queue.len() >= self.most {
            let silent = |begun: &Begun| !begun.spoke.load(Ordering::Relaxed);
            let many = self.queue.iter().filter(|begun| silent(begun)).count() > self.most / 2;
            let goes = self.queue.iter().position(|begun| silent(begun) == many);
            self.queue.remove(goes.unwrap_or(0));
        }
        let (spoke, proof) = (Arc::default(), Proof::default());
        let (stays, newcomer) = oneshot::channel();
        self.queue.push_back(Begun {
            spoke: Arc::clone(&spoke),
            proof: proof.clone(),
            stays,
        });
        Newcomer {
            spoke,
            proof,
            stays: newcomer,
        }
    }
}

impl Newcomer {
    /// To be set when it has sent something.
    pub fn voice(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.spoke)
    }

    /// To be given when its other end is known.
    pub fn proof(&self) -> Proof {
        self.proof.clone()
    }

    /// Waits until it has to make room for another.
    pub async fn must_go(&mut self) {
        std::future::poll_fn(|cx| self.poll_must_go(cx)).await;
    }

    /// Ready, now and ever after, when it has to make room for another.
    pub fn poll_must_go(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.proof.given() {
            return Poll::Pending;
        }
        if self.stays.is_terminated() {
            return Poll::Ready(());
        }
        // Nothing is ever sent.
        Pin::new(&mut self.stays).poll(cx).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Who of them has to go.
    fn gone(newcomers: &mut [Newcomer]) -> Vec<usize> {
        let all = newcomers.iter_mut().enumerate();
        all.filter_map(|(at, one)| one.must_go().now_or_never().map(|()| at))
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
    fn those_that_spoke_leave_a_newcomer_its_time() {
        let mut unfinished = Unfinished::new(4);
        let mut all: Vec<_> = (0..4).map(|_| unfinished.begin()).collect();
        for one in &all {
            one.voice().store(true, Ordering::Relaxed);
        }
        all.extend([unfinished.begin(), unfinished.begin()]);
        assert_eq!(gone(&mut all), [0, 1]);
        all.push(unfinished.begin());
        assert_eq!(gone(&mut all), [0, 1, 2]);
    }

    #[test]
    fn who_has_proved_itself_takes_no_room_and_never_goes() {
        let mut unfinished = Unfinished::new(2);
        let mut all: Vec<_> = (0..2).map(|_| unfinished.begin()).collect();
        all[0].proof().give();
        all.extend((0..3).map(|_| unfinished.begin()));
        assert_eq!(gone(&mut all), [1, 2]);
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
