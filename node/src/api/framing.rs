//! Where messages begin and end in the bytes of a gRPC request. Pure.

/// A flag and the length of what follows, in bytes.
const HEADER: usize = 5;

/// Follows the messages in a request's body, chunk by chunk.
#[derive(Debug, Default)]
pub struct Framing {
    header: [u8; HEADER],
    /// Bytes of the header that are here.
    begun: usize,
    /// Bytes of the message that are not here yet; of use when the header is complete.
    missing: usize,
}

impl Framing {
    /// Takes in the next chunk.
    pub fn read(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            if self.begun < HEADER {
                let taken = chunk.len().min(HEADER - self.begun);
                self.header[self.begun..][..taken].copy_from_slice(&chunk[..taken]);
                self.begun += taken;
                chunk = &chunk[taken..];
                self.missing = self.length();
            } else {
                let taken = chunk.len().min(self.missing);
                self.missing -= taken;
                chunk = &chunk[taken..];
            }
            if self.begun == HEADER && self.missing == 0 {
                self.begun = 0;
            }
        }
    }

    /// Bytes of the message that is incomplete; 0 between messages.
    pub fn partial(&self) -> usize {
        match self.begun {
            HEADER => HEADER + self.length() - self.missing,
            begun => begun,
        }
    }

    /// Bytes that the incomplete message will have, once that is known.
    pub fn expected(&self) -> Option<usize> {
        (self.begun == HEADER).then(|| self.length())
    }

    fn length(&self) -> usize {
        let [_, length @ ..] = self.header;
        u32::from_be_bytes(length) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let header = (length as u32).to_be_bytes();
        [&[0][..], &header, &vec![7; length]].concat()
    }

    #[test]
    fn a_message_is_followed_from_its_first_byte_to_its_last() {
        let mut framing = Framing::default();
        let bytes = message(300);
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(framing.partial(), at);
            assert_eq!(framing.expected(), (at >= HEADER).then_some(300));
            framing.read(&[*byte]);
        }
        assert_eq!((framing.partial(), framing.expected()), (0, None));
    }

    #[test]
    fn the_largest_length_overflows_nothing() {
        let mut framing = Framing::default();
        framing.read(&[1, 255, 255, 255, 255, 0]);
        assert_eq!(framing.partial(), 6);
        assert_eq!(framing.expected(), Some(u32::MAX as usize));
    }

    proptest! {
        /// However they are cut, what lies behind the last whole message is incomplete.
        #[test]
        fn cuts_make_no_difference(
            lengths in prop::collection::vec(0usize..40, 1..8),
            cuts in prop::collection::vec(1usize..30, 1..40),
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
            let ends: Vec<usize> = lengths
                .iter()
                .scan(0, |end, length| { *end += HEADER + length; Some(*end) })
                .collect();
            let (mut framing, mut at) = (Framing::default(), 0);
            for cut in cuts {
                let next = (at + cut).min(bytes.len());
                framing.read(&bytes[at..next]);
                at = next;
                let whole = ends.iter().rfind(|end| **end <= at).copied().unwrap_or(0);
                prop_assert_eq!(framing.partial(), at - whole);
            }
        }
    }
}
