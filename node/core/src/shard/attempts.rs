//! The deliveries of a message to a group that have failed. They are kept while the message lives
//! for the group, and go along with a dead letter.

use bytes::Bytes;

use super::group::{Look, View};
use super::id::PartitionId;
use super::machine::ShardMachine;
use super::op::MAX_ERROR_BYTES;
use super::partition::{Step, corrupt};
use crate::codec::{Decoded, Put, Reader};
use crate::kv::{Kv, KvError};

/// Attempts that are kept: the newest ones.
pub const MAX_ATTEMPTS: usize = 16;
/// Error text that is kept of an attempt when a newer one has a text, in bytes; the rest is cut.
pub const MAX_OLD_ERROR_BYTES: usize = 128;

/// How a delivery has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The consumer nacked it.
    Nacked,
    /// The consumer rejected it.
    Rejected,
    /// Its lease ran out.
    LeaseExpired,
    /// Its consumer's session was released.
    SessionReleased,
}

/// A delivery that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it was made, in ms since 1970.
    pub delivered_at: u64,
    /// When it failed, in ms since 1970.
    pub ended_at: u64,
    /// How.
    pub how: AttemptEnd,
    /// What the consumer said of it: up to [`MAX_ERROR_BYTES`], of an older one up to
    /// [`MAX_OLD_ERROR_BYTES`].
    pub error: Bytes,
}

/// The deliveries of a message to a group that have failed; by default none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempts {
    /// When the first of all was made, in ms since 1970; 0: there was none.
    pub first_delivered_at: u64,
    /// The newest ones, at most [`MAX_ATTEMPTS`]; the oldest of them first.
    pub newest: Vec<Attempt>,
}

const VERSION: u8 = 1;

impl Attempts {
    /// What a consumer said last, in the attempts that are kept.
    pub fn error(&self) -> Bytes {
        let mut texts = self.newest.iter().map(|attempt| &attempt.error);
        texts
            .rfind(|error| !error.is_empty())
            .cloned()
            .unwrap_or_default()
    }

    /// When the newest of them was made, in ms since 1970; 0: there was none.
    pub fn last_delivered_at(&self) -> u64 {
        self.newest.last().map_or(0, |last| last.delivered_at)
    }

    pub(crate) fn push(&mut self, attempt: Attempt) {
        if self.newest.is_empty() {
            self.first_delivered_at = attempt.delivered_at;
        }
        if !attempt.error.is_empty() {
            for old in &mut self.newest {
                old.error.truncate(MAX_OLD_ERROR_BYTES);
            }
        }
        if self.newest.len() == MAX_ATTEMPTS {
            self.newest.remove(0);
        }
        self.newest.push(attempt);
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.newest.len() as u64);
        if self.newest.is_empty() {
            return;
        }
        out.put_varint(self.first_delivered_at);
        for attempt in &self.newest {
            out.push(match attempt.how {
                AttemptEnd::Nacked => 0,
                AttemptEnd::Rejected => 1,
                AttemptEnd::LeaseExpired => 2,
                AttemptEnd::SessionReleased => 3,
            });
            let after = attempt.delivered_at - self.first_delivered_at;
            out.put_varint(after);
            out.put_varint(attempt.ended_at - attempt.delivered_at);
            out.put_prefixed(&attempt.error);
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let count = r.count(4, "number of attempts")?;
        if count == 0 {
            return Ok(Self::default());
        }
        let first = r.varint("time of first delivery")?;
        let read = |r: &mut Reader<'_>| {
            let how = match r.u8("end of attempt")? {
                0 => AttemptEnd::Nacked,
                1 => AttemptEnd::Rejected,
                2 => AttemptEnd::LeaseExpired,
                3 => AttemptEnd::SessionReleased,
                _ => return r.fail("end of attempt"),
            };
            let delivered_at = first.saturating_add(r.varint("time of delivery")?);
            let ended_at = delivered_at.saturating_add(r.varint("time of failure")?);
            let error = r.prefixed(MAX_ERROR_BYTES, "error text")?;
            Ok(Attempt {
                delivered_at,
                ended_at,
                how,
                error: Bytes::copy_from_slice(error),
            })
        };
        Ok(Self {
            first_delivered_at: first,
            newest: (0..count).map(|_| read(r)).collect::<Decoded<_>>()?,
        })
    }

    fn row(&self) -> Bytes {
        let mut out = vec![VERSION];
        self.encode(&mut out);
        out.into()
    }

    fn of_row(row: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(row);
        r.version(VERSION, "version of attempts")?;
        let attempts = Self::decode(&mut r)?;
        r.finish("end of attempts")?;
        Ok(attempts)
    }
}

impl ShardMachine {
    /// The failed deliveries of the message at a position to a group that has not settled it.
    pub fn attempts(
        &self,
        kv: &dyn Kv,
        (partition, group): (PartitionId, u32),
        position: u64,
    ) -> Result<Attempts, KvError> {
        let look = self.partition(partition).and_then(|p| p.look(group));
        look.map_or(Ok(Attempts::default()), |look| {
            look.attempts(kv, position, 1)
        })
    }
}

impl Look<'_> {
    /// The failed deliveries of a message, of which there are so many that counted.
    pub(crate) fn attempts(
        &self,
        kv: &dyn Kv,
        position: u64,
        failed: u32,
    ) -> Result<Attempts, KvError> {
        if failed == 0 {
            return Ok(Attempts::default());
        }
        let Some(row) = kv.get(&self.keys.attempts(position))? else {
            return Ok(Attempts::default());
        };
        Attempts::of_row(&row).map_err(|e| corrupt("attempts", self.id(), &e))
    }

    /// When the first and the last failed delivery of a message were made, ms.
    #[cold]
    pub(crate) fn times(&self, kv: &dyn Kv, position: u64) -> Result<(u64, u64), KvError> {
        let attempts = self.attempts(kv, position, 1)?;
        Ok((attempts.first_delivered_at, attempts.last_delivered_at()))
    }
}

impl View<'_> {
    /// Keeps one more failed delivery of a message; there were `failed` before it.
    pub(crate) fn keep_attempt(
        &mut self,
        step: &mut Step<'_>,
        (position, failed): (u64, u32),
        attempt: Attempt,
    ) -> Result<(), KvError> {
        let mut attempts = self.look().attempts(step.kv, position, failed)?;
        attempts.push(attempt);
        step.kv.put(&self.keys.attempts(position), attempts.row());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(n: u64, error: &[u8]) -> Attempt {
        Attempt {
            delivered_at: 1_000 + n,
            ended_at: 1_005 + n,
            how: AttemptEnd::Nacked,
            error: Bytes::copy_from_slice(error),
        }
    }

    #[test]
    fn the_newest_16_are_kept_with_the_time_of_the_first() {
        let mut attempts = Attempts::default();
        for n in 0..20 {
            attempts.push(attempt(n, b""));
        }
        assert_eq!(attempts.newest.len(), MAX_ATTEMPTS);
        assert_eq!(attempts.newest[0], attempt(4, b""));
        assert_eq!(attempts.first_delivered_at, 1_000);
        assert_eq!(attempts.last_delivered_at(), 1_019);
    }

    #[test]
    fn only_the_newest_text_is_kept_as_a_whole() {
        let long = vec![b'x'; MAX_ERROR_BYTES];
        let mut attempts = Attempts::default();
        attempts.push(attempt(0, &long));
        attempts.push(attempt(1, b""));
        assert_eq!(attempts.error(), long);
        attempts.push(attempt(2, b"new"));
        assert_eq!(attempts.error(), "new");
        let lens: Vec<_> = attempts.newest.iter().map(|a| a.error.len()).collect();
        assert_eq!(lens, [MAX_OLD_ERROR_BYTES, 0, 3]);
        assert_eq!(Attempts::default().error(), "");
    }

    #[test]
    fn rows_come_back_and_their_bytes_are_frozen() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.row(), &[1, 0][..]);
        attempts.push(attempt(0, b"no"));
        attempts.push(Attempt {
            how: AttemptEnd::SessionReleased,
            ..attempt(300, b"")
        });
        let expected = [1, 2, 0xe8, 7, 0, 0, 5, 2, b'n', b'o', 3, 0xac, 2, 5, 0];
        assert_eq!(attempts.row(), &expected[..]);
        assert_eq!(Attempts::of_row(&expected), Ok(attempts));
        assert!(Attempts::of_row(&expected[..9]).is_err());
        assert!(Attempts::of_row(&[1, 1, 0, 4, 0, 0, 0]).is_err());
    }
}
