//! A log entry of the catalog: version, time, ops.

use bytes::Bytes;

use super::op::Op;
use crate::codec::{Decoded, Put, Reader};
use crate::shard::read_time;

/// Version byte of every entry of the catalog.
pub(crate) const ENTRY_VERSION: u8 = 1;

/// Encodes an entry of the cluster time `time_ms` (ms since 1970) with these ops.
pub fn encode_entry(time_ms: u64, ops: &[Op]) -> Bytes {
    let mut out = vec![ENTRY_VERSION];
    out.put_varint(time_ms);
    for op in ops {
        op.encode(&mut out);
    }
    out.into()
}

pub(crate) fn decode_entry(entry: &[u8]) -> Decoded<(u64, Vec<Op>)> {
    let mut r = Reader::new(entry);
    r.version(ENTRY_VERSION, "version of entry")?;
    let time_ms = read_time(&mut r)?;
    let mut ops = Vec::new();
    while !r.is_empty() {
        ops.push(Op::decode(&mut r)?);
    }
    Ok((time_ms, ops))
}
