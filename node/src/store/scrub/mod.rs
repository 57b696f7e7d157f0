//! The loop that reads what is on disk again and again, so that bits which rot there are found
//! while the other replicas are well.
//!
//! A pass reads the journal, here, and then the state file, in a process of its own: LMDB may
//! crash whoever reads damage by it.

pub mod apart;
mod journal;
mod pace;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::pace::Pace;

use self::apart::{Reader, Verdict};
use self::journal::{JournalPass, Step};
use super::drivers::{BackgroundLoop, LoopControl, Turn, Wakeup};
use super::env::Env;
use super::failure::Damage;
use super::journal::Journal;
use super::payloads::Payloads;
use super::rows::Around;

/// Longest time from the start of a node to its first pass, but for the spread.
const FIRST: Duration = Duration::from_mins(5);
/// The first passes of nodes that start together are spread over this time at most.
const SPREAD: Duration = Duration::from_mins(30);
/// Time after which a doubtful place is read again: longer than the kernel keeps what was written
/// from the disk (30 s) after two of them. A shorter interval between passes shortens it.
const DOUBT: Duration = Duration::from_secs(20);
/// Time between two looks at the process that reads the state file.
const LOOK: Duration = Duration::from_millis(200);

/// How what is on disk is read again while it is in use.
#[derive(Debug, Clone, Default)]
pub struct ScrubOptions {
    /// Bytes a second that are read at most; 0 reads nothing.
    pub bytes_per_second: u64,
    /// Time from the end of a pass to the beginning of the next.
    pub interval: Duration,
    /// A random number: when, after a start, the first pass begins.
    pub spread: u64,
    /// Who reads the state file; without, only the journal is read.
    pub walker: Option<Walker>,
}

/// A binary that reads the state file of a node that runs.
#[derive(Debug, Clone)]
pub struct Walker {
    /// The `roadstead-node` binary.
    pub binary: PathBuf,
    /// The node's data directory.
    pub dir: PathBuf,
}

impl ScrubOptions {
    /// Time from a start to the first pass: at most five minutes, and up to half an hour more.
    fn first(&self) -> Duration {
        let within = self.interval.min(SPREAD).as_millis().max(1);
        let spread = u128::from(self.spread) % within;
        self.interval.min(FIRST) + Duration::from_millis(u64::try_from(spread).unwrap_or(0))
    }
}

/// The scrubber.
pub(super) struct Scrubber {
    journal: Journal,
    env: Arc<dyn Env>,
    around: Around,
    control: LoopControl,
    options: ScrubOptions,
    pace: Pace,
    state: State,
    /// Nothing was left out in this pass.
    whole: bool,
}

enum State {
    /// Waits for the first pass.
    Started,
    /// Begins a pass.
    Rested,
    Journal(JournalPass),
    /// A process reads the state file; an earlier one has found this damage.
    Rows(Reader, Option<Damage>),
}

impl Scrubber {
    /// A loop that reads by `options`.
    pub(super) fn new(
        payloads: &Payloads,
        around: &Around,
        (control, options): (&LoopControl, &ScrubOptions),
    ) -> Self {
        Self {
            journal: payloads.journal.clone(),
            env: payloads.env.clone(),
            around: around.clone(),
            control: control.clone(),
            options: options.clone(),
            pace: Pace(options.bytes_per_second),
            state: State::Started,
            whole: true,
        }
    }

    fn journal(&mut self, mut pass: JournalPass) -> Turn {
        let step = pass.step(&self.journal);
        self.state = State::Journal(pass);
        match step {
            Step::Read(bytes, took) => {
                self.around.metrics.scrubbed(bytes as u64);
                Turn::Wait(Some(self.pace.pause(bytes as u64, took)))
            }
            Step::Next => Turn::Again,
            Step::Doubtful(damage) => {
                tracing::warn!(%damage, "a doubtful place in the journal is read again");
                Turn::Wait(Some(DOUBT.min(self.options.interval)))
            }
            Step::LeftOut(what) => {
                self.whole = false;
                tracing::warn!("a part of the journal was not scrubbed: {what}");
                Turn::Again
            }
            Step::Damaged(damage) => self.found(damage),
            Step::Done => self.begin_rows(None),
        }
    }

    fn found(&mut self, damage: Damage) -> Turn {
        tracing::error!(%damage, "the scrubber has found damage");
        self.around.failure.set(damage.into());
        Turn::Stop
    }

    fn begin_rows(&mut self, suspected: Option<Damage>) -> Turn {
        let Some(walker) = &self.options.walker else {
            return self.end_pass();
        };
        match Reader::start(walker, self.options.bytes_per_second, self.env.size()) {
            Ok(reader) => {
                self.state = State::Rows(reader, suspected);
                Turn::Wait(Some(LOOK))
            }
            Err(error) => self.rows_left_out(&format!(
                "{} does not start: {error}",
                walker.binary.display()
            )),
        }
    }

    fn rows_left_out(&mut self, what: &str) -> Turn {
        self.whole = false;
        tracing::warn!("the state file was not scrubbed, which says nothing about it: {what}");
        self.end_pass()
    }

    fn rows(&mut self, mut reader: Reader, suspected: Option<Damage>) -> Turn {
        let Some(verdict) = reader.look() else {
            self.state = State::Rows(reader, suspected);
            return Turn::Wait(Some(LOOK));
        };
        // A process that was killed leaves its place among LMDB's readers.
        self.env.forget_dead_readers();
        match (verdict, suspected) {
            (Verdict::Unknown(what), _) => self.rows_left_out(&what),
            (Verdict::Sound { bytes, note }, suspected) => {
                if let Some(note) = note {
                    tracing::info!("the state file was scrubbed in part: {note}");
                }
                if let Some(damage) = suspected {
                    tracing::warn!(%damage, "this was not found a second time");
                }
                self.around.metrics.scrubbed(bytes);
                self.end_pass()
            }
            (Verdict::Damaged(damage), None) => {
                tracing::warn!(%damage, "the state file is doubtful and is read again");
                self.begin_rows(Some(damage))
            }
            (Verdict::Damaged(damage), Some(_)) => self.found(damage),
        }
    }

    fn end_pass(&mut self) -> Turn {
        self.around.metrics.scrub_ended(self.whole);
        tracing::info!(whole = self.whole, "a scrub of the data has ended");
        self.whole = true;
        self.state = State::Rested;
        Turn::Wait(Some(self.options.interval))
    }
}

impl BackgroundLoop for Scrubber {
    fn name(&self) -> &'static str {
        "scrubber"
    }

    fn wakeup(&self) -> Wakeup {
        self.control.wakeup().clone()
    }

    fn turn(&mut self) -> Turn {
        let state = std::mem::replace(&mut self.state, State::Rested);
        if self.control.is_closed() || self.around.failure.get().is_some() {
            // A process that reads for it ends with the state.
            return Turn::Stop;
        }
        match state {
            State::Started => Turn::Wait(Some(self.options.first())),
            State::Rested => {
                self.state = State::Journal(JournalPass::begin(&self.journal));
                Turn::Again
            }
            State::Journal(pass) => self.journal(pass),
            State::Rows(reader, suspected) => self.rows(reader, suspected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pass_begins_within_the_interval_and_spread() {
        let first = |interval, spread| {
            ScrubOptions {
                interval: Duration::from_secs(interval),
                spread,
                ..ScrubOptions::default()
            }
            .first()
        };
        let day = 24 * 3_600;
        assert_eq!(first(day, 0), FIRST);
        assert_eq!(first(day, 1_800_001), FIRST + Duration::from_millis(1));
        assert!(first(day, u64::MAX) <= FIRST + SPREAD);
        assert!(first(1, u64::MAX) < Duration::from_secs(2));
        assert_eq!(first(0, 7), Duration::ZERO);
    }
}
