//! Where a group is in each stream beside the base one, and what waits for it there.

use std::ops::Bound;

use super::group::{Look, View};
use super::keys;
use super::lines::{Line, decode, encode};
use super::partition::corrupt;
use super::stream::Stream;
use super::tenants::Turn;
use super::tracked::Tracked;
use crate::codec::Decoded;
use crate::kv::{self, Kv, KvError};

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
    pub(crate) fn forget_stream(&mut self, kv: &mut dyn Kv, key: &[u8], stream: Stream) {
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
