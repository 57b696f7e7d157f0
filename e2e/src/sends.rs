//! How the sends of all producers went, from the line that each of them ends with.
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How the sends went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sends {
    /// Producers that came to their end.
    pub producers: usize,
    /// Acknowledged sends.
    pub acknowledged: u64,
    /// Sends that were given up.
    pub failed: u64,
    /// The longest from a call to its acknowledgement.
    pub slowest: Duration,
    /// Acknowledged sends by how often they were handed to a server.
    pub attempts: BTreeMap<u32, u64>,
}

impl Sends {
    /// Adds up the lines of producers; passes over others.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut sum = Self::default();
        for one in lines.into_iter().filter_map(Self::parse) {
            sum.producers += 1;
            sum.acknowledged += one.acknowledged;
            sum.failed += one.failed;
            sum.slowest = sum.slowest.max(one.slowest);
            for (attempts, count) in one.attempts {
                *sum.attempts.entry(attempts).or_default() += count;
            }
        }
        sum
    }

    /// `acknowledged=3386 failed=0 slowest=1.2s attempts=1:3380 2:6`
    fn parse(line: &str) -> Option<Self> {
        let (before, attempts) = line.split_once(" attempts=")?;
        let mut found = Self {
            producers: 1,
            ..Self::default()
        };
        for word in before.split(' ') {
            match word.split_once('=')? {
                ("acknowledged", count) => found.acknowledged = count.parse().ok()?,
                ("failed", count) => found.failed = count.parse().ok()?,
                ("slowest", time) => found.slowest = duration(time)?,
                _ => return None,
            }
        }
        for pair in attempts.split_whitespace() {
            let (attempts, count) = pair.split_once(':')?;
            found
                .attempts
                .insert(attempts.parse().ok()?, count.parse().ok()?);
        }
        Some(found)
    }
}

/// `85ms`, `2s` or `1.5s`; more than a minute fails every story.
fn duration(text: &str) -> Option<Duration> {
    if let Some(ms) = text.strip_suffix("ms") {
        return ms.parse().ok().map(Duration::from_millis);
    }
    let seconds = text.strip_suffix('s')?.parse().unwrap_or(f64::MAX);
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

impl fmt::Display for Sends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} producers: {} sends acknowledged, {} failed, slowest {:.1} s, by attempts:",
            self.producers,
            self.acknowledged,
            self.failed,
            self.slowest.as_secs_f64()
        )?;
        self.attempts
            .iter()
            .try_for_each(|(attempts, count)| write!(f, " {attempts}:{count}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_what_producers_said() {
        let sends = Sends::of([
            "sending to shop/orders",
            "acknowledged=10 failed=1 slowest=1.5s attempts=1:8 2:2",
            "acknowledged=5 failed=0 slowest=85ms attempts=1:5",
            "acked=7",
        ]);
        assert_eq!(
            (sends.producers, sends.acknowledged, sends.failed),
            (2, 15, 1)
        );
        assert_eq!(sends.slowest, Duration::from_millis(1_500));
        assert_eq!(sends.attempts, [(1, 13), (2, 2)].into());
    }

    #[test]
    fn minutes_count_as_slow_and_not_as_unread() {
        let sends = Sends::of(["acknowledged=1 failed=0 slowest=1m5s attempts=1:1"]);
        assert!(sends.slowest > Duration::from_mins(1));
    }
}
