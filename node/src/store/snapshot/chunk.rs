//! The chunks that a snapshot travels in.
//!
//! ```text
//! u8 version, u8 kind, then
//!   1 rows      u32 count, each: u16 key length, u32 value length, key, value
//!   2 payloads  u32 count, each: u64 index, u32 offset, u32 length, bytes
//!   3 end       u64 rows, u64 payloads, applied, membership
//! u32 CRC32C of all before
//! ```

use bytes::Bytes;
use roadstead_core::shard::PayloadRef;

use super::SnapshotInfo;
use crate::store::codec::{Take, put_optional_log_id, put_stored_membership};

const VERSION: u8 = 1;

/// Bytes after which a chunk takes no more.
pub(super) const CHUNK_BYTES: usize = 240 << 10;

/// A chunk being filled.
pub(super) struct Builder {
    bytes: Vec<u8>,
    count: u32,
}

impl Builder {
    pub(super) fn rows() -> Self {
        Self::new(1)
    }

    pub(super) fn payloads() -> Self {
        Self::new(2)
    }

    fn new(kind: u8) -> Self {
        Self {
            bytes: vec![VERSION, kind, 0, 0, 0, 0],
            count: 0,
        }
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) {
        self.count += 1;
        self.bytes
            .extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes
            .extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    pub(super) fn payload(&mut self, at: PayloadRef, bytes: &[u8]) {
        self.count += 1;
        self.bytes.extend_from_slice(&at.index.to_le_bytes());
        self.bytes.extend_from_slice(&at.offset.to_le_bytes());
        self.bytes.extend_from_slice(&at.len.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn finish(mut self) -> Bytes {
        self.bytes[2..6].copy_from_slice(&self.count.to_le_bytes());
        sealed(self.bytes)
    }
}

fn sealed(mut bytes: Vec<u8>) -> Bytes {
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.into()
}

pub(super) fn end(rows: u64, payloads: u64, info: &SnapshotInfo) -> Bytes {
    let mut bytes = vec![VERSION, 3];
    bytes.extend_from_slice(&rows.to_le_bytes());
    bytes.extend_from_slice(&payloads.to_le_bytes());
    put_optional_log_id(&mut bytes, info.applied.as_ref());
    put_stored_membership(&mut bytes, &info.membership);
    sealed(bytes)
}

/// A decoded chunk; keys, values and payloads share its memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Rows(Vec<(Bytes, Bytes)>),
    Payloads(Vec<(PayloadRef, Bytes)>),
    End {
        rows: u64,
        payloads: u64,
        info: SnapshotInfo,
    },
}

/// Decodes a chunk; any bytes are either that or an error.
pub(super) fn decode(bytes: &Bytes) -> Result<Chunk, String> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or("it is cut")?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err("its CRC32C does not match".into());
    }
    let mut take = Take(body);
    match take.u8() {
        Some(VERSION) => {}
        version => return Err(format!("version {version:?} is not known to this version")),
    }
    body_of(bytes, &mut take).ok_or_else(|| "its contents make no sense".into())
}

fn body_of(bytes: &Bytes, take: &mut Take<'_>) -> Option<Chunk> {
    let kind = take.u8()?;
    let chunk = match kind {
        1 => {
            let mut rows = Vec::new();
            for _ in 0..take.u32()? {
                let (key, value) = (usize::from(take.u16()?), take.u32()? as usize);
                let (key, value) = (take.bytes(key)?, take.bytes(value)?);
                rows.push((bytes.slice_ref(key), bytes.slice_ref(value)));
            }
            Chunk::Rows(rows)
        }
        2 => {
            let mut payloads = Vec::new();
            for _ in 0..take.u32()? {
                let at = PayloadRef {
                    index: take.u64()?,
                    offset: take.u32()?,
                    len: take.u32()?,
                };
                payloads.push((at, bytes.slice_ref(take.bytes(at.len as usize)?)));
            }
            Chunk::Payloads(payloads)
        }
        3 => Chunk::End {
            rows: take.u64()?,
            payloads: take.u64()?,
            info: SnapshotInfo {
                applied: take.optional_log_id()?,
                membership: take.stored_membership()?,
            },
        },
        _ => return None,
    };
    take.0.is_empty().then_some(chunk)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: PayloadRef = PayloadRef {
        index: 1,
        offset: 2,
        len: 3,
    };

    #[test]
    fn chunks_come_back_and_flipped_bits_are_seen() {
        let mut rows = Builder::rows();
        rows.row(b"key", b"value");
        rows.row(b"", b"");
        let mut payloads = Builder::payloads();
        payloads.payload(AT, b"abc");
        let row = |key: &'static str, value: &'static str| (key.into(), value.into());
        for (bytes, chunk) in [
            (
                rows.finish(),
                Chunk::Rows(vec![row("key", "value"), row("", "")]),
            ),
            (payloads.finish(), Chunk::Payloads(vec![(AT, "abc".into())])),
            (
                end(4, 5, &SnapshotInfo::default()),
                Chunk::End {
                    rows: 4,
                    payloads: 5,
                    info: SnapshotInfo::default(),
                },
            ),
        ] {
            assert_eq!(decode(&bytes), Ok(chunk));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                decode(&flipped.into()).unwrap_err();
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_with_a_good_crc_are_decoded_or_refused(kind in 0_u8..5, body: Vec<u8>) {
            let _ = decode(&sealed([&[VERSION, kind][..], &body].concat()));
        }
    }
}
