//! Raises the command version.

use crate::codec::{Decoded, Put, Reader};

/// Lets newer commands be proposed, once every member can apply them. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalizeVersion {
    /// The command version.
    pub version: u32,
}

impl FinalizeVersion {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(u64::from(self.version));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            version: r.varint_u32("command version")?,
        })
    }
}
