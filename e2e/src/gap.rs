//! The longest time in which no send to a partition was acknowledged.
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// When sends to each partition were acknowledged, in microseconds since 1970, as their producers
/// wrote it down. A producer writes in the order of its sends, so one that waits for a partition is
/// late with others too: a gap is never shorter here than it was.
#[derive(Debug, Default)]
pub struct Acknowledged(BTreeMap<String, Vec<u64>>);

/// A time without an acknowledged send.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// In seconds.
    pub seconds: f64,
    /// QUEUE-PARTITION, as in the ids of messages.
    pub partition: String,
}

impl Acknowledged {
    /// Takes in that the message with this id was acknowledged.
    pub fn enter(&mut self, id: &str, at_us: u64) {
        let partition = id.rsplit_once('-').map_or(id, |(partition, _)| partition);
        match self.0.get_mut(partition) {
            Some(times) => times.push(at_us),
            None => drop(self.0.insert(partition.to_owned(), vec![at_us])),
        }
    }

    /// When the first message was acknowledged.
    pub fn first(&self) -> Option<Timestamp> {
        let first = self.0.values().flatten().min().copied()?;
        Timestamp::from_microsecond(i64::try_from(first).ok()?).ok()
    }

    /// The longest gap of each partition, the longest first.
    pub fn gaps(&self) -> Vec<Gap> {
        let longest = |(partition, times): (&String, &Vec<u64>)| {
            let mut times = times.clone();
            times.sort_unstable();
            let gaps = times.windows(2).map(|two| two[1] - two[0]);
            Gap {
                seconds: Duration::from_micros(gaps.max().unwrap_or(0)).as_secs_f64(),
                partition: partition.clone(),
            }
        };
        let mut gaps: Vec<_> = self.0.iter().map(longest).collect();
        gaps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        gaps
    }

    /// One line: the longest gap, and the middle one of all partitions.
    pub fn summary(&self) -> String {
        let gaps = self.gaps();
        let (Some(longest), Some(middle)) = (gaps.first(), gaps.get(gaps.len() / 2)) else {
            return "nothing was acknowledged".to_owned();
        };
        format!(
            "longest time without an acknowledged send: {:.1} s in partition {}; median of {} \
             partitions {:.1} s",
            longest.seconds,
            longest.partition,
            gaps.len(),
            middle.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_longest_gap_of_each_partition_in_any_order() {
        let mut acknowledged = Acknowledged::default();
        for (id, at) in [("7-0-1", 0), ("7-0-3", 9), ("7-0-2", 2), ("7-1-1", 5)] {
            acknowledged.enter(id, at * 1_000_000);
        }
        let gaps = acknowledged.gaps();
        assert_eq!(gaps[0].partition, "7-0");
        assert!((gaps[0].seconds - 7.0).abs() < 0.001);
        assert!(gaps[1].seconds < 0.001);
        assert_eq!(acknowledged.first(), Some(Timestamp::UNIX_EPOCH));
        assert!(acknowledged.summary().contains("7.0 s in partition 7-0"));
    }
}
