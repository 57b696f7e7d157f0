//! Which numbers of a producer were accepted, so that a retry is neither lost nor doubled.
//!
//! A producer numbers its messages from 1. Of the newest 1,024 numbers (at least) the partition
//! remembers which were accepted and as what; a retry may come in any order. A number below is
//! refused: it cannot be told any more. Where order is kept, a number that was not accepted is
//! refused once a higher one was: it would come behind what was sent after it. A producer that is
//! idle for 10 minutes is forgotten.

use std::collections::BTreeMap;

use super::chunk::{CHUNK, Chunk};
use super::config::Ordering;
use super::keys::{self, Keys};
use super::partition::{Shared, Step, corrupt};
use super::reply::Refusal;
use crate::codec::{Decoded, Put, Reader};
use crate::kv::{self, Kv, KvError};

/// Numbers below the newest one that are remembered.
const WINDOW: u64 = 1_024;
/// A producer is forgotten when it was idle for so long, ms.
pub(crate) const FORGET_MS: u64 = 600_000;
/// When there are too many producers, one that was idle for so long may go before its time, ms.
const EVICT_MS: u64 = 60_000;
/// Producers per partition at most.
pub(crate) const MAX_PRODUCERS: u64 = 4_096;

/// A producer, with the chunks that were looked at.
#[derive(Debug, Default)]
pub(crate) struct Producer {
    highest: u64,
    last_used: u64,
    /// Due time under which its idle check is filed.
    check_at: u64,
    dirty: bool,
    chunks: BTreeMap<u64, Chunk>,
}

const VERSION: u8 = 1;

impl Producer {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_varint(self.highest);
        out.put_varint(self.last_used);
        out.put_varint(self.check_at);
        out
    }

    fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of producer")?;
        let producer = Self {
            highest: r.varint("highest number")?,
            last_used: r.varint("time of last use")?,
            check_at: r.varint("time of idle check")?,
            ..Self::default()
        };
        r.finish("end of producer")?;
        Ok(producer)
    }

    /// Writes what changed.
    pub(crate) fn flush(&mut self, keys: Keys, id: &[u8], kv: &mut dyn Kv) {
        if std::mem::take(&mut self.dirty) {
            kv.put(&keys.producer(id), self.encode().into());
        }
        for (number, chunk) in &mut self.chunks {
            if std::mem::take(&mut chunk.dirty) {
                kv.put(&keys.chunk(id, *number), chunk.encode().into());
            }
        }
    }

    /// What became of a number before: accepted as this sequence or
    /// [`MOVED`](super::chunk::MOVED), new, or not to be told.
    fn look_up(&self, number: u64, ordered: bool) -> Result<Option<u64>, Refusal> {
        if number.saturating_add(WINDOW) <= self.highest {
            return Err(Refusal::OutOfRange);
        }
        let chunk = self.chunks.get(&(number / CHUNK));
        match chunk.and_then(|chunk| chunk.sequence(number % CHUNK)) {
            None if ordered && number <= self.highest => Err(Refusal::Overtaken),
            known => Ok(known),
        }
    }
}

impl Shared {
    /// Makes sure that a producer is known, and that the chunks of `first..first + count` are at
    /// hand. Refused when the numbers cannot be, or when there are too many producers.
    pub(crate) fn meet_producer(
        &mut self,
        step: &mut Step<'_>,
        id: &[u8],
        first: u64,
        count: u64,
    ) -> Result<Result<(), Refusal>, KvError> {
        if first == 0 || first.checked_add(count + WINDOW).is_none() {
            return Ok(Err(Refusal::OutOfRange));
        }
        if !self.load_producer(step.kv, id)? {
            if self.state.producers >= MAX_PRODUCERS && !self.evict_producer(step)? {
                return Ok(Err(Refusal::ProducerLimit));
            }
            let check_at = step.now + FORGET_MS;
            step.kv
                .put(&self.keys.idle(check_at, id), vec![VERSION].into());
            self.due_by(check_at);
            self.state.producers += 1;
            self.producers.insert(
                id.to_vec(),
                Producer {
                    check_at,
                    ..Producer::default()
                },
            );
        }
        let (keys, name) = (self.keys, self.id());
        let Some(producer) = self.producers.get_mut(id) else {
            return Ok(Ok(()));
        };
        producer.last_used = step.now;
        producer.dirty = true;
        self.met.push(id.to_vec());
        for number in first / CHUNK..=(first + count) / CHUNK {
            if producer.chunks.contains_key(&number) || number > producer.highest / CHUNK {
                continue;
            }
            let row = step.kv.get(&keys.chunk(id, number))?;
            let chunk = row.map(|row| Chunk::decode(&row)).transpose();
            let chunk = chunk.map_err(|e| corrupt("producer", name, &e))?;
            producer.chunks.insert(number, chunk.unwrap_or_default());
        }
        Ok(Ok(()))
    }

    fn load_producer(&mut self, kv: &dyn Kv, id: &[u8]) -> Result<bool, KvError> {
        if self.producers.contains_key(id) {
            return Ok(true);
        }
        let Some(row) = kv.get(&self.keys.producer(id))? else {
            return Ok(false);
        };
        let producer = Producer::decode(&row).map_err(|e| corrupt("producer", self.id(), &e))?;
        self.producers.insert(id.to_vec(), producer);
        Ok(true)
    }

    /// What became of a number of a producer that was met.
    pub(crate) fn produced(&self, id: &[u8], number: u64) -> Result<Option<u64>, Refusal> {
        let ordered = self.config.ordering != Ordering::None;
        self.producers
            .get(id)
            .map_or(Ok(None), |producer| producer.look_up(number, ordered))
    }

    /// Remembers that a number of a producer that was met was accepted as `sequence`, or is
    /// [`MOVED`](super::chunk::MOVED).
    pub(crate) fn remember(
        &mut self,
        kv: &mut dyn Kv,
        id: &[u8],
        number: u64,
        sequence: u64,
    ) -> Result<(), KvError> {
        let keys = self.keys;
        let Some(producer) = self.producers.get_mut(id) else {
            return Ok(());
        };
        producer
            .chunks
            .entry(number / CHUNK)
            .or_default()
            .add(number % CHUNK, sequence);
        let before = lowest_chunk(producer.highest);
        producer.highest = producer.highest.max(number);
        let lowest = lowest_chunk(producer.highest);
        if lowest > before {
            producer.chunks.retain(|chunk, _| *chunk >= lowest);
            delete_chunks(keys, id, lowest, kv)?;
        }
        Ok(())
    }

    /// Makes room for a producer: the one whose idle check is due next among the first few, if it
    /// was idle for a minute.
    fn evict_producer(&mut self, step: &mut Step<'_>) -> Result<bool, KvError> {
        for (key, _) in super::outbox::rows_of(self, step.kv, b'u', 64)? {
            let Some((check_at, id)) = idle_parts(&key) else {
                continue;
            };
            self.load_producer(step.kv, id)?;
            let used = self
                .producers
                .get(id)
                .map_or(0, |producer| producer.last_used);
            if used + EVICT_MS <= step.now {
                self.forget_producer(step.kv, check_at, id)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn forget_producer(
        &mut self,
        kv: &mut dyn Kv,
        check_at: u64,
        id: &[u8],
    ) -> Result<(), KvError> {
        self.producers.remove(id);
        self.state.producers -= 1;
        kv.delete(&self.keys.producer(id));
        kv.delete(&self.keys.idle(check_at, id));
        delete_chunks(self.keys, id, u64::MAX, kv)
    }

    /// A producer's idle check is due: forgets it, or looks again later.
    pub(crate) fn check_idle(&mut self, step: &mut Step<'_>, key: &[u8]) -> Result<(), KvError> {
        let Some((check_at, id)) = idle_parts(key) else {
            return Ok(());
        };
        self.load_producer(step.kv, id)?;
        let Some(producer) = self.producers.get_mut(id) else {
            step.kv.delete(key);
            return Ok(());
        };
        let again = producer.last_used + FORGET_MS;
        if again <= step.now {
            return self.forget_producer(step.kv, check_at, id);
        }
        producer.check_at = again;
        producer.dirty = true;
        self.met.push(id.to_vec());
        step.kv.delete(key);
        step.kv
            .put(&self.keys.idle(again, id), vec![VERSION].into());
        self.due_by(again);
        Ok(())
    }
}

fn lowest_chunk(highest: u64) -> u64 {
    highest.saturating_sub(WINDOW) / CHUNK
}

fn delete_chunks(keys: Keys, id: &[u8], below: u64, kv: &mut dyn Kv) -> Result<(), KvError> {
    let (from, end) = (keys.chunk(id, 0), keys.chunk(id, below));
    for (key, _) in kv::take(kv, &from, &end, usize::MAX)? {
        kv.delete(&key);
    }
    Ok(())
}

/// Due time and producer of an idle check's key.
fn idle_parts(key: &[u8]) -> Option<(u64, &[u8])> {
    let (_, rest) = Keys::split(key)?;
    Some((keys::due(rest), rest.get(8..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_below_the_window_is_refused_and_not_taken_for_a_duplicate() {
        let producer = Producer {
            highest: 5_000,
            ..Producer::default()
        };
        let look_up = |number| producer.look_up(number, false);
        assert_eq!(look_up(5_000 - WINDOW), Err(Refusal::OutOfRange));
        assert_eq!(look_up(5_000 - WINDOW + 1), Ok(None));
        assert_eq!(look_up(6_000), Ok(None));
        let ordered = |number| producer.look_up(number, true);
        assert_eq!(ordered(5_000 - WINDOW), Err(Refusal::OutOfRange));
        assert_eq!(ordered(5_000 - WINDOW + 1), Err(Refusal::Overtaken));
        assert_eq!(ordered(5_001), Ok(None));
    }

    #[test]
    fn the_bytes_of_a_producer_are_frozen() {
        let producer = Producer {
            highest: 300,
            last_used: 7,
            check_at: 9,
            ..Producer::default()
        };
        assert_eq!(producer.encode(), [1, 0xac, 2, 7, 9]);
        let read = Producer::decode(&producer.encode()).unwrap();
        assert_eq!((read.highest, read.last_used, read.check_at), (300, 7, 9));
        assert!(Producer::decode(&[1, 0]).is_err());
    }
}
