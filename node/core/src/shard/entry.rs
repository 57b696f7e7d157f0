//! A log entry: version, time, ops.

use bytes::Bytes;

use super::op::{LoggedOp, Op};
use crate::codec::{DecodeError, Decoded, Put, Reader};

/// Version byte of every entry of a shard.
pub(crate) const ENTRY_VERSION: u8 = 1;

/// Builds one entry. Payload bytes are copied into it once.
#[derive(Debug)]
pub struct EntryBuilder {
    data: Vec<u8>,
    ops: usize,
}

impl EntryBuilder {
    /// An entry of the cluster time `time_ms`, in ms since 1970.
    pub fn new(time_ms: u64) -> Self {
        Self::with_capacity(time_ms, 256)
    }

    /// An entry for which `bytes` are set aside.
    pub fn with_capacity(time_ms: u64, bytes: usize) -> Self {
        let mut data = Vec::with_capacity(bytes);
        data.push(ENTRY_VERSION);
        data.put_varint(time_ms);
        Self { data, ops: 0 }
    }

    /// Adds an op; the entry's ops are carried out in the order in which they were added.
    pub fn push(&mut self, op: &Op) {
        op.encode(&mut self.data);
        self.ops += 1;
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Number of ops so far: one reply each.
    pub fn ops(&self) -> usize {
        self.ops
    }

    /// Whether no op was added.
    pub fn is_empty(&self) -> bool {
        self.ops == 0
    }

    /// The encoded entry.
    pub fn finish(self) -> Bytes {
        self.data.into()
    }
}

/// Reads the time of an entry. One beyond any sensible year is damage, and would overflow.
pub(crate) fn read_time(r: &mut Reader<'_>) -> Decoded<u64> {
    let time_ms = r.varint("time of entry")?;
    if time_ms > MAX_TIME_MS {
        r.fail("time of entry")
    } else {
        Ok(time_ms)
    }
}

/// The year 10889 in ms since 1970.
const MAX_TIME_MS: u64 = 1 << 48;

/// Reads an entry op by op.
pub(crate) struct EntryReader<'a> {
    pub(crate) time_ms: u64,
    reader: Reader<'a>,
}

impl<'a> EntryReader<'a> {
    pub(crate) fn new(entry: &'a [u8]) -> Decoded<Self> {
        let mut reader = Reader::new(entry);
        reader.version(ENTRY_VERSION, "version of entry")?;
        let time_ms = read_time(&mut reader)?;
        Ok(Self { time_ms, reader })
    }

    pub(crate) fn next(&mut self) -> Decoded<Option<LoggedOp<'a>>> {
        if self.reader.is_empty() {
            Ok(None)
        } else {
            LoggedOp::decode(&mut self.reader).map(Some)
        }
    }
}

/// Checks that an entry can be read and tells its time and number of ops.
pub fn inspect(entry: &[u8]) -> Result<(u64, usize), DecodeError> {
    let mut reader = EntryReader::new(entry)?;
    let mut ops = 0;
    while reader.next()?.is_some() {
        ops += 1;
    }
    Ok((reader.time_ms, ops))
}
