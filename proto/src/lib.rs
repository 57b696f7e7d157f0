//! The gRPC interface of Roadstead: package `roadstead.v1`.
//!
//! The `.proto` files beside this crate are the contract and hold its documentation; the messages
//! here are generated from them. `bytes` fields are [`bytes::Bytes`], maps are `BTreeMap`s.

pub mod codec;
pub mod credit;
mod deduplication;

pub use deduplication::{content_hash, hash_in_key, id_hash, is_deduplicated, partition_of};

/// Package `roadstead.v1`.
#[allow(
    missing_docs,
    clippy::pedantic,
    clippy::large_enum_variant,
    unused_qualifications,
    reason = "generated; documented in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("roadstead.v1");
}

/// The encoded `FileDescriptorSet` of the package, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `namespace/name`.
impl std::fmt::Display for v1::QueueRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The partition, of `partitions` (at least 1), that messages with this ordering key go to.
///
/// Part of the contract: whoever routes a message by its key, client or node, uses this function.
/// The key's hash is XXH3 (64 bits, seed 0) of its UTF-8 bytes; from it the partition follows by
/// jump consistent hash (Lamping and Veach) in integers: with more partitions a key keeps its own
/// or belongs to one of the new ones.
pub fn partition_of_key(key: &str, partitions: u32) -> u32 {
    let mut seed = xxhash_rust::xxh3::xxh3_64(key.as_bytes());
    let (mut partition, mut next) = (0, 0);
    while next < u64::from(partitions.max(1)) {
        partition = next;
        seed = seed.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((partition + 1) << 31) / ((seed >> 33) + 1);
    }
    partition as u32
}

#[cfg(test)]
mod tests {
    use super::partition_of_key;

    #[test]
    fn keys_keep_their_partition_for_ever() {
        let keys = ["", "a", "customer-3", "naïve"];
        assert_eq!(keys.map(|key| partition_of_key(key, 8)), [0, 1, 3, 3]);
        assert_eq!(keys.map(|key| partition_of_key(key, 1)), [0; 4]);
    }
}
