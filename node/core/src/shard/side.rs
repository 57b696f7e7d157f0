//! How far the groups have settled the positions of one block, where the bits of the default
//! group do not say it all: one row, only where there are more groups or messages are retained.

use super::header::BLOCK;
use crate::codec::{Decoded, Put, Reader};

const PLACES: usize = BLOCK as usize;
const VERSION: u8 = 1;

/// What is known of the places of a block beside their headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Side {
    /// Bit i: the message at place i is gone: no group needs it, and it is not retained.
    pub(crate) gone: u64,
    /// Bit i: its payload has a row of its own, although its header does not say so.
    pub(crate) held: u64,
    /// Due time under which the timer of what is retained is filed; 0: none.
    pub(crate) timer: u64,
    /// How many groups have settled what is not gone.
    counts: [u32; PLACES],
    /// When the last group had settled what is not gone, ms; 0: never.
    times: [u64; PLACES],
}

impl Side {
    /// The default group is the only one, and these are its bits.
    pub(crate) fn new(gone: u64) -> Self {
        Self {
            gone,
            held: 0,
            timer: 0,
            counts: [0; PLACES],
            times: [0; PLACES],
        }
    }

    pub(crate) fn count(&mut self, place: u64) -> &mut u32 {
        &mut self.counts[place as usize]
    }

    pub(crate) fn time(&mut self, place: u64) -> &mut u64 {
        &mut self.times[place as usize]
    }

    /// Whether every group had settled what is not gone, once.
    pub(crate) fn is_retained(&self, place: u64) -> bool {
        self.gone >> place & 1 == 0 && self.times[place as usize] != 0
    }

    /// Forgets what is known of a message that is gone.
    pub(crate) fn set_gone(&mut self, place: u64) {
        self.gone |= 1 << place;
        self.held &= !(1 << place);
        self.counts[place as usize] = 0;
        self.times[place as usize] = 0;
    }

    /// The bits of the default group say it all.
    pub(crate) fn is_needless(&self, settled: u64) -> bool {
        *self == Self::new(settled)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.push(VERSION);
        out.put_u64(self.gone);
        out.put_u64(self.held);
        out.put_varint(self.timer);
        let base = self.times.iter().filter(|time| **time != 0).min();
        let base = base.copied().unwrap_or(0);
        out.put_varint(base);
        for (place, (count, time)) in self.counts.iter().zip(self.times).enumerate() {
            if *count == 0 && time == 0 {
                continue;
            }
            out.push(place as u8);
            out.put_varint(u64::from(*count));
            out.put_varint(if time == 0 { 0 } else { time - base + 1 });
        }
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of settled places")?;
        let mut side = Self::new(r.u64("gone places")?);
        side.held = r.u64("held places")?;
        side.timer = r.varint("timer of retained places")?;
        let base = r.varint("first time of settlement")?;
        while !r.is_empty() {
            let place = usize::from(r.u8("place")?);
            if place >= PLACES {
                return r.fail("place");
            }
            side.counts[place] = r.varint_u32("number of groups")?;
            let time = r.varint("time of settlement")?;
            side.times[place] = if time == 0 {
                0
            } else {
                base.saturating_add(time - 1)
            };
        }
        Ok(side)
    }
}

/// Which positions count for which of the groups beside the default one, for which all count.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// In order: where they begin, and where those end that are being deleted.
    starts: Vec<u64>,
    ends: Vec<u64>,
}

impl Spans {
    /// Spans `start..end`.
    pub(crate) fn new(spans: impl Iterator<Item = (u64, Option<u64>)>) -> Self {
        let mut new = Self::default();
        for (start, end) in spans {
            new.starts.push(start);
            new.ends.extend(end);
        }
        new.starts.sort_unstable();
        new.ends.sort_unstable();
        new
    }

    /// Whether the default group is the only one.
    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// How many groups a position counts for, the default one included.
    pub(crate) fn needed(&self, position: u64) -> u32 {
        let upto = |list: &[u64]| list.partition_point(|at| *at <= position);
        (1 + upto(&self.starts) - upto(&self.ends)) as u32
    }

    /// A group begins elsewhere.
    pub(crate) fn move_start(&mut self, from: u64, to: u64) {
        if let Ok(at) = self.starts.binary_search(&from) {
            self.starts.remove(at);
        }
        let at = self.starts.partition_point(|start| *start <= to);
        self.starts.insert(at, to);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_comes_back_and_its_bytes_are_frozen() {
        let mut side = Side::new(0b101);
        side.held = 0b10;
        side.timer = 300;
        *side.count(1) = 2;
        *side.count(63) = 300;
        *side.time(63) = 70;
        *side.time(4) = 60;
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2];
        expected.extend([0xac, 2, 60, 1, 2, 0, 4, 0, 1, 63, 0xac, 2, 11]);
        assert_eq!(side.encode(), expected);
        assert_eq!(Side::decode(&expected), Ok(side));
        for damaged in [&expected[..expected.len() - 1], &[2], &[1, 0]] {
            assert!(Side::decode(damaged).is_err());
        }
        let beyond = [&expected[..21], &[64, 1, 0]].concat();
        assert!(Side::decode(&beyond).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Side::decode(&bytes);
        }

        #[test]
        fn positions_count_for_the_groups_whose_span_they_are_in(
            spans in proptest::collection::vec((0_u64..20, proptest::option::of(0_u64..9)), 0..9),
            moved: prop::sample::Index,
            to in 0_u64..20,
        ) {
            let mut spans: Vec<_> = spans.into_iter()
                .map(|(start, more)| (start, more.map(|more| start + more)))
                .collect();
            let mut all = Spans::new(spans.iter().copied());
            if !spans.is_empty() {
                let at = moved.index(spans.len());
                let to = spans[at].1.map_or(to, |end| to.min(end));
                all.move_start(spans[at].0, to);
                spans[at].0 = to;
            }
            for position in 0..30 {
                let of = |(start, end): &&(u64, Option<u64>)| {
                    *start <= position && end.is_none_or(|end| position < end)
                };
                let expected = 1 + spans.iter().filter(of).count();
                prop_assert_eq!(all.needed(position) as usize, expected);
            }
        }
    }
}
