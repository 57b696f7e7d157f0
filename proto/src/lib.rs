//! The gRPC interface of Roadstead: package `roadstead.v1`.
//!
//! The `.proto` files beside this crate are the contract and hold its documentation; everything
//! here is generated from them. `bytes` fields are [`bytes::Bytes`], maps are `BTreeMap`s.

/// Package `roadstead.v1`.
#[allow(
    missing_docs,
    clippy::pedantic,
    unused_qualifications,
    reason = "generated; documented in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("roadstead.v1");
}

/// The encoded `FileDescriptorSet` of the package, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
