//! Payloads that have a row of their own, because no position finds them or not only one does.

use super::header::{BLOCK, Header};
use super::id::PayloadRef;
use super::keys;
use super::partition::{Shared, Step};
use super::place::Removed;
use crate::codec::{Decoded, Put, Reader};
use crate::kv::{Kv, KvError};

const VERSION: u8 = 1;

impl Shared {
    /// A row names a payload that none named before.
    pub(crate) fn hold(step: &mut Step<'_>, payload: PayloadRef) {
        step.kv
            .put(&keys::loose(payload), encode(payload, 1).into());
    }

    /// A message is gone: its payload is freed if nothing else names it.
    pub(crate) fn free(step: &mut Step<'_>, header: &Header) -> Result<(), KvError> {
        if header.loose {
            return Self::release(step, header.payload);
        }
        step.freed.push(header.payload);
        Ok(())
    }

    /// A row less names a payload that has a row of its own: it is freed with the last one.
    pub(crate) fn release(step: &mut Step<'_>, payload: PayloadRef) -> Result<(), KvError> {
        let key = keys::loose(payload);
        match names(step.kv, payload)? {
            0 | 1 => {
                step.kv.delete(&key);
                step.freed.push(payload);
            }
            more => step.kv.put(&key, encode(payload, more - 1).into()),
        }
        Ok(())
    }

    /// An outbox names the payload of a message that was removed.
    pub(crate) fn hold_for_outbox(
        &mut self,
        step: &mut Step<'_>,
        removed: &Removed,
    ) -> Result<(), KvError> {
        let payload = removed.header.payload;
        let row = keys::loose(payload);
        match (removed.gone, removed.header.loose) {
            // Its position named it until now.
            (true, true) => {}
            (true, false) => Shared::hold(step, payload),
            (false, true) => {
                let names = names(step.kv, payload)?;
                step.kv.put(&row, encode(payload, names + 1).into());
            }
            (false, false) => {
                let (number, place) = (removed.position / BLOCK, removed.position % BLOCK);
                self.make_side(step.kv, number)?;
                if let Some(block) = self.block(step.kv, number)?
                    && let Some(side) = &mut block.side
                {
                    side.held |= 1 << place;
                    block.side_dirty = true;
                }
                step.kv.put(&row, encode(payload, 2).into());
            }
        }
        Ok(())
    }
}

/// How many rows name a payload that has a row of its own.
fn names(kv: &dyn Kv, payload: PayloadRef) -> Result<u64, KvError> {
    let Some(row) = kv.get(&keys::loose(payload))? else {
        return Ok(0);
    };
    let (_, names) = decode(&row).map_err(|e| KvError(format!("row of a payload: {e}")))?;
    Ok(names)
}

fn encode(payload: PayloadRef, names: u64) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_varint(u64::from(payload.len));
    if names != 1 {
        out.put_varint(names);
    }
    out
}

/// Length, and how many rows name it.
fn decode(value: &[u8]) -> Decoded<(u32, u64)> {
    let mut r = Reader::new(value);
    r.version(VERSION, "version of loose payload")?;
    let len = r.varint_u32("payload length")?;
    let names = if r.is_empty() {
        1
    } else {
        r.varint("rows that name it")?
    };
    r.finish("end of loose payload")?;
    Ok((len, names))
}

/// The payload of a loose row.
pub(crate) fn loose_payload(key: &[u8], value: &[u8]) -> Option<PayloadRef> {
    let (index, offset) = keys::loose_parts(key)?;
    let (len, _) = decode(value).ok()?;
    Some(PayloadRef { index, offset, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_their_bytes_are_frozen() {
        let payload = PayloadRef {
            index: 6,
            offset: 7,
            len: 8,
        };
        assert_eq!(encode(payload, 1), [1, 8]);
        assert_eq!(encode(payload, 300), [1, 8, 0xac, 2]);
        assert_eq!(decode(&[1, 8]), Ok((8, 1)));
        assert_eq!(decode(&[1, 8, 0xac, 2]), Ok((8, 300)));
        for row in [&[1, 8][..], &[1, 8, 3]] {
            assert_eq!(loose_payload(&keys::loose(payload), row), Some(payload));
        }
        for damaged in [&[1][..], &[2, 8], &[1, 8, 1, 1]] {
            assert!(decode(damaged).is_err());
        }
    }
}
