//! Frames: what one write puts on disk, whole or not at all.
//!
//! A frame begins on a multiple of 512 bytes, so that no byte that was acknowledged is ever
//! written again.
//!
//! ```text
//!  0  u32  magic
//!  4  u8   version
//!  5  u8   1 at the head of a segment, else 0
//!  6  u16  zero
//!  8  u32  bytes of records
//! 12  u32  number of records
//! 16  u64  nonce of the journal: no payload can be mistaken for a frame
//! 24  u64  number of the segment
//! 32  u64  number of the frame; numbers rise through the whole journal
//! 40  u64  number of the frame before it, 0 for the first
//! 48  u32  CRC32C of bytes 0 to 48
//! 52  u32  zero
//! 56  ..   records, then zeros
//! ```
//!
//! A frame is written only after the one before it was synced. So what cannot be read at the end
//! was never acknowledged and is cut; what cannot be read before a later frame is damage.

use super::super::codec::Take;

/// Bytes of a frame's header.
pub(super) const FRAME_HEADER: usize = 56;

/// Frames begin on multiples of this.
pub(super) const ALIGN: usize = 512;

const MAGIC: u32 = u32::from_le_bytes(*b"RsJf");
const VERSION: u8 = 1;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Whether it is the first of its segment.
    pub head: bool,
    /// Bytes of records.
    pub length: u32,
    /// Number of records.
    pub records: u32,
    /// Nonce of the journal.
    pub nonce: u64,
    /// Number of the segment.
    pub segment: u64,
    /// Number of the frame.
    pub frame: u64,
    /// Number of the frame before it.
    pub before: u64,
}

impl FrameHeader {
    /// The header's bytes.
    pub(super) fn encode(&self) -> [u8; FRAME_HEADER] {
        let mut out = [0; FRAME_HEADER];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4] = VERSION;
        out[5] = u8::from(self.head);
        out[8..12].copy_from_slice(&self.length.to_le_bytes());
        out[12..16].copy_from_slice(&self.records.to_le_bytes());
        out[16..24].copy_from_slice(&self.nonce.to_le_bytes());
        out[24..32].copy_from_slice(&self.segment.to_le_bytes());
        out[32..40].copy_from_slice(&self.frame.to_le_bytes());
        out[40..48].copy_from_slice(&self.before.to_le_bytes());
        let crc = crc32c::crc32c(&out[..48]);
        out[48..52].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header, if `bytes` begin with one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        if take.u32()? != MAGIC || take.u8()? != VERSION {
            return None;
        }
        let head = take.flag()?;
        take.u16()?;
        let header = Self {
            head,
            length: take.u32()?,
            records: take.u32()?,
            nonce: take.u64()?,
            segment: take.u64()?,
            frame: take.u64()?,
            before: take.u64()?,
        };
        (take.u32()? == crc32c::crc32c(&bytes[..48])).then_some(header)
    }

    /// Bytes the frame takes on disk.
    pub(super) fn size(&self) -> usize {
        (FRAME_HEADER + self.length as usize).next_multiple_of(ALIGN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: FrameHeader = FrameHeader {
        head: true,
        length: 1000,
        records: 3,
        nonce: 0xDEAD_BEEF,
        segment: 5,
        frame: 99,
        before: 98,
    };

    #[test]
    fn a_header_comes_back_and_a_flipped_bit_is_seen() {
        let bytes = HEADER.encode();
        assert_eq!(FrameHeader::decode(&bytes), Some(HEADER));
        assert_eq!(HEADER.size(), 1536);
        for bit in 0..52 * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&flipped), None, "bit {bit}");
        }
        assert_eq!(FrameHeader::decode(&bytes[..51]), None);
    }
}
