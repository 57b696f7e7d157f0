//! Streams: which messages of the line go by themselves, because of their priority, their tenant or
//! the slot of their key.

use super::sticky::KEY_SLOTS;

/// The highest priority. 0 is the lowest, and what a message has that does not say.
pub const MAX_PRIORITY: u8 = 9;

/// A lane and a tenant, or the slot of a key: all messages of a stream have both in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Stream(u32);

const TENANT_BITS: u32 = 24;
const OTHERS: u32 = (1 << TENANT_BITS) - 1;

impl Stream {
    /// The lowest lane, and no tenant.
    pub(crate) const BASE: Self = Self(0);

    /// Of a lane (0..=9) and a tenant's hash (0: none).
    pub(crate) fn new(lane: u8, tenant: u64) -> Self {
        let tenant = match tenant {
            0 => 0,
            // Two of a thousand tenants share a stream in 3 of 100 queues; then they share turns.
            hash => (hash % u64::from(OTHERS - 1)) as u32 + 1,
        };
        Self(u32::from(lane) << TENANT_BITS | tenant)
    }

    /// Of a lane (0..=9) and the slot of a key (0..64), where keys are sticky.
    pub(crate) fn of_slot(lane: u8, slot: u8) -> Self {
        Self(u32::from(lane) << TENANT_BITS | (u32::from(slot) + 1))
    }

    /// The slot of its keys, where these are sticky.
    pub(crate) fn key_slot(self) -> Option<u8> {
        let slot = (self.0 & OTHERS).checked_sub(1)?;
        u8::try_from(slot)
            .ok()
            .filter(|slot| usize::from(*slot) < KEY_SLOTS)
    }

    /// The stream that a number in a row names.
    pub(crate) fn of(number: u32) -> Self {
        Self(number)
    }

    /// As it stands in rows; rises with the lane.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    pub(crate) fn lane(self) -> u8 {
        (self.0 >> TENANT_BITS) as u8
    }

    /// The same lane, for all tenants beyond those that are told apart.
    pub(crate) fn others(self) -> Self {
        Self(self.0 | OTHERS)
    }

    /// Whether it is a lane without tenants.
    pub(crate) fn has_no_tenant(self) -> bool {
        self.0 & OTHERS == 0
    }

    /// The first and the last stream of a lane.
    pub(crate) fn of_lane(lane: u8) -> (Self, Self) {
        let first = Self::new(lane, 0);
        (first, first.others())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_rise_with_lanes_and_tell_tenants_apart() {
        assert_eq!(Stream::new(0, 0), Stream::BASE);
        let (one, other) = (Stream::new(3, 7), Stream::new(3, 8));
        assert!(Stream::new(2, u64::MAX) < one && one < other);
        assert!(other < one.others() && one.others() < Stream::new(4, 0));
        assert_eq!((one.lane(), one.others().lane()), (3, 3));
        assert_eq!(one.number(), 3 << 24 | 8);
        assert_eq!(Stream::of(one.number()), one);
        let (first, last) = Stream::of_lane(3);
        assert_eq!((first, last), (Stream::new(3, 0), one.others()));
        assert!(first.has_no_tenant() && !one.has_no_tenant());
        for slot in 0..KEY_SLOTS as u8 {
            let stream = Stream::of_slot(3, slot);
            assert!(first < stream && stream < last && !stream.has_no_tenant());
            assert_eq!((stream.lane(), stream.key_slot()), (3, Some(slot)));
        }
        assert_eq!((first.key_slot(), last.key_slot()), (None, None));
        for hash in [1, 0xff_fffd, 0xff_fffe, 0xff_ffff, u64::MAX] {
            let stream = Stream::new(9, hash);
            assert!(first < stream && stream < stream.others(), "{hash}");
        }
    }
}
