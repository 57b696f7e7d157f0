//! Rows of what is leased and of what came back.

use super::header::{unzigzag, zigzag};
use super::id::SessionId;
use crate::codec::{Decoded, Put, Reader};

/// One delivery batch: messages leased together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) session: Option<SessionId>,
    /// When it was made, ms.
    pub(crate) at: u64,
    /// The due time under which its timer is filed: never later than its earliest deadline.
    pub(crate) timer: u64,
    pub(crate) slots: Vec<Slot>,
    /// Slots that are still leased.
    pub(crate) live: u32,
}

/// One message of a delivery batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) position: u64,
    /// ms.
    pub(crate) deadline: u64,
    /// This one included.
    pub(crate) delivery_count: u32,
    /// Still leased.
    pub(crate) live: bool,
}

const VERSION: u8 = 1;
const LIVE: u8 = 1;
const HAS_OWN_DEADLINE: u8 = 2;

impl Delivered {
    /// The earliest deadline of what is still leased.
    pub(crate) fn earliest(&self) -> Option<u64> {
        self.slots
            .iter()
            .filter(|slot| slot.live)
            .map(|slot| slot.deadline)
            .min()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + 4 * self.slots.len());
        out.push(VERSION);
        out.put_u128(self.session.map_or(0, |s| s.0));
        out.put_varint(self.at);
        out.put_varint(self.timer);
        let common = self
            .slots
            .iter()
            .find(|slot| slot.live)
            .map_or(0, |slot| slot.deadline);
        out.put_varint(common);
        let mut position = 0;
        for slot in &self.slots {
            if !slot.live {
                out.push(0);
                continue;
            }
            let own = if slot.deadline == common {
                0
            } else {
                HAS_OWN_DEADLINE
            };
            out.push(LIVE | own);
            out.put_varint(zigzag(slot.position, position));
            out.put_varint(u64::from(slot.delivery_count));
            if own != 0 {
                out.put_varint(slot.deadline);
            }
            position = slot.position;
        }
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of delivery")?;
        let session = Some(SessionId(r.u128("session")?)).filter(|session| session.0 != 0);
        let at = r.varint("time of delivery")?;
        let timer = r.varint("timer of delivery")?;
        let common = r.varint("deadline")?;
        let mut slots = Vec::with_capacity(r.remaining().min(1_000));
        let (mut position, mut live) = (0_u64, 0);
        while !r.is_empty() {
            let flags = r.u8("slot flags")?;
            if flags == 0 {
                slots.push(Slot::gone());
                continue;
            }
            if flags & !(LIVE | HAS_OWN_DEADLINE) != 0 {
                return r.fail("slot flags");
            }
            position = unzigzag(r.varint("position")?, position);
            let delivery_count = r.varint_u32("delivery count")?;
            let own = flags & HAS_OWN_DEADLINE != 0;
            let deadline = if own { r.varint("deadline")? } else { common };
            slots.push(Slot {
                position,
                deadline,
                delivery_count,
                live: true,
            });
            live += 1;
        }
        Ok(Self {
            session,
            at,
            timer,
            slots,
            live,
        })
    }
}

impl Slot {
    fn gone() -> Self {
        Self {
            position: 0,
            deadline: 0,
            delivery_count: 0,
            live: false,
        }
    }
}

/// A message that came back: after a nack, a lease that ended, or (count 0) because it fell to
/// the head of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Returned {
    /// Not receivable before, ms. Only of one that is backing off.
    pub(crate) due: u64,
    /// Deliveries so far that count; all of them have failed, and stand in its `e` row.
    pub(crate) delivery_count: u32,
}

impl Returned {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_varint(u64::from(self.delivery_count));
        out.put_varint(self.due);
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of returned message")?;
        let delivery_count = r.varint_u32("delivery count")?;
        let due = r.varint("due time")?;
        r.finish("end of returned message")?;
        Ok(Self {
            due,
            delivery_count,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot() -> impl Strategy<Value = Slot> {
        let live = (any::<u64>(), 0_u64..3, any::<u32>()).prop_map(
            |(position, deadline, delivery_count)| Slot {
                position,
                deadline,
                delivery_count,
                live: true,
            },
        );
        prop_oneof![live, Just(Slot::gone())]
    }

    proptest! {
        #[test]
        fn a_delivery_comes_back(
            slots in proptest::collection::vec(slot(), 0..80), session: u128, times: (u64, u64),
        ) {
            let session = Some(SessionId(session)).filter(|s| s.0 != 0);
            let live = slots.iter().filter(|slot| slot.live).count() as u32;
            let (at, timer) = times;
            let delivery = Delivered { session, at, timer, slots, live };
            prop_assert_eq!(Delivered::decode(&delivery.encode()).unwrap(), delivery);
        }

        #[test]
        fn a_returned_message_comes_back(due: u64, delivery_count: u32) {
            let returned = Returned { due, delivery_count };
            prop_assert_eq!(Returned::decode(&returned.encode()).unwrap(), returned);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Delivered::decode(&bytes);
            let _ = Returned::decode(&bytes);
        }
    }

    #[test]
    fn the_bytes_are_frozen() {
        let slot = Slot {
            position: 5,
            deadline: 9,
            delivery_count: 1,
            live: true,
        };
        let late = Slot {
            position: 8,
            deadline: 300,
            ..slot
        };
        let delivery = Delivered {
            session: Some(SessionId(1)),
            at: 4,
            timer: 9,
            slots: vec![slot, Slot::gone(), late],
            live: 2,
        };
        let mut expected = vec![1];
        expected.extend([0; 15]);
        expected.extend([1, 4, 9, 9, 1, 10, 1, 0, 3, 6, 1, 0xac, 2]);
        assert_eq!(delivery.encode(), expected);
        let returned = Returned {
            due: 300,
            delivery_count: 2,
        };
        assert_eq!(returned.encode(), [1, 2, 0xac, 2]);
    }
}
