//! The store's background loops, driven by threads or by simulated tasks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft::AsyncRuntime;
use tokio::sync::Notify;

use super::disk::Disk;
use crate::runtime::Runtime;

/// What a loop wants after one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// To go on at once.
    Again,
    /// To sleep until it is woken or the time is over.
    Wait(Option<Duration>),
    /// To end.
    Stop,
}

/// A loop that does its work in steps. A step may block on the disk, never on another loop.
pub(super) trait BackgroundLoop: Send + 'static {
    /// Name of its thread.
    fn name(&self) -> &'static str;

    /// What wakes it.
    fn wakeup(&self) -> Wakeup;

    /// Does one step.
    fn turn(&mut self) -> Turn;
}

/// Wakes one loop, whether it waits as a thread or as a task. A wake-up is never lost.
#[derive(Clone, Default)]
pub(super) struct Wakeup(Arc<WakeupInner>);

#[derive(Default)]
struct WakeupInner {
    woken: Mutex<bool>,
    thread: Condvar,
    task: Notify,
}

impl Wakeup {
    pub(super) fn wake(&self) {
        let mut woken = self.0.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if !*woken {
            *woken = true;
            self.0.thread.notify_one();
            self.0.task.notify_one();
        }
    }

    fn take(&self) -> bool {
        let mut woken = self.0.woken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *woken)
    }

    fn wait_thread(&self, longest: Option<Duration>) {
        let woken = self.0.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = longest.unwrap_or(Duration::from_hours(1));
        let (mut woken, _) = self
            .0
            .thread
            .wait_timeout_while(woken, longest, |woken| !*woken)
            .unwrap_or_else(PoisonError::into_inner);
        *woken = false;
    }

    async fn wait_task<R: Runtime>(&self, longest: Option<Duration>) {
        if self.take() {
            return;
        }
        let told = self.0.task.notified();
        match longest {
            Some(longest) => {
                let _ = R::timeout(longest, told).await;
            }
            None => told.await,
        }
        self.take();
    }
}

/// Wakes or ends a loop. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct LoopControl(Arc<ControlInner>);

#[derive(Default)]
struct ControlInner {
    wakeup: Wakeup,
    closed: AtomicBool,
}

impl LoopControl {
    pub(super) fn wakeup(&self) -> &Wakeup {
        &self.0.wakeup
    }

    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        self.0.wakeup.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }
}

/// The loops of an opened store. They must run for the store to do anything.
pub struct Drivers {
    pub(super) loops: Vec<Box<dyn BackgroundLoop>>,
    pub(super) disk: Arc<dyn Disk>,
}

impl Drivers {
    /// Runs every loop on a thread of its own.
    pub fn start_threads(self) -> std::io::Result<StoreThreads> {
        let mut threads = Vec::new();
        for mut background in self.loops {
            let name = background.name().to_owned();
            threads.push(std::thread::Builder::new().name(name).spawn(move || {
                let wakeup = background.wakeup();
                loop {
                    match background.turn() {
                        Turn::Again => {}
                        Turn::Wait(longest) => wakeup.wait_thread(longest),
                        Turn::Stop => break,
                    }
                }
            })?);
        }
        Ok(StoreThreads(threads))
    }

    /// The loops as futures for a simulated runtime: the caller spawns each in the node's scope, so
    /// that a crash drops it between two steps. Before each step a loop sleeps as long as the disk
    /// says.
    pub fn into_tasks<R: Runtime>(self) -> Vec<impl Future<Output = ()> + Send + 'static> {
        let disk = self.disk;
        self.loops
            .into_iter()
            .map(|step| drive::<R>(step, disk.clone()))
            .collect()
    }
}

async fn drive<R: Runtime>(mut background: Box<dyn BackgroundLoop>, disk: Arc<dyn Disk>) {
    let wakeup = background.wakeup();
    loop {
        if let Some(pause) = disk.pause() {
            <R as AsyncRuntime>::sleep(pause).await;
        }
        match background.turn() {
            Turn::Again => {}
            Turn::Wait(longest) => wakeup.wait_task::<R>(longest).await,
            Turn::Stop => break,
        }
    }
}

/// The running threads of a store.
pub struct StoreThreads(Vec<JoinHandle<()>>);

impl StoreThreads {
    /// Waits until all have ended, which they do after [`super::Store::close`].
    pub fn join(self) {
        for thread in self.0 {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}
