//! Of each stream beside the base one: what it holds.
//!
//! All messages stand in one line, in the order in which they came. A block has a row for each
//! stream that it has messages of, so that a group's cursor in a stream finds them. A stream is
//! forgotten when its last message is gone, at the end of the entry.

use super::keys::{self, Keys};
use super::outbox::rows_of;
use super::partition::{Partition, Shared, corrupt};
use super::stream::Stream;
use crate::codec::{Decoded, Put, Reader};
use crate::kv::{self, Kv, KvError};

/// Streams beside the base one that a partition tells apart; then the tenants that are new share
/// one for each lane.
pub(crate) const MAX_STREAMS: usize = 1_024;

/// What a stream holds, for all groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Line {
    /// Messages that got a position, ever.
    pub(crate) added: u64,
    /// Those that are not gone.
    pub(crate) there: u64,
    /// Delayed messages that had their position before they were due, ever, and those not due yet.
    pub(crate) placed: u64,
    pub(crate) early: u64,
    /// Position of the first one that was added.
    pub(crate) first: u64,
}

const VERSION: u8 = 1;

/// Encodes a row of numbers.
pub(super) fn encode(numbers: &[u64]) -> Vec<u8> {
    let mut out = vec![VERSION];
    for number in numbers {
        out.put_varint(*number);
    }
    out
}

/// Reads a row of numbers.
pub(super) fn decode<const N: usize>(value: &[u8]) -> Decoded<[u64; N]> {
    let mut r = Reader::new(value);
    r.version(VERSION, "version of stream")?;
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = r.varint("number of stream")?;
    }
    r.finish("end of stream")?;
    Ok(numbers)
}

impl Line {
    fn encode(&self) -> Vec<u8> {
        encode(&[self.added, self.there, self.placed, self.early, self.first])
    }

    fn decode(value: &[u8]) -> Decoded<Self> {
        let [added, there, placed, early, first] = decode(value)?;
        Ok(Self {
            added,
            there,
            placed,
            early,
            first,
        })
    }
}

impl Shared {
    pub(crate) fn load_lines(&mut self, kv: &dyn Kv) -> Result<(), KvError> {
        for (key, row) in rows_of(self, kv, b'b', usize::MAX)? {
            let line = Line::decode(&row).map_err(|e| corrupt("stream", self.id(), &e))?;
            self.lines.learn(Stream::of(keys::stream(&key)), line);
            self.line_sum.added += line.added;
            self.line_sum.placed += line.placed;
        }
        Ok(())
    }

    /// A message gets the next position, in its stream.
    pub(crate) fn count_line(&mut self, stream: Stream, position: u64) {
        if stream != Stream::BASE {
            self.add_to_line(stream, position);
        }
    }

    #[cold]
    fn add_to_line(&mut self, stream: Stream, position: u64) {
        let line = self.lines.change(stream);
        if line.added == 0 {
            line.first = position;
        }
        line.added += 1;
        line.there += 1;
        self.line_sum.added += 1;
    }

    /// A message of a stream has its position and is not due yet.
    pub(crate) fn place_early(&mut self, stream: Stream) {
        self.state.placed += 1;
        self.state.early += 1;
        if stream != Stream::BASE {
            let line = self.lines.change(stream);
            line.placed += 1;
            line.early += 1;
            self.line_sum.placed += 1;
        }
    }

    /// Such a message is due, or gone.
    pub(crate) fn not_early(&mut self, stream: Stream) {
        self.state.early -= 1;
        if stream != Stream::BASE {
            self.lines.change(stream).early -= 1;
        }
    }

    /// A message of a stream is gone.
    pub(crate) fn uncount_line(&mut self, stream: Stream) {
        if stream != Stream::BASE {
            self.take_from_line(stream);
        }
    }

    #[cold]
    fn take_from_line(&mut self, stream: Stream) {
        let line = self.lines.change(stream);
        line.there -= 1;
        if line.there == 0 {
            self.emptied.push(stream);
        }
    }

    /// In which stream a message goes. Of a key, the first message that is there decides: so all of
    /// them follow one another.
    pub(crate) fn stream_of_key(
        &mut self,
        kv: &dyn Kv,
        key: u64,
        own: Stream,
    ) -> Result<Stream, KvError> {
        let (from, end) = (self.keys.keyed(key, 0), self.keys.keyed(key, u64::MAX));
        let Some((row, _)) = kv::first(kv, &from, &end)? else {
            return Ok(own);
        };
        Ok(self.header(kv, keys::tail(&row))?.stream)
    }

    /// A stream, or the one of its lane for all others, where there are too many.
    pub(crate) fn told_apart(&self, stream: Stream) -> Stream {
        let is_known = stream.has_no_tenant() || self.lines.all().contains_key(&stream);
        if is_known || self.lines.all().len() < MAX_STREAMS {
            stream
        } else {
            stream.others()
        }
    }

    /// The stream of the message at a position that a row names.
    pub(crate) fn stream_at(&mut self, kv: &dyn Kv, position: u64) -> Result<Stream, KvError> {
        if self.lines.is_empty() {
            return Ok(Stream::BASE);
        }
        Ok(self.header(kv, position)?.stream)
    }
}

impl Partition {
    /// Writes what changed of the streams, and forgets those that are empty.
    pub(crate) fn flush_lines(&mut self, kv: &mut dyn Kv) {
        let keys: Keys = self.keys;
        for stream in std::mem::take(&mut self.shared.emptied) {
            let line = self.shared.lines.get(stream);
            if line.there > 0 || !self.shared.lines.remove(stream) {
                continue;
            }
            self.shared.line_sum.added -= line.added;
            self.shared.line_sum.placed -= line.placed;
            kv.delete(&keys.line(stream));
            for (group, slot) in &mut self.groups {
                let key = keys.of(*group).spot(stream);
                slot.standing().forget_stream(kv, &key, stream);
            }
        }
        for (stream, line) in self.shared.lines.changed() {
            kv.put(&keys.line(stream), line.encode().into());
        }
    }
}
