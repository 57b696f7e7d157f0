//! How long a message waits after a delivery that failed.

use super::id::key_hash;
use crate::codec::{Decoded, Put, Reader};

/// How the wait grows from failure to failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Growth {
    /// It stays.
    Fixed,
    /// By the initial wait each time.
    Linear,
    /// It doubles.
    #[default]
    Exponential,
}

impl Growth {
    fn code(self) -> u8 {
        match self {
            Self::Fixed => 1,
            Self::Linear => 2,
            Self::Exponential => 3,
        }
    }
}

/// A schedule of retries. It is the same on every replica: what is random in it comes from the
/// message's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// How the wait grows.
    pub growth: Growth,
    /// Wait after the first failure in ms.
    pub initial_ms: u64,
    /// Longest wait in ms.
    pub max_ms: u64,
    /// A wait is shorter by up to this share, so that what failed together does not come back
    /// together: 0..=100 percent.
    pub jitter_percent: u8,
}

impl Backoff {
    /// The wait after the `failures`th failed delivery of a message, in ms.
    pub fn wait(&self, failures: u32, sequence: u64) -> u64 {
        let failures = u64::from(failures.max(1));
        let wait = match self.growth {
            Growth::Fixed => self.initial_ms,
            Growth::Linear => self.initial_ms.saturating_mul(failures),
            // More than 63 doublings are beyond any longest wait.
            Growth::Exponential => self.initial_ms.saturating_mul(1 << (failures - 1).min(63)),
        };
        let wait = wait.min(self.max_ms);
        let seed = [sequence.to_be_bytes(), failures.to_be_bytes()].concat();
        let permille = key_hash(&seed) % 1_001;
        let most = wait.saturating_mul(u64::from(self.jitter_percent.min(100))) / 100;
        wait - most.saturating_mul(permille) / 1_000
    }

    /// Writes a schedule or that there is none.
    pub(crate) fn encode(backoff: Option<&Self>, out: &mut Vec<u8>) {
        let Some(backoff) = backoff else {
            return out.push(0);
        };
        out.push(backoff.growth.code());
        out.put_varint(backoff.initial_ms);
        out.put_varint(backoff.max_ms);
        out.push(backoff.jitter_percent);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Option<Self>> {
        let growth = match r.u8("growth of backoff")? {
            0 => return Ok(None),
            1 => Growth::Fixed,
            2 => Growth::Linear,
            3 => Growth::Exponential,
            _ => return r.fail("growth of backoff"),
        };
        Ok(Some(Self {
            growth,
            initial_ms: r.varint("initial backoff")?,
            max_ms: r.varint("longest backoff")?,
            jitter_percent: r.u8("jitter of backoff")?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(growth: Growth, jitter_percent: u8) -> Vec<u64> {
        let backoff = Backoff {
            growth,
            initial_ms: 1_000,
            max_ms: 5_000,
            jitter_percent,
        };
        let failures = [1, 2, 3, 4, 5, 1_000, u32::MAX];
        failures.map(|n| backoff.wait(n, 7)).to_vec()
    }

    #[test]
    fn it_grows_as_it_says_up_to_its_longest() {
        assert_eq!(waits(Growth::Fixed, 0), [1_000; 7]);
        let linear = [1_000, 2_000, 3_000, 4_000, 5_000, 5_000, 5_000];
        assert_eq!(waits(Growth::Linear, 0), linear);
        let doubling = [1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000];
        assert_eq!(waits(Growth::Exponential, 0), doubling);
    }

    #[test]
    fn jitter_shortens_spreads_and_is_the_same_each_time() {
        let backoff = Backoff {
            growth: Growth::Fixed,
            initial_ms: 1_000,
            max_ms: 1_000,
            jitter_percent: 20,
        };
        let waits: Vec<u64> = (0..1_000)
            .map(|sequence| backoff.wait(1, sequence))
            .collect();
        assert!(waits.iter().all(|wait| (800..=1_000).contains(wait)));
        let early = waits.iter().filter(|wait| **wait < 900).count();
        assert!((400..600).contains(&early), "{early} of 1000");
        assert_eq!(waits[5], backoff.wait(1, 5));
        assert_ne!(backoff.wait(1, 5), backoff.wait(2, 5));
        let longest = Backoff {
            initial_ms: u64::MAX,
            max_ms: u64::MAX,
            jitter_percent: 100,
            ..backoff
        };
        assert!(longest.wait(9, 9) < u64::MAX);
    }

    #[test]
    fn its_bytes_are_frozen() {
        let backoff = Backoff {
            growth: Growth::Linear,
            initial_ms: 300,
            max_ms: 400,
            jitter_percent: 10,
        };
        let mut bytes = Vec::new();
        Backoff::encode(Some(&backoff), &mut bytes);
        Backoff::encode(None, &mut bytes);
        assert_eq!(bytes, [2, 0xac, 2, 0x90, 3, 10, 0]);
        let mut r = Reader::new(&bytes);
        assert_eq!(Backoff::decode(&mut r), Ok(Some(backoff)));
        assert_eq!(Backoff::decode(&mut r), Ok(None));
        assert!(Backoff::decode(&mut Reader::new(&[4])).is_err());
    }
}
