//! The starts of a node, told from those of a copy of its data.

use crate::codec::{Decoded, Put, Reader};

/// One start of a node over its data directory, with those before it.
///
/// Starts are counted, and each draws a number of its own, its nonce. Two directories that are
/// copies of each other go on with the same count and with different nonces: a count alone would
/// not tell them apart. The nonces go back to the last start that the cluster is known to have
/// noted, so that whoever knows a start since then finds it here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// Number of the start that the first nonce belongs to, from 1.
    first: u64,
    /// Of each start since then; the last is this one's. None: no start is known.
    nonces: Vec<u64>,
}

impl Boot {
    /// At most so many starts are told apart before the cluster has noted one.
    pub const MAX: usize = 128;

    /// What was stored or sent; what cannot be is cut.
    pub fn new(first: u64, mut nonces: Vec<u64>) -> Self {
        nonces.truncate(Self::MAX);
        Self { first, nonces }
    }

    /// Number of the start that the first nonce belongs to.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The nonces, this start's last.
    pub fn nonces(&self) -> &[u64] {
        &self.nonces
    }

    /// Number of this start; 0: none is known.
    pub fn number(&self) -> u64 {
        match self.nonces.len() as u64 {
            0 => 0,
            starts => self.first.saturating_add(starts - 1),
        }
    }

    /// The start after this one. After [`MAX`](Self::MAX) that the cluster has not noted, those
    /// that follow are the same one.
    #[must_use]
    pub fn next(mut self, nonce: u64) -> Self {
        if self.nonces.is_empty() {
            self.first = 1;
        }
        if self.nonces.len() < Self::MAX {
            self.nonces.push(nonce);
        }
        self
    }

    /// The same start when the cluster has noted it: nobody asks for those before it any more.
    #[must_use]
    pub fn noted(&self) -> Self {
        Self {
            first: self.number(),
            nonces: self.nonces.last().copied().into_iter().collect(),
        }
    }

    /// Whether this may be `known`, or a start of the same data after it. If not, the data is a
    /// restored or copied one.
    pub fn continues(&self, known: &Self) -> bool {
        let (number, Some(nonce)) = (known.number(), known.nonces.last()) else {
            return true;
        };
        // Whoever knows so little was away.
        number < self.first
            || usize::try_from(number - self.first)
                .is_ok_and(|place| self.nonces.get(place) == Some(nonce))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.first);
        out.put_varint(self.nonces.len() as u64);
        for nonce in &self.nonces {
            out.put_u64(*nonce);
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let first = r.varint("number of a start")?;
        let starts = r.count(8, "number of starts")?;
        if starts > Self::MAX {
            return r.fail("number of starts");
        }
        let nonces = (0..starts).map(|_| r.u64("nonce of a start"));
        Ok(Self {
            first,
            nonces: nonces.collect::<Decoded<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_continues_itself_and_those_before_it() {
        let first = Boot::default().next(11);
        let second = first.clone().next(22);
        assert_eq!((first.number(), second.number()), (1, 2));
        assert!(second.continues(&Boot::default()));
        assert!(second.continues(&second) && second.continues(&first));
        assert!(!first.continues(&second), "it is older");
        let later = second.noted().next(33).noted().next(44);
        assert_eq!((later.first(), later.number()), (3, 4));
        assert!(later.continues(&first) && later.continues(&second));
    }

    #[test]
    fn a_list_that_is_too_long_is_refused() {
        let mut stored = Vec::new();
        let boot = Boot {
            first: 1,
            nonces: vec![7; Boot::MAX + 1],
        };
        boot.encode(&mut stored);
        let refused = Boot::decode(&mut Reader::new(&stored)).unwrap_err();
        assert_eq!(refused.what, "number of starts");
    }

    #[test]
    fn a_copy_does_not_continue_what_was_started_after_it_was_made() {
        let copied = Boot::default().next(11).noted();
        let known = copied.clone().next(22);
        let mut copy = copied;
        for nonce in 0..2 * Boot::MAX as u64 {
            assert!(!copy.continues(&known));
            copy = copy.next(100 + nonce);
        }
        assert_eq!(copy.number(), Boot::MAX as u64);
    }
}
