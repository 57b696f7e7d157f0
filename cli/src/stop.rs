//! Being told to stop, and being told again.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep_until;

/// SIGTERM and SIGINT since [`Stop::listen`].
#[derive(Clone)]
pub struct Stop(watch::Receiver<Told>);

#[derive(Clone, Copy, Default)]
struct Told {
    times: u32,
    first: Option<Instant>,
}

impl Stop {
    /// Takes the signals from now on.
    ///
    /// # Errors
    /// When the system does not let this process hear of them.
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot hear of signals");
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(Told::default());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                sender.send_modify(|told| {
                    told.times += 1;
                    told.first.get_or_insert_with(Instant::now);
                });
            }
        });
        Ok(Self(receiver))
    }

    /// Whether a signal came.
    pub fn told(&self) -> bool {
        self.0.borrow().times > 0
    }

    /// Waits for the first signal.
    pub async fn once(&self) {
        self.times(1).await;
    }

    /// Waits for the second signal.
    pub async fn twice(&self) {
        self.times(2).await;
    }

    /// Waits until the first signal was so long ago, or for the second one.
    pub async fn over(&self, grace: Duration) {
        self.once().await;
        let first = self.0.borrow().first.unwrap_or_else(Instant::now);
        tokio::select! {
            () = sleep_until((first + grace).into()) => {}
            () = self.twice() => {}
        }
    }

    async fn times(&self, times: u32) {
        let mut told = self.0.clone();
        if told.wait_for(|told| told.times >= times).await.is_err() {
            // Nobody is left who could tell.
            std::future::pending::<()>().await;
        }
    }
}
