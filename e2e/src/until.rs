//! Waiting for something to become true, with an error that says how far it came.
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Most looks are a run of kubectl, a tenth of a second of CPU time.
const PAUSE: Duration = Duration::from_secs(1);

/// What a look brought.
#[derive(Debug)]
pub enum Seen<T> {
    /// It is so.
    Done(T),
    /// Not yet; the text says what is so instead.
    Not(String),
}

impl<T> Seen<T> {
    /// Done with `value` where `is` holds, else not yet, because of `what`.
    pub fn when(is: bool, value: T, what: impl Into<String>) -> Self {
        if is {
            Self::Done(value)
        } else {
            Self::Not(what.into())
        }
    }
}

/// Looks until it is so. An error of `look` ends the wait, so it is for what cannot get better.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let seen = look()?;
        let now = match seen {
            Seen::Done(value) => return Ok(value),
            Seen::Not(now) => now,
        };
        if Instant::now() >= end {
            bail!(
                "{what}: not within {} s; at the end: {now}",
                limit.as_secs()
            );
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_again_until_it_is_so() {
        let mut looks = 0;
        let seen = until("three looks", Duration::from_secs(20), || {
            looks += 1;
            Ok(Seen::when(looks == 3, looks, "early"))
        });
        assert_eq!(seen.unwrap(), 3);
    }

    #[test]
    fn says_what_was_so_instead() {
        let seen: Result<()> = until("pods", Duration::ZERO, || {
            Ok(Seen::Not("2 of 3 pods".to_owned()))
        });
        let error = seen.unwrap_err().to_string();
        assert!(
            error.contains("pods: not within") && error.contains("2 of 3 pods"),
            "{error}"
        );
    }

    #[test]
    fn an_error_ends_the_wait() {
        let began = Instant::now();
        let seen: Result<()> = until("never", Duration::from_secs(20), || bail!("gone"));
        assert_eq!(seen.unwrap_err().to_string(), "gone");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
