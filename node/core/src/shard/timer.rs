//! What a partition must do when time has come, and the rows that remember it.

use super::keys::Keys;
use crate::codec::{Decoded, Reader};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Look whether leases of this group's delivery have run out.
    Lease(u32, u64),
    /// The message at this position has backed off long enough for this group.
    BackOff(u32, u64),
    /// Expire messages from the expiry cursor on.
    ExpiryCursor,
    /// Expire the message at this position, which the expiry cursor has passed.
    Expiry(u64),
    /// Expire what is over from this position on: a group has begun with it.
    Overdue(u64),
    /// The message at this position, which keeps its key's order, is due.
    Due(u64),
    /// Look which retained messages of this block have been retained long enough.
    Retained(u64),
    /// Look at all blocks from this one on, because that time has changed.
    Retention(u64),
    /// The circuit breaker of this group has been open long enough.
    Breaker(u32),
}

// Frozen: these bytes are in keys. Group (4; 0: of the partition) and stream (4) follow, then the
// number (8).
const LEASE: u8 = b'l';
const BACK_OFF: u8 = b'w';
const EXPIRY_CURSOR: u8 = b'e';
const EXPIRY: u8 = b'x';
const OVERDUE: u8 = b'o';
const DUE: u8 = b'd';
const RETAINED: u8 = b'r';
const RETENTION: u8 = b'a';
const BREAKER: u8 = b'b';

impl Timer {
    /// The end of the timer's key.
    pub(crate) fn encode(self) -> ([u8; 17], usize) {
        let (kind, group, number) = match self {
            Self::Lease(group, delivery) => (LEASE, group, delivery),
            Self::BackOff(group, position) => (BACK_OFF, group, position),
            Self::ExpiryCursor => (EXPIRY_CURSOR, 0, 0),
            Self::Expiry(position) => (EXPIRY, 0, position),
            Self::Overdue(position) => (OVERDUE, 0, position),
            Self::Due(position) => (DUE, 0, position),
            Self::Retained(block) => (RETAINED, 0, block),
            Self::Retention(block) => (RETENTION, 0, block),
            Self::Breaker(group) => (BREAKER, group, 0),
        };
        let mut out = [0; 17];
        out[0] = kind;
        out[1..5].copy_from_slice(&group.to_be_bytes());
        out[9..].copy_from_slice(&number.to_be_bytes());
        (out, 17)
    }

    /// Reads what follows the due time in a timer's key.
    pub(crate) fn decode(rest: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(rest);
        let kind = r.u8("kind of timer")?;
        let group = r.bytes(4, "group of timer")?;
        let group = group.iter().fold(0, |n, b| n << 8 | u32::from(*b));
        r.bytes(4, "stream of timer")?;
        let number = r.u64("number of timer")?;
        r.finish("end of timer")?;
        Ok(match kind {
            LEASE => Self::Lease(group, number),
            BACK_OFF => Self::BackOff(group, number),
            EXPIRY_CURSOR => Self::ExpiryCursor,
            EXPIRY => Self::Expiry(number),
            OVERDUE => Self::Overdue(number),
            DUE => Self::Due(number),
            RETAINED => Self::Retained(number),
            RETENTION => Self::Retention(number),
            BREAKER => Self::Breaker(group),
            _ => return r.fail("kind of timer"),
        })
    }

    /// The key under which it is filed.
    pub(crate) fn key(self, keys: Keys, due: u64) -> super::keys::Key {
        let (bytes, len) = self.encode();
        keys.timer(due, &bytes[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::PartitionId;

    #[test]
    fn timers_come_back_and_their_keys_are_frozen() {
        let keys = Keys(PartitionId {
            queue: 1,
            partition: 2,
        });
        for timer in [
            Timer::Lease(0, 7),
            Timer::Lease(u32::MAX, 7),
            Timer::BackOff(0x0203, 8),
            Timer::ExpiryCursor,
            Timer::Expiry(u64::MAX),
            Timer::Due(9),
            Timer::Overdue(12),
            Timer::Retained(10),
            Timer::Retention(11),
            Timer::Breaker(13),
        ] {
            let key = timer.key(keys, 99);
            assert_eq!(Timer::decode(&Keys::split(&key).unwrap().1[8..]), Ok(timer));
        }
        let mut expected = vec![0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, b't'];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 99, b'l', 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(*Timer::Lease(0, 7).key(keys, 99), expected);
        expected[26] = 9;
        assert_eq!(*Timer::Lease(9, 7).key(keys, 99), expected);
        assert!(Timer::decode(&[b'z'; 17]).is_err());
    }
}
