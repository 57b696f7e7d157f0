//! Hashes a piece of the rows, so that replicas can be compared.

use std::ops::ControlFlow;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3Default;

use crate::codec::{Decoded, Put, Reader};
use crate::kv::{Kv, KvError};
use crate::shard::keys;
use crate::shard::reply::{Digested, Reply};

/// Rows per [`Digest`] at most.
pub const MAX_DIGEST_ROWS: u32 = 1_000;

/// Bytes of keys and values per [`Digest`] at most.
pub const MAX_DIGEST_BYTES: u32 = 256 << 10;

/// Hashes the rows of the shard from a key on, as the ops before it left them. It changes none:
/// every replica hashes the same rows, and where the hash is another one the rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Where to begin; empty: at the first row. The reply says where to go on.
    pub from: Bytes,
    /// Rows at most, 1..=[`MAX_DIGEST_ROWS`].
    pub rows: u32,
    /// Bytes of keys and values at most, 1..=[`MAX_DIGEST_BYTES`]; the first row is hashed
    /// whatever its size.
    pub bytes: u32,
}

impl Digest {
    /// A piece as large as one may be.
    pub fn largest(from: Bytes) -> Self {
        Self {
            from,
            rows: MAX_DIGEST_ROWS,
            bytes: MAX_DIGEST_BYTES,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_prefixed(&self.from);
        out.put_varint(u64::from(self.rows));
        out.put_varint(u64::from(self.bytes));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let from = r.prefixed(keys::LONGEST, "first key of digest")?;
        let from = Bytes::copy_from_slice(from);
        let rows = r.varint_u32("rows of digest")?;
        let bytes = r.varint_u32("bytes of digest")?;
        if rows == 0 || rows > MAX_DIGEST_ROWS {
            return r.fail("rows of digest");
        }
        if bytes == 0 || bytes > MAX_DIGEST_BYTES {
            return r.fail("bytes of digest");
        }
        Ok(Self { from, rows, bytes })
    }

    pub(crate) fn apply(&self, kv: &dyn Kv) -> Result<Reply, KvError> {
        let (rows, bytes) = (self.rows as usize, self.bytes as usize);
        hash_rows(kv, &self.from, (rows, bytes)).map(Reply::Digested)
    }
}

/// Hashes rows from a key on, within limits of rows and of bytes; at least one, if there is one.
pub(crate) fn hash_rows(
    kv: &dyn Kv,
    from: &[u8],
    (max_rows, max_bytes): (usize, usize),
) -> Result<Digested, KvError> {
    let mut hash = Xxh3Default::new();
    let (mut rows, mut bytes, mut next) = (0, 0, None);
    kv.scan(from, &keys::end(), &mut |key, value| {
        let more = key.len() + value.len();
        if rows > 0 && (rows == max_rows || bytes + more > max_bytes) {
            next = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        for part in [key, value] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        rows += 1;
        bytes += more;
        ControlFlow::Continue(())
    })?;
    let hash = hash.digest();
    Ok(Digested { hash, rows, next })
}
