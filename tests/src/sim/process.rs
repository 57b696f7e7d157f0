//! The tasks of one boot of one node, which end at one instant when it crashes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use openraft_rt::AsyncRuntime as _;
use openraft_rt_sim::{SimJoinError, SimRuntime, SimSleep};
use tokio::sync::oneshot;

use super::context;

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a join handle gets.
pub type Joined<T> = oneshot::Receiver<Result<T, SimJoinError>>;

thread_local! {
    static CURRENT: RefCell<Option<Process>> = const { RefCell::new(None) };
}

/// All tasks spawned by the tasks of one boot of a node. Clones are the same.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    name: String,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    dead: bool,
    next: u64,
    slots: BTreeMap<u64, Arc<Mutex<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// Absent while it is being polled, and once it is done.
    body: Option<Body>,
    waker: Option<Waker>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.0.name)
    }
}

impl Process {
    /// A process without tasks.
    pub fn new(name: String) -> Self {
        Self(Arc::new(Inner {
            name,
            tasks: Mutex::default(),
        }))
    }

    /// Runs `f` as part of this process: what it spawns belongs to it.
    pub fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = Entered::new(Some(self.clone()));
        f()
    }

    /// Spawns a task of this process.
    pub fn spawn<T>(&self, task: T) -> Joined<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        spawn_in(Some(self.clone()), task)
    }

    /// Whether it was killed.
    pub fn is_dead(&self) -> bool {
        self.tasks().dead
    }

    /// Drops every task at once. Must not be called by a task of the process itself.
    pub fn kill(&self) {
        let slots = {
            let mut tasks = self.tasks();
            tasks.dead = true;
            std::mem::take(&mut tasks.slots)
        };
        let _entered = Entered::new(Some(self.clone()));
        for slot in slots.into_values() {
            let (body, waker) = {
                let mut slot = lock(&slot);
                (slot.body.take(), slot.waker.take())
            };
            drop(body);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        lock(&self.0.tasks)
    }

    fn add(&self, slot: Arc<Mutex<Slot>>) -> Option<u64> {
        let mut tasks = self.tasks();
        if tasks.dead {
            return None;
        }
        let id = tasks.next;
        tasks.next += 1;
        tasks.slots.insert(id, slot);
        Some(id)
    }
}

/// Runs `f` outside of every process: what it spawns lives until the run ends.
pub fn outside<T>(f: impl FnOnce() -> T) -> T {
    let _entered = Entered::new(None);
    f()
}

/// Spawns a task of the process that is running, or of none.
pub fn spawn<T>(task: T) -> Joined<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    spawn_in(CURRENT.with_borrow(Clone::clone), task)
}

fn spawn_in<T>(process: Option<Process>, task: T) -> Joined<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    let (sender, joined) = oneshot::channel();
    let body = Box::pin(async move {
        let output = task.await;
        let _ = sender.send(Ok(output));
    });
    let slot = Arc::new(Mutex::new(Slot {
        body: Some(body),
        waker: None,
    }));
    let id = match &process {
        None => Some(0),
        Some(process) => process.add(slot.clone()),
    };
    if let Some(id) = id {
        drop(SimRuntime::spawn(Task {
            process,
            id,
            slot,
            pause: None,
        }));
    }
    joined
}

/// A task as the executor sees it.
struct Task {
    process: Option<Process>,
    id: u64,
    slot: Arc<Mutex<Slot>>,
    pause: Option<SimSleep>,
}

impl Task {
    /// Puts some polls off, so that tasks interleave in many ways: the executor itself is fair.
    fn is_put_off(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.pause {
            Some(pause) => {
                if Pin::new(pause).poll(cx).is_pending() {
                    return true;
                }
                self.pause = None;
                false
            }
            None => match context::put_off() {
                None => false,
                Some(length) => {
                    let mut pause = SimRuntime::sleep(length);
                    let waits = Pin::new(&mut pause).poll(cx).is_pending();
                    self.pause = waits.then_some(pause);
                    waits
                }
            },
        }
    }

    fn finish(&self) {
        if let Some(process) = &self.process {
            process.tasks().slots.remove(&self.id);
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_put_off(cx) {
            return Poll::Pending;
        }
        let body = {
            let mut slot = lock(&self.slot);
            slot.waker = Some(cx.waker().clone());
            slot.body.take()
        };
        let Some(mut body) = body else {
            return Poll::Ready(());
        };
        let _entered = Entered::new(self.process.clone());
        match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                lock(&self.slot).body = Some(body);
                return Poll::Pending;
            }
            Ok(Poll::Ready(())) => {}
            Err(panic) => {
                let name = self.process.as_ref().map_or("the harness", |p| &p.0.name);
                context::panicked(name, &message(&*panic));
            }
        }
        self.finish();
        Poll::Ready(())
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Puts back the process that ran before.
struct Entered(Option<Process>);

impl Entered {
    fn new(process: Option<Process>) -> Self {
        Self(CURRENT.replace(process))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
