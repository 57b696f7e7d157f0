//! Ids of messages, remembered so that a message that is sent again is not added again.
//!
//! An id is one row from the message's acceptance to the end of the window, whatever becomes of
//! the message meanwhile: it may be acked, dead-lettered, expired or purged. The ids of one send
//! end together, so they share rows that say when: up to 64 in one. A tick forgets them.

use super::keys;
use super::outbox::rows_of;
use super::partition::{Partition, Step, corrupt};
use super::reply::Refusal;
use crate::codec::{Decoded, Put, Reader};
use crate::kv::{self, Kv, KvError};

/// Ids per row of those that end together.
const TOGETHER: usize = 64;
/// Bytes of an id in a row.
const ID_BYTES: usize = 16;

const VERSION: u8 = 1;

/// An id that was accepted, and the sequence of its message.
pub(crate) type NewId = (u128, u64);

impl Partition {
    /// The sequence of the message with this id, if it is remembered.
    pub(crate) fn remembered(&self, kv: &dyn Kv, id: u128) -> Result<Option<u64>, KvError> {
        let Some(row) = kv.get(&self.keys.remembered(id))? else {
            return Ok(None);
        };
        let sequence = decode_sequence(&row);
        let sequence = sequence.map_err(|e| corrupt("remembered id", self.id(), &e))?;
        Ok(Some(sequence))
    }

    /// Whether one more id may be remembered, of `max_ids`; None: there is none to remember.
    pub(crate) fn has_room_for_id(&self, max_ids: Option<u64>) -> Result<(), Refusal> {
        match max_ids {
            Some(max) if self.state.ids >= max => Err(Refusal::IdLimit),
            _ => Ok(()),
        }
    }

    /// Remembers an id that is not remembered yet. [`file_ids`](Self::file_ids) must follow.
    pub(crate) fn remember_id(&mut self, kv: &mut dyn Kv, (id, sequence): NewId) {
        let mut row = vec![VERSION];
        row.put_varint(sequence);
        kv.put(&self.keys.remembered(id), row.into());
        self.state.ids += 1;
    }

    /// Files when ids that were accepted together are forgotten.
    pub(crate) fn file_ids(&mut self, step: &mut Step<'_>, ids: &[NewId]) {
        let Some(setting) = self.config.deduplication else {
            return;
        };
        let due = step.now.saturating_add(setting.window_ms);
        for together in ids.chunks(TOGETHER) {
            let row = encode_ids(together.iter().map(|(id, _)| *id));
            let first = together.first().map_or(0, |(_, sequence)| *sequence);
            step.kv.put(&self.keys.forgetting(due, first), row.into());
            self.due_by(due);
        }
    }

    /// Forgets ids whose window is over, at most `max`. How many.
    pub(crate) fn forget_ids(&mut self, step: &mut Step<'_>, max: usize) -> Result<usize, KvError> {
        let end = self.keys.forgetting(step.now.saturating_add(1), 0);
        let (from, _) = self.keys.kinds(b'j', b'k');
        let mut forgotten = 0;
        for (key, row) in kv::take(step.kv, &from, &end, max)? {
            if forgotten == max {
                break;
            }
            let ids = decode_ids(&row).map_err(|e| corrupt("ids", self.id(), &e))?;
            let now = ids.len().min(max - forgotten);
            for id in &ids[..now] {
                step.kv.delete(&self.keys.remembered(*id));
            }
            if now == ids.len() {
                step.kv.delete(&key);
            } else {
                let rest = encode_ids(ids[now..].iter().copied());
                step.kv.put(&key, rest.into());
            }
            self.state.ids -= now as u64;
            forgotten += now;
        }
        Ok(forgotten)
    }

    /// When the first id is forgotten, ms; `u64::MAX`: none is remembered.
    pub(crate) fn first_forgotten(&self, kv: &dyn Kv) -> Result<u64, KvError> {
        if self.state.ids == 0 {
            return Ok(u64::MAX);
        }
        let row = rows_of(self, kv, b'j', 1)?.pop();
        let due = row.and_then(|(key, _)| keys::Keys::split(&key).map(|(_, rest)| keys::due(rest)));
        Ok(due.unwrap_or(u64::MAX))
    }
}

fn decode_sequence(row: &[u8]) -> Decoded<u64> {
    let mut r = Reader::new(row);
    r.version(VERSION, "version of remembered id")?;
    let sequence = r.varint("sequence")?;
    r.finish("end of remembered id")?;
    Ok(sequence)
}

fn encode_ids(ids: impl Iterator<Item = u128>) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + TOGETHER * ID_BYTES);
    row.push(VERSION);
    ids.for_each(|id| row.put_u128(id));
    row
}

fn decode_ids(row: &[u8]) -> Decoded<Vec<u128>> {
    let mut r = Reader::new(row);
    r.version(VERSION, "version of ids")?;
    let mut ids = Vec::with_capacity(r.remaining() / ID_BYTES);
    while !r.is_empty() {
        if ids.len() == TOGETHER {
            return r.fail("a row of at most 64 ids");
        }
        ids.push(r.u128("id")?);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_their_bytes_are_frozen() {
        let row = encode_ids([1, 0x0203].into_iter());
        let mut expected = vec![1];
        expected.extend([0; 15]);
        expected.push(1);
        expected.extend([0; 14]);
        expected.extend([2, 3]);
        assert_eq!(row, expected);
        assert_eq!(decode_ids(&row), Ok(vec![1, 0x0203]));
        assert!(decode_ids(&row[..row.len() - 1]).is_err());
        assert!(decode_ids(&encode_ids(0..65)).is_err());
        assert_eq!(decode_sequence(&[1, 0xac, 2]), Ok(300));
        assert!(decode_sequence(&[1, 1, 1]).is_err() && decode_sequence(&[2, 1]).is_err());
    }
}
