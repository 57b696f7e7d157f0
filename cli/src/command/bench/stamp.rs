//! The time in a payload, by the monotonic clock of this process.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

/// Bytes that a stamp takes at the head of a body.
pub const BYTES: usize = 32;

/// Writes and reads stamps of one run.
#[derive(Debug)]
pub struct Stamps {
    run: [u8; 16],
    origin: Instant,
}

impl Stamps {
    /// `origin` is not after the first stamp.
    pub fn new(origin: Instant) -> Self {
        Self {
            run: rand::random(),
            origin,
        }
    }

    /// A body of `size` bytes (at least [`BYTES`]) that says when it was due. What follows the
    /// stamp does not compress.
    pub fn body(&self, size: usize, due: Instant, filler: &[u8]) -> Bytes {
        let since = due.saturating_duration_since(self.origin);
        let mut body = BytesMut::with_capacity(size);
        body.extend_from_slice(&self.run);
        body.extend_from_slice(
            &u64::try_from(since.as_nanos())
                .unwrap_or(u64::MAX)
                .to_le_bytes(),
        );
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&filler[..size.saturating_sub(BYTES).min(filler.len())]);
        body.freeze()
    }

    /// When the message was due; `None` when it is not of this run.
    pub fn read(&self, body: &[u8]) -> Option<Instant> {
        let (run, rest) = body.split_first_chunk::<16>()?;
        let (nanos, _) = rest.split_first_chunk::<8>()?;
        let since = Duration::from_nanos(u64::from_le_bytes(*nanos));
        (*run == self.run).then(|| self.origin + since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_by_its_own_run_only() {
        let origin = Instant::now();
        let stamps = Stamps::new(origin);
        let due = origin + Duration::from_micros(1_234_567);
        let body = stamps.body(1_024, due, &[7; 1_024]);
        assert_eq!(body.len(), 1_024);
        assert_eq!(stamps.read(&body), Some(due));
        assert_eq!(Stamps::new(origin).read(&body), None);
        assert_eq!(stamps.read(&body[..20]), None);
    }
}
