//! What belongs to one run: its random numbers, the hash of what happened, and panics.
//!
//! openraft reaches its runtime by static functions, so a run lives in a thread-local.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use openraft_rt_sim::SimInstant;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::coverage::Coverage;

struct Context {
    rng: SmallRng,
    /// Of the decisions when a task runs, apart from the rest: these come far more often.
    jitter: SmallRng,
    /// One poll in so many is put off.
    jitter_one_in: u32,
    hash: u64,
    events: u64,
    panics: Vec<String>,
    coverage: Coverage,
    print: bool,
}

thread_local! {
    static CONTEXT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// Begins a run on this thread.
///
/// With `print` every event is printed with its virtual time.
pub fn begin(seed: u64, print: bool) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let jitter_one_in = [3, 12, 60][rng.random_range(0..3)];
    let context = Context {
        jitter: SmallRng::seed_from_u64(rng.random()),
        rng,
        jitter_one_in,
        hash: 0xcbf2_9ce4_8422_2325,
        events: 0,
        panics: Vec::new(),
        coverage: Coverage::default(),
        print,
    };
    CONTEXT.set(Some(context));
}

/// What a run leaves behind.
#[derive(Debug)]
pub struct Left {
    /// Hash over every event with its time.
    pub hash: u64,
    /// Number of events.
    pub events: u64,
    /// Panics of tasks of the nodes.
    pub panics: Vec<String>,
    /// What happened how often.
    pub coverage: Coverage,
}

/// Ends the run.
///
/// # Panics
/// When none was begun on this thread.
pub fn end() -> Left {
    let context = CONTEXT.take().expect("a run was begun on this thread");
    let Context {
        hash,
        events,
        panics,
        coverage,
        ..
    } = context;
    Left {
        hash,
        events,
        panics,
        coverage,
    }
}

fn with<T>(f: impl FnOnce(&mut Context) -> T) -> T {
    CONTEXT.with_borrow_mut(|context| f(context.as_mut().expect("a run was begun on this thread")))
}

/// A random number below `n`, which is above 0.
pub fn below(n: u64) -> u64 {
    with(|context| context.rng.random_range(0..n))
}

/// True once in `n` times.
pub fn one_in(n: u64) -> bool {
    below(n) == 0
}

/// A random time between two, in ms.
pub fn millis(from: u64, to: u64) -> Duration {
    Duration::from_micros(from * 1_000 + below((to - from) * 1_000 + 1))
}

/// One of these.
pub fn pick<T: Clone>(choices: &[T]) -> T {
    let index = usize::try_from(below(choices.len() as u64)).unwrap_or_default();
    choices[index].clone()
}

/// How long the next poll of a task is put off, if it is.
pub fn put_off() -> Option<Duration> {
    with(|context| {
        let off = context.jitter.random_range(0..context.jitter_one_in) == 0;
        off.then(|| Duration::from_micros(context.jitter.random_range(1..700)))
    })
}

/// Virtual time since the run began.
pub fn now() -> Duration {
    SimInstant::try_now().map_or(Duration::ZERO, SimInstant::elapsed_since_start)
}

/// Notes an event: it becomes part of the run's hash.
pub fn note(event: fmt::Arguments<'_>) {
    let at = now();
    let line = format!("{:>10.4} {event}", at.as_secs_f64());
    with(|context| {
        context.events += 1;
        for byte in line.bytes() {
            context.hash = (context.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if context.print {
            print(&line);
        }
    });
}

#[expect(
    clippy::print_stdout,
    reason = "asked for by whoever looks at one seed"
)]
fn print(line: &str) {
    println!("{line}");
}

/// Counts something that the coverage table shows.
pub fn count(what: &'static str) {
    with(|context| context.coverage.count(what));
}

/// Notes that a task of a node panicked.
pub fn panicked(process: &str, message: &str) {
    let line = format!("{process}: {message}");
    with(|context| context.panics.push(line));
}

/// Whether a task of a node has panicked.
pub fn has_panicked() -> bool {
    with(|context| !context.panics.is_empty())
}
