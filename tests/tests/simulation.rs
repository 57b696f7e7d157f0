//! Whole clusters on virtual time: what is acknowledged is not lost, whatever fails.
//!
//! `ROADSTEAD_SIM_SEEDS=n` runs so many seeds, from `ROADSTEAD_SIM_FIRST`;
//! `ROADSTEAD_SIM_SEED=n` runs one and prints every event.

#![expect(clippy::print_stdout, reason = "says what ran and what it saw")]

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use roadstead_tests::sim::control::Control;
use roadstead_tests::sim::coverage::Coverage;
use roadstead_tests::sim::{Outcome, Plan, run};

/// Seeds of the normal run …
const SEEDS: u64 = 16;

/// … and those that once found something: `docs/bugs.md` says what.
const FAILED_ONCE: [u64; 4] = [34, 68, 100, 105];

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    let number = text.parse();
    assert!(number.is_ok(), "{name}={text} is not a number");
    number.ok()
}

fn replay(seed: u64) -> String {
    format!("ROADSTEAD_SIM_SEED={seed} cargo test -p roadstead-tests --test simulation replay")
}

fn report(seed: u64, outcome: &Outcome) -> String {
    let mut lines = vec![format!(
        "seed {seed} failed; replay it with:\n  {}",
        replay(seed)
    )];
    lines.extend(
        outcome
            .violations
            .iter()
            .take(12)
            .map(|violation| format!("  {violation}")),
    );
    lines.join("\n")
}

#[derive(Default)]
struct Totals {
    coverage: Coverage,
    failures: Vec<String>,
    virtual_time: Duration,
    acknowledged: usize,
}

fn seeds() -> Vec<u64> {
    let (many, first) = (number("ROADSTEAD_SIM_SEEDS"), number("ROADSTEAD_SIM_FIRST"));
    let from = first.unwrap_or(1);
    let mut seeds: Vec<u64> = (from..from + many.unwrap_or(SEEDS)).collect();
    if many.is_none() && first.is_none() {
        seeds.extend(FAILED_ONCE);
    }
    seeds
}

#[test]
fn many_seeds() {
    let seeds = seeds();
    let next = AtomicUsize::new(0);
    let totals = Mutex::new(Totals::default());
    let started = Instant::now();
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(2);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied()
                    else {
                        return;
                    };
                    let outcome = run(Plan::new(seed));
                    let mut totals = totals.lock().unwrap();
                    totals.coverage.add(&outcome.coverage);
                    totals.virtual_time += outcome.length;
                    totals.acknowledged += outcome.acknowledged;
                    if !outcome.violations.is_empty() {
                        totals.failures.push(report(seed, &outcome));
                    }
                }
            });
        }
    });
    let Totals {
        coverage,
        failures,
        virtual_time,
        acknowledged,
    } = totals.into_inner().unwrap();
    let took = started.elapsed();
    println!(
        "{} seeds from {}, {threads} threads, {:.1} s",
        seeds.len(),
        seeds[0],
        took.as_secs_f64()
    );
    println!(
        "{:.0} virtual s, {acknowledged} messages acknowledged",
        virtual_time.as_secs_f64()
    );
    println!("{coverage}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let empty = coverage.empty();
    assert!(
        empty.is_empty() || (seeds.len() as u64) < SEEDS,
        "these never happened: {empty:?}"
    );
}

#[test]
fn replay_one_seed() {
    let Some(seed) = number("ROADSTEAD_SIM_SEED") else {
        return;
    };
    // Say RUST_LOG=roadstead_node=debug to see what the nodes say, between the events.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let log = tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_env_filter(filter);
    let _ = log.try_init();
    let outcome = run(Plan {
        print: true,
        ..Plan::new(seed)
    });
    println!("trace {:x}, {} events", outcome.trace.0, outcome.trace.1);
    assert!(outcome.violations.is_empty(), "{}", report(seed, &outcome));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let plan = Plan {
        length: Duration::from_secs(6),
        record: true,
        ..Plan::new(11)
    };
    let (first, second) = (run(plan), run(plan));
    for (number, (a, b)) in first.record.iter().zip(&second.record).enumerate() {
        assert_eq!(a, b, "decision {number} of {} differs", first.record.len());
    }
    assert_eq!(first.record.len(), second.record.len());
    assert_eq!(first.trace, second.trace);
    assert!(
        first.trace.1 > 1_000,
        "too little happened: {:?}",
        first.trace
    );
    let other = run(Plan {
        seed: 12,
        record: false,
        ..plan
    });
    assert_ne!(first.trace, other.trace, "another seed is another run");
}

/// Runs seeds with one protection switched off until the oracle finds something.
fn found_without(control: Control) -> Vec<String> {
    for seed in 1..=8 {
        let plan = Plan {
            control,
            length: Duration::from_secs(10),
            ..Plan::new(seed)
        };
        let outcome = run(plan);
        if !outcome.violations.is_empty() {
            let found = outcome
                .violations
                .iter()
                .take(3)
                .map(ToString::to_string)
                .collect();
            println!("{control:?}, seed {seed}: {found:#?}");
            return found;
        }
    }
    Vec::new()
}

#[test]
fn without_fsync_acknowledged_messages_are_lost() {
    assert!(
        !found_without(Control::NoSync).is_empty(),
        "the oracle saw nothing"
    );
}

#[test]
fn with_clocks_that_jump_leases_are_not_exclusive() {
    let found = found_without(Control::ClockJumps);
    assert!(found.iter().any(|what| what.contains("lease")), "{found:?}");
}
