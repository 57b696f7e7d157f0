//! Names of things: partitions, messages, payloads, deliveries.

use std::fmt;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{DecodeError, Decoded, Put, Reader};

/// The consumer group every queue has.
pub const DEFAULT_GROUP: u32 = 0;

/// A partition of a queue. Queue ids are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// Id of the queue.
    pub queue: u64,
    /// 0..the queue's number of partitions.
    pub partition: u32,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.queue, self.partition)
    }
}

/// Id of a message: where it was first accepted. Kept through every move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Queue that first accepted it.
    pub queue: u64,
    /// Partition that first accepted it.
    pub partition: u32,
    /// Sequence there, from 1.
    pub sequence: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.queue, self.partition, self.sequence)
    }
}

/// Where the bytes of a message are: a range in the data of one log entry of this group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PayloadRef {
    /// Log index of the entry.
    pub index: u64,
    /// First byte, from the start of the entry's data.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Id of a consumer session, chosen by the shell: unique as long as a lease of it may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

/// Names one delivery of one message. Clients see it as opaque bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// Partition that delivered it.
    pub partition: PartitionId,
    /// Group that it was delivered to.
    pub group: u32,
    /// Number of the delivery in the partition and group; never used again.
    pub delivery: u64,
    /// Place in the delivery's batch: 0..1,000.
    pub slot: u16,
    /// Epoch of the group.
    pub epoch: u32,
}

const RECEIPT_VERSION: u8 = 1;

impl Receipt {
    /// The opaque form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![RECEIPT_VERSION];
        out.put_varint(self.partition.queue);
        out.put_varint(u64::from(self.partition.partition));
        out.put_varint(u64::from(self.group));
        out.put_varint(self.delivery);
        out.put_varint(u64::from(self.slot));
        out.put_varint(u64::from(self.epoch));
        out
    }

    /// Reads the opaque form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        r.version(RECEIPT_VERSION, "receipt version")?;
        let receipt = Self {
            partition: read_partition(&mut r)?,
            group: r.varint_u32("receipt group")?,
            delivery: r.varint("receipt delivery")?,
            slot: r.varint_u16("receipt slot")?,
            epoch: r.varint_u32("receipt epoch")?,
        };
        r.finish("end of receipt")?;
        Ok(receipt)
    }
}

pub(crate) fn put_partition(out: &mut Vec<u8>, id: PartitionId) {
    out.put_varint(id.queue);
    out.put_varint(u64::from(id.partition));
}

pub(crate) fn read_partition(r: &mut Reader<'_>) -> Decoded<PartitionId> {
    Ok(PartitionId {
        queue: r.varint("queue id")?,
        partition: r.varint_u32("partition")?,
    })
}

pub(crate) fn put_message_id(out: &mut Vec<u8>, id: MessageId) {
    out.put_varint(id.queue);
    out.put_varint(u64::from(id.partition));
    out.put_varint(id.sequence);
}

pub(crate) fn read_message_id(r: &mut Reader<'_>) -> Decoded<MessageId> {
    let PartitionId { queue, partition } = read_partition(r)?;
    Ok(MessageId {
        queue,
        partition,
        sequence: r.varint("message sequence")?,
    })
}

/// Hash of an ordering key, never 0. Keys with the same hash share one order, which is harmless.
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64(key).max(1)
}

/// The partition of a key among `partitions` (1..=2^20): where its producers send, so that a key
/// stays in one partition whichever way its messages come. Stable for ever.
///
/// With more partitions a key keeps its own or belongs to one of the new ones, and as few do as
/// can be (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", in integers).
pub fn partition_of_key(hash: u64, partitions: u32) -> u32 {
    let (mut seed, mut partition, mut next) = (hash, 0, 0);
    while next < u64::from(partitions.max(1)) {
        partition = next;
        seed = seed.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((partition + 1) << 31) / ((seed >> 33) + 1);
    }
    partition as u32
}

/// Splits a payload into its header block (opaque to the core) and its body, without copying.
pub fn split_payload(payload: &Bytes) -> Result<(Bytes, Bytes), DecodeError> {
    let mut r = Reader::new(payload);
    let header = r.count(1, "length of payload header")?;
    let start = r.at();
    Ok((
        payload.slice(start..start + header),
        payload.slice(start + header..),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_comes_back_and_its_bytes_are_frozen() {
        let receipt = Receipt {
            partition: PartitionId {
                queue: 300,
                partition: 2,
            },
            group: 0,
            delivery: 77,
            slot: 999,
            epoch: 1,
        };
        let bytes = receipt.encode();
        assert_eq!(bytes, [1, 0xac, 2, 2, 0, 77, 0xe7, 7, 1]);
        assert_eq!(Receipt::decode(&bytes), Ok(receipt));
        assert!(Receipt::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Receipt::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn the_hash_of_a_key_and_its_partition_never_change() {
        assert_eq!(key_hash(b"customer-17"), 0xf22f_d48e_c1e6_739c);
        assert_eq!(partition_of_key(u64::MAX, 8), 7);
        assert_eq!(partition_of_key(0, 8), 0);
        assert_eq!(partition_of_key(key_hash(b"customer-3"), 8), 3);
        assert_eq!(partition_of_key(12345, 0), 0);
    }

    #[test]
    fn a_payload_splits_into_header_and_body() {
        let payload = Bytes::from_static(&[2, b'h', b'h', b'b']);
        let (header, body) = split_payload(&payload).unwrap();
        assert_eq!((&header[..], &body[..]), (&b"hh"[..], &b"b"[..]));
        assert!(split_payload(&Bytes::from_static(&[3, 0, 0])).is_err());
        assert!(split_payload(&Bytes::new()).is_err());
    }
}
