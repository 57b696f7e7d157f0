//! A piece of what a partition remembers of a producer: 64 numbers that follow one another.

use crate::codec::{Decoded, Put, Reader};

/// In place of the sequence of a number whose message was not added, as its key lives elsewhere.
pub(crate) const MOVED: u64 = 0;
/// Numbers per chunk row.
pub(crate) const CHUNK: u64 = 64;

/// Of 64 numbers of a producer, which were accepted and as what.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) dirty: bool,
    runs: Vec<Run>,
}

/// Numbers that follow one another and were accepted as sequences that follow one another, or all
/// as [`MOVED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// First number, relative to the chunk: 0..64.
    place: u8,
    len: u8,
    sequence: u64,
}

const VERSION: u8 = 1;

impl Chunk {
    pub(crate) fn sequence(&self, place: u64) -> Option<u64> {
        let run = self.runs.iter().find(|run| run.holds(place))?;
        Some(run.sequence_of(place - u64::from(run.place)))
    }

    pub(crate) fn add(&mut self, place: u64, sequence: u64) {
        self.dirty = true;
        if let Some(run) = self.runs.iter_mut().find(|run| {
            let len = u64::from(run.len);
            u64::from(run.place) + len == place && run.sequence_of(len) == sequence
        }) {
            run.len += 1;
        } else {
            self.runs.push(Run {
                place: place as u8,
                len: 1,
                sequence,
            });
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for run in &self.runs {
            out.push(run.place);
            out.push(run.len);
            out.put_varint(run.sequence);
        }
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(value);
        r.version(VERSION, "version of producer chunk")?;
        let mut runs = Vec::new();
        while !r.is_empty() {
            let (place, len) = (r.u8("place")?, r.u8("run length")?);
            if u64::from(place) + u64::from(len) > CHUNK || runs.len() as u64 == CHUNK {
                return r.fail("run of a producer chunk");
            }
            runs.push(Run {
                place,
                len,
                sequence: r.varint("sequence")?,
            });
        }
        Ok(Self { dirty: false, runs })
    }
}

impl Run {
    fn sequence_of(&self, nth: u64) -> u64 {
        if self.sequence == MOVED {
            MOVED
        } else {
            self.sequence + nth
        }
    }

    fn holds(&self, place: u64) -> bool {
        let first = u64::from(self.place);
        (first..first + u64::from(self.len)).contains(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_remembers_runs_and_its_bytes_are_frozen() {
        let mut chunk = Chunk::default();
        for (place, sequence) in [(3, 100), (4, 101), (5, 200), (0, 300)] {
            chunk.add(place, sequence);
        }
        assert_eq!(chunk.encode(), [1, 3, 2, 100, 5, 1, 0xc8, 1, 0, 1, 0xac, 2]);
        let read = Chunk::decode(&chunk.encode()).unwrap();
        let told: Vec<_> = (0..7).map(|place| read.sequence(place)).collect();
        assert_eq!(
            told,
            [Some(300), None, None, Some(100), Some(101), Some(200), None]
        );
        assert!(Chunk::decode(&[1, 60, 5, 1]).is_err());
    }

    #[test]
    fn a_chunk_remembers_what_was_not_added_as_its_key_lives_elsewhere() {
        let mut chunk = Chunk::default();
        for (place, sequence) in [(0, 1), (1, MOVED), (2, MOVED), (3, 2)] {
            chunk.add(place, sequence);
        }
        assert_eq!(chunk.encode(), [1, 0, 1, 1, 1, 2, 0, 3, 1, 2]);
        let told: Vec<_> = (0..5).map(|place| chunk.sequence(place)).collect();
        assert_eq!(told, [Some(1), Some(MOVED), Some(MOVED), Some(2), None]);
    }
}
