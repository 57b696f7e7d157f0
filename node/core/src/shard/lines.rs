//! Of each stream beside the base one: what it holds, and where the groups are in it.
//!
//! All messages stand in one line, in the order in which they came. A block has a row for each
//! stream that it has messages of, so that a group's cursor in a stream finds them. A stream is
//! forgotten when its last message is gone, at the end of the entry.

use std::ops::Bound;

use super::group::{Look, View};
use super::keys::{self, Keys};
use super::outbox::rows_of;
use super::partition::{Partition, Shared, corrupt};
use super::stream::Stream;
use super::tenants::Turn;
use super::tracked::Tracked;
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

/// Where a group is in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spot {
    /// The first position of the line at which no receive has looked for this stream.
    pub(crate) cursor: u64,
    /// Of `line.added`, what does not wait any more.
    pub(crate) taken: u64,
    /// Of `line.placed`, what is not ahead of the cursor or is due.
    pub(crate) passed: u64,
    /// Messages with an `r` row.
    pub(crate) returned: u64,
}

/// Where a group is in all streams beside the base one, and whose turn it is in which lane.
#[derive(Debug)]
pub(crate) struct Standing {
    spots: Tracked<Stream, Spot>,
    /// The sums of all spots; there is no sum of cursors.
    sum: Spot,
    pub(crate) turns: Tracked<u8, Turn>,
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

impl Spot {
    fn encode(&self) -> Vec<u8> {
        encode(&[self.cursor, self.taken, self.passed, self.returned])
    }

    fn decode(value: &[u8]) -> Decoded<Self> {
        let [cursor, taken, passed, returned] = decode(value)?;
        Ok(Self {
            cursor,
            taken,
            passed,
            returned,
        })
    }
}

impl Standing {
    pub(crate) fn new() -> Self {
        Self {
            spots: Tracked::new(),
            sum: Spot::default(),
            turns: Tracked::new(),
        }
    }

    fn sum_up(&mut self) {
        self.sum = Spot::default();
        for spot in self.spots.all().values() {
            self.sum.taken += spot.taken;
            self.sum.passed += spot.passed;
            self.sum.returned += spot.returned;
        }
    }

    /// Forgets a stream that is empty.
    fn forget_stream(&mut self, kv: &mut dyn Kv, key: &[u8], stream: Stream) {
        let spot = self.spots.get(stream);
        if self.spots.remove(stream) {
            self.sum.taken -= spot.taken;
            self.sum.passed -= spot.passed;
            kv.delete(key);
        }
    }

    /// A new group that begins with the first message, or with what comes.
    pub(crate) fn begin(lines: &Tracked<Stream, Line>, end: Option<u64>) -> Self {
        let mut new = Self::new();
        for (stream, line) in lines.all() {
            *new.spots.change(*stream) = match end {
                Some(tail) => Spot {
                    cursor: tail,
                    taken: line.added,
                    passed: line.placed,
                    returned: 0,
                },
                None => Spot {
                    cursor: 0,
                    taken: line.added - line.there,
                    passed: line.placed - line.early,
                    returned: 0,
                },
            };
        }
        new.sum_up();
        new
    }

    /// The standing that its rows hold.
    pub(crate) fn open(kv: &dyn Kv, keys: keys::GroupKeys) -> Result<Self, KvError> {
        let mut standing = Self::new();
        let (from, end) = keys.all(b'c');
        for (key, row) in kv::take(kv, &from, &end, usize::MAX)? {
            let spot = Spot::decode(&row).map_err(|e| corrupt("place in a stream", keys.0, &e))?;
            standing.spots.learn(Stream::of(keys::stream(&key)), spot);
        }
        let (from, end) = keys.all(b'y');
        for (key, row) in kv::take(kv, &from, &end, usize::MAX)? {
            let turn = Turn::decode(&row).map_err(|e| corrupt("turn of a lane", keys.0, &e))?;
            let lane = key.last().copied().unwrap_or_default();
            standing.turns.learn(lane, turn);
        }
        standing.sum_up();
        Ok(standing)
    }

    pub(crate) fn flush(&mut self, kv: &mut dyn Kv, keys: keys::GroupKeys) {
        for (stream, spot) in self.spots.changed() {
            kv.put(&keys.spot(stream), spot.encode().into());
        }
        for (lane, turn) in self.turns.changed() {
            kv.put(&keys.turn(lane), turn.encode().into());
        }
    }

    /// Forgets all of it, as its group goes.
    pub(crate) fn forget(&mut self, kv: &mut dyn Kv, keys: keys::GroupKeys) {
        for stream in self.spots.all().keys() {
            kv.delete(&keys.spot(*stream));
        }
        for lane in self.turns.all().keys() {
            kv.delete(&keys.turn(*lane));
        }
        *self = Self::new();
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

impl Look<'_> {
    /// Where the group is in a stream; of the base one only the cursor.
    pub(crate) fn spot(&self, stream: Stream) -> Spot {
        if stream == Stream::BASE {
            return Spot {
                cursor: self.group.cursor,
                ..Spot::default()
            };
        }
        self.standing.spots.get(stream)
    }

    /// Messages of a stream that wait.
    pub(crate) fn waiting_in(&self, stream: Stream) -> u64 {
        let of = |line: Line, spot: Spot| line.added - spot.taken - (line.placed - spot.passed);
        if stream == Stream::BASE {
            return self.waiting() - of(self.line_sum, self.standing.sum);
        }
        of(self.lines.get(stream), self.standing.spots.get(stream))
    }

    /// Messages of a stream that came back.
    pub(crate) fn returned_in(&self, stream: Stream) -> u64 {
        if stream == Stream::BASE {
            return self.group.returned - self.standing.sum.returned;
        }
        self.standing.spots.get(stream).returned
    }

    /// Whether a stream holds something that may be receivable.
    pub(crate) fn is_ready(&self, stream: Stream) -> bool {
        self.returned_in(stream) + self.waiting_in(stream) > 0
    }

    /// Streams of a lane that hold something that may be receivable, with how much it is: those
    /// behind one of them first, then the others.
    pub(crate) fn ready_in(&self, lane: u8, behind: Stream) -> impl Iterator<Item = (Stream, u64)> {
        let (first, last) = Stream::of_lane(lane);
        let base = (lane == 0).then_some(Stream::BASE);
        let begins = behind.lane() == lane;
        let from = if begins {
            Bound::Excluded(behind)
        } else {
            Bound::Included(first)
        };
        let all = self.lines.all();
        let rest = all.range((from, Bound::Included(last)));
        let others = begins.then(|| all.range(first..=behind));
        let rest = rest.map(|(stream, _)| *stream);
        let others = others.into_iter().flatten().map(|(stream, _)| *stream);
        let ready = |stream| self.returned_in(stream) + self.waiting_in(stream);
        rest.chain(base)
            .chain(others)
            .map(move |stream| (stream, ready(stream)))
            .filter(|(_, ready)| *ready > 0)
    }
}

impl View<'_> {
    fn change_spot(&mut self, stream: Stream, change: fn(&mut Spot)) {
        if stream != Stream::BASE {
            change(self.standing.spots.change(stream));
            change(&mut self.standing.sum);
        }
    }

    /// The group begins with a position: until it is through, nothing waits for it.
    pub(crate) fn stand_at(&mut self, position: u64) {
        let lines = self.lines.all().iter();
        let lines: Vec<_> = lines.map(|(stream, line)| (*stream, *line)).collect();
        for (stream, line) in lines {
            *self.standing.spots.change(stream) = Spot {
                cursor: position,
                taken: line.added,
                passed: line.placed,
                returned: 0,
            };
        }
        self.standing.sum_up();
    }

    /// A receive has come to this position of a stream.
    pub(crate) fn set_cursor(&mut self, stream: Stream, position: u64) {
        if stream == Stream::BASE {
            self.group.cursor = position;
        } else {
            self.standing.spots.change(stream).cursor = position;
        }
    }

    /// A message of a stream does not wait any more.
    pub(crate) fn stop_waiting(&mut self, stream: Stream) {
        self.group.taken += 1;
        self.change_spot(stream, |spot| spot.taken += 1);
    }

    /// A message of a stream waits again.
    pub(crate) fn wait_again(&mut self, stream: Stream) {
        self.group.taken -= 1;
        self.change_spot(stream, |spot| spot.taken -= 1);
    }

    /// A message that was not due is not ahead of the cursor any more, or is due.
    pub(crate) fn pass(&mut self, stream: Stream) {
        self.group.passed += 1;
        self.change_spot(stream, |spot| spot.passed += 1);
    }

    /// A message that is not due is ahead of the cursor again.
    pub(crate) fn unpass(&mut self, stream: Stream) {
        self.group.passed -= 1;
        self.change_spot(stream, |spot| spot.passed -= 1);
    }

    /// A message of a stream has come back.
    pub(crate) fn count_returned(&mut self, stream: Stream) {
        self.group.returned += 1;
        self.change_spot(stream, |spot| spot.returned += 1);
    }

    /// A message that had come back is taken.
    pub(crate) fn uncount_returned(&mut self, stream: Stream) {
        self.group.returned -= 1;
        self.change_spot(stream, |spot| spot.returned -= 1);
    }
}
