//! Creates a queue.

use crate::catalog::model::QueueName;
use crate::catalog::spec::QueueSpec;
use crate::codec::{Decoded, Reader};

/// Creates a queue and spreads its partitions over the shards that have the fewest.
///
/// One that exists with the same specification is answered as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateQueue {
    /// Namespace and name.
    pub name: QueueName,
    /// What it promises.
    pub spec: QueueSpec,
}

impl CreateQueue {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        self.spec.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            name: QueueName::decode(r)?,
            spec: QueueSpec::decode(r)?,
        })
    }
}
