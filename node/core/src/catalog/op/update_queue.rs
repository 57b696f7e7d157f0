//! Changes a queue.

use crate::catalog::model::QueueName;
use crate::catalog::spec::QueueSpec;
use crate::codec::{Decoded, Put, Reader};

/// Replaces the specification of a queue; what cannot change in place is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateQueue {
    /// Namespace and name.
    pub name: QueueName,
    /// What it promises from now on.
    pub spec: QueueSpec,
    /// When not 0, refused unless it is the queue's present generation.
    pub expected_generation: u64,
}

impl UpdateQueue {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        self.spec.encode(out);
        out.put_varint(self.expected_generation);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            name: QueueName::decode(r)?,
            spec: QueueSpec::decode(r)?,
            expected_generation: r.varint("expected generation")?,
        })
    }
}
