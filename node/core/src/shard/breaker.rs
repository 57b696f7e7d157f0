//! The circuit breaker of a group: how its deliveries end, and whether it gets any.
//!
//! It is closed to begin with, and counts outcomes in windows that follow one another: the first
//! outcome after the end of one begins the next. When too many of a window are failures it opens,
//! and the group gets no deliveries. When that time is over a tick makes it half-open: one message
//! is delivered while none is in flight, and the next outcome closes it or opens it again.

use super::circuit_breaker::CircuitBreaker;
use super::group::{Look, View};
use super::keys::GroupKeys;
use super::partition::{Step, corrupt};
use super::reply::EventKind;
use super::stats::BreakerState;
use super::timer::Timer;
use crate::codec::{Decoded, Put, Reader};
use crate::kv::{Kv, KvError};

/// How a delivery has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was acked.
    Success,
    /// It was nacked or rejected, or its lease ended without either.
    Failure,
}

/// Where a breaker is, with what it has counted. One without a row is closed and has counted
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breaker {
    Closed(Window),
    /// Until this time, ms; its timer is filed then.
    Open(u64),
    HalfOpen,
}

/// Outcomes that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Window {
    /// When the first of them was, ms.
    begun: u64,
    outcomes: u64,
    failures: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed(Window::default())
    }
}

const VERSION: u8 = 1;
const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const HALF_OPEN: u8 = 2;

impl Breaker {
    fn encode(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Closed(window) => {
                out.push(CLOSED);
                for number in [window.begun, window.outcomes, window.failures] {
                    out.put_varint(number);
                }
            }
            Self::Open(until) => {
                out.push(OPEN);
                out.put_varint(until);
            }
            Self::HalfOpen => out.push(HALF_OPEN),
        }
        out
    }

    fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of circuit breaker")?;
        let breaker = match r.u8("state of circuit breaker")? {
            CLOSED => Self::Closed(Window {
                begun: r.varint("begin of window")?,
                outcomes: r.varint("outcomes of window")?,
                failures: r.varint("failures of window")?,
            }),
            OPEN => Self::Open(r.varint("open time")?),
            HALF_OPEN => Self::HalfOpen,
            _ => return r.fail("state of circuit breaker"),
        };
        r.finish("end of circuit breaker")?;
        Ok(breaker)
    }

    /// The breaker that its row holds.
    pub(crate) fn open(kv: &dyn Kv, keys: GroupKeys) -> Result<Self, KvError> {
        let Some(row) = kv.get(&keys.breaker())? else {
            return Ok(Self::default());
        };
        Self::decode(&row).map_err(|e| corrupt("circuit breaker", keys.0, &e))
    }

    pub(crate) fn write(self, kv: &mut dyn Kv, keys: GroupKeys) {
        if self == Self::default() {
            kv.delete(&keys.breaker());
        } else {
            kv.put(&keys.breaker(), self.encode().into());
        }
    }

    /// What follows an outcome at `now`, in ms.
    fn after(self, outcome: Outcome, setting: &CircuitBreaker, now: u64) -> Self {
        let failed = outcome == Outcome::Failure;
        let opened = Self::Open(now.saturating_add(setting.open_ms));
        match self {
            Self::Open(until) if until > now => self,
            Self::Open(_) | Self::HalfOpen if failed => opened,
            Self::Open(_) | Self::HalfOpen => Self::default(),
            Self::Closed(window) => {
                let window = window.with(failed, setting, now);
                if window.is_too_bad(setting) {
                    opened
                } else {
                    Self::Closed(window)
                }
            }
        }
    }
}

impl Window {
    fn with(self, failed: bool, setting: &CircuitBreaker, now: u64) -> Self {
        let is_over = now >= self.begun.saturating_add(setting.window_ms);
        let of = if self.outcomes == 0 || is_over {
            Self {
                begun: now,
                ..Self::default()
            }
        } else {
            self
        };
        Self {
            outcomes: of.outcomes + 1,
            failures: of.failures + u64::from(failed),
            ..of
        }
    }

    fn is_too_bad(self, setting: &CircuitBreaker) -> bool {
        let least = u64::from(setting.error_percent).saturating_mul(self.outcomes);
        self.outcomes >= u64::from(setting.min_deliveries) && self.failures * 100 >= least
    }
}

impl View<'_> {
    /// The delivery of a message that is not gone yet has ended.
    #[inline]
    pub(crate) fn note_outcome(
        &mut self,
        step: &mut Step<'_>,
        position: u64,
        outcome: Outcome,
    ) -> Result<(), KvError> {
        match self.setting.breaker {
            None => Ok(()),
            Some(setting) => self.count_outcome(step, (position, outcome), &setting),
        }
    }

    #[cold]
    fn count_outcome(
        &mut self,
        step: &mut Step<'_>,
        (position, outcome): (u64, Outcome),
        setting: &CircuitBreaker,
    ) -> Result<(), KvError> {
        let before = *self.breaker;
        let after = before.after(outcome, setting, step.now);
        *self.breaker = after;
        if before == after {
            return Ok(());
        }
        let timer = Timer::Breaker(self.keys.group);
        if let Breaker::Open(until) = before {
            self.unfile(step.kv, until, timer);
        }
        let kind = match after {
            Breaker::Open(until) => {
                self.file(step.kv, until, timer);
                EventKind::BreakerOpened { until }
            }
            _ if matches!(before, Breaker::Closed(_)) => return Ok(()),
            _ => EventKind::BreakerClosed,
        };
        let header = self.header(step.kv, position)?;
        self.event(step, header.id(self.id()), kind);
        Ok(())
    }

    /// The time that the breaker was to stay open may be over.
    pub(crate) fn try_one(&mut self, now: u64) {
        if matches!(*self.breaker, Breaker::Open(until) if until <= now) {
            *self.breaker = Breaker::HalfOpen;
        }
    }

    /// Begins anew, closed: the breaker was changed or taken away, or the group goes.
    pub(crate) fn reset_breaker(&mut self, kv: &mut dyn Kv) {
        if let Breaker::Open(until) = *self.breaker {
            self.unfile(kv, until, Timer::Breaker(self.keys.group));
        }
        *self.breaker = Breaker::default();
        self.breaker.write(kv, self.keys);
    }
}

impl Look<'_> {
    pub(crate) fn breaker_state(&self) -> BreakerState {
        match *self.breaker {
            Breaker::Closed(_) => BreakerState::Closed,
            Breaker::Open(until) => BreakerState::Open { until },
            Breaker::HalfOpen => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: CircuitBreaker = CircuitBreaker {
        error_percent: 50,
        min_deliveries: 4,
        window_ms: 100,
        open_ms: 1_000,
    };

    fn run(outcomes: &str, times: &[u64]) -> Breaker {
        let outcomes = outcomes.chars().zip(times.iter().cycle());
        outcomes.fold(Breaker::default(), |breaker, (c, now)| {
            let outcome = match c {
                '+' => Outcome::Success,
                _ => Outcome::Failure,
            };
            breaker.after(outcome, &SETTING, *now)
        })
    }

    fn closed(begun: u64, outcomes: u64, failures: u64) -> Breaker {
        Breaker::Closed(Window {
            begun,
            outcomes,
            failures,
        })
    }

    #[test]
    fn it_opens_when_enough_outcomes_of_a_window_are_failures() {
        assert_eq!(run("---", &[7]), closed(7, 3, 3));
        assert_eq!(run("----", &[7]), Breaker::Open(1_007));
        assert_eq!(run("+-+-", &[7]), Breaker::Open(1_007));
        assert_eq!(run("-+++", &[7]), closed(7, 4, 1));
        assert_eq!(run("+++--", &[7]), closed(7, 5, 2));
        // A success may be the outcome that makes them enough.
        assert_eq!(run("---+", &[7]), Breaker::Open(1_007));
    }

    #[test]
    fn windows_do_not_overlap() {
        assert_eq!(run("----", &[0, 50, 99, 100]), closed(100, 1, 1));
        assert_eq!(run("----", &[0, 50, 99, 99]), Breaker::Open(1_099));
        assert_eq!(run("+++-", &[0, 99, 100, 199]), closed(100, 2, 1));
    }

    #[test]
    fn while_it_is_open_nothing_counts_and_then_one_outcome_decides() {
        let open = Breaker::Open(500);
        for outcome in [Outcome::Success, Outcome::Failure] {
            assert_eq!(open.after(outcome, &SETTING, 499), open);
        }
        for waits in [open, Breaker::HalfOpen] {
            let closed = waits.after(Outcome::Success, &SETTING, 500);
            assert_eq!(closed, Breaker::default());
            let again = waits.after(Outcome::Failure, &SETTING, 500);
            assert_eq!(again, Breaker::Open(1_500));
        }
    }

    #[test]
    fn rows_come_back_and_their_bytes_are_frozen() {
        let rows: [(Breaker, &[u8]); 3] = [
            (closed(300, 2, 1), &[1, 0, 0xac, 2, 2, 1]),
            (Breaker::Open(300), &[1, 1, 0xac, 2]),
            (Breaker::HalfOpen, &[1, 2]),
        ];
        for (breaker, bytes) in rows {
            assert_eq!(breaker.encode(), bytes);
            assert_eq!(Breaker::decode(bytes), Ok(breaker));
        }
        assert!(Breaker::decode(&[1, 3]).is_err());
        assert!(Breaker::decode(&[1, 2, 0]).is_err());
    }
}
