//! The little codec of entries and rows: LEB128 numbers, fixed big-endian numbers, byte strings.
//!
//! Reading never panics, and nothing is allocated that the input does not justify.

use std::fmt;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// What was being read.
    pub what: &'static str,
    /// Where in the input, in bytes from its start.
    pub at: usize,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for DecodeError {}

/// Result of reading.
pub(crate) type Decoded<T> = Result<T, DecodeError>;

/// Reads from a slice, front to back.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.data.len() - self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    pub(crate) fn fail<T>(&self, what: &'static str) -> Decoded<T> {
        Err(DecodeError { what, at: self.at })
    }

    pub(crate) fn bytes(&mut self, len: usize, what: &'static str) -> Decoded<&'a [u8]> {
        if len > self.remaining() {
            return self.fail(what);
        }
        let bytes = &self.data[self.at..self.at + len];
        self.at += len;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Decoded<u8> {
        let Some(&byte) = self.data.get(self.at) else {
            return self.fail(what);
        };
        self.at += 1;
        Ok(byte)
    }

    /// A number written by `put_varint`.
    pub(crate) fn varint(&mut self, what: &'static str) -> Decoded<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return self.fail(what);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.fail(what)
    }

    pub(crate) fn varint_u32(&mut self, what: &'static str) -> Decoded<u32> {
        let value = self.varint(what)?;
        u32::try_from(value).or_else(|_| self.fail(what))
    }

    pub(crate) fn varint_u16(&mut self, what: &'static str) -> Decoded<u16> {
        let value = self.varint(what)?;
        u16::try_from(value).or_else(|_| self.fail(what))
    }

    /// A number of things that follow, each of at least `each` bytes.
    pub(crate) fn count(&mut self, each: usize, what: &'static str) -> Decoded<usize> {
        let value = self.varint(what)?;
        match usize::try_from(value) {
            Ok(count) if count <= self.remaining() / each => Ok(count),
            _ => self.fail(what),
        }
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Decoded<u64> {
        Ok(self
            .bytes(8, what)?
            .iter()
            .fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Decoded<u128> {
        Ok(self
            .bytes(16, what)?
            .iter()
            .fold(0, |n, b| n << 8 | u128::from(*b)))
    }

    /// A byte string with its length in front, at most `max` bytes.
    pub(crate) fn prefixed(&mut self, max: usize, what: &'static str) -> Decoded<&'a [u8]> {
        let len = self.count(1, what)?;
        if len > max {
            return self.fail(what);
        }
        self.bytes(len, what)
    }

    /// UTF-8 text with its length in front, at most `max` bytes.
    pub(crate) fn text(&mut self, max: usize, what: &'static str) -> Decoded<String> {
        let bytes = self.prefixed(max, what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.fail(what),
        }
    }

    /// The version byte of an entry or row.
    pub(crate) fn version(&mut self, known: u8, what: &'static str) -> Decoded<()> {
        if self.u8(what)? == known {
            Ok(())
        } else {
            self.fail(what)
        }
    }

    pub(crate) fn finish(&self, what: &'static str) -> Decoded<()> {
        if self.is_empty() {
            Ok(())
        } else {
            self.fail(what)
        }
    }
}

/// Writes to the end of a vector.
pub(crate) trait Put {
    fn put_varint(&mut self, value: u64);
    fn put_u64(&mut self, value: u64);
    fn put_u128(&mut self, value: u128);
    fn put_prefixed(&mut self, bytes: &[u8]);
}

impl Put for Vec<u8> {
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u128(&mut self, value: u128) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_prefixed(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_strings_come_back(
            a: u64, b: u32, c: u128, text in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut out = Vec::new();
            out.put_varint(a);
            out.put_varint(u64::from(b));
            out.put_u64(a);
            out.put_u128(c);
            out.put_prefixed(&text);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.varint("a").unwrap(), a);
            prop_assert_eq!(r.varint_u32("b").unwrap(), b);
            prop_assert_eq!(r.u64("a").unwrap(), a);
            prop_assert_eq!(r.u128("c").unwrap(), c);
            prop_assert_eq!(r.prefixed(300, "text").unwrap(), &text[..]);
            prop_assert!(r.finish("end").is_ok());
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        let eleven = [0xff_u8; 11];
        assert!(Reader::new(&eleven).varint("n").is_err());
        let mut too_big = vec![0xff_u8; 9];
        too_big.push(2);
        assert!(Reader::new(&too_big).varint("n").is_err());
        too_big[9] = 1;
        assert_eq!(Reader::new(&too_big).varint("n").unwrap(), u64::MAX);
    }

    #[test]
    fn a_count_beyond_the_input_is_refused() {
        let mut out = Vec::new();
        out.put_varint(u64::MAX);
        assert_eq!(
            Reader::new(&out).count(1, "n"),
            Err(DecodeError { what: "n", at: 10 })
        );
        assert!(Reader::new(&[2, 0]).count(1, "n").is_err());
        assert_eq!(Reader::new(&[2, 0, 0]).count(1, "n"), Ok(2));
    }
}
