//! Creates a partition or changes what it promises.

use crate::codec::{Decoded, Reader};
use crate::shard::PartitionConfig;
use crate::shard::id::{PartitionId, put_partition, read_partition};

/// Creates a partition or replaces its configuration.
///
/// A configuration whose `revision` is not higher than the present one changes nothing, so it may
/// be said again at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configure {
    /// The partition.
    pub partition: PartitionId,
    /// What it promises from now on.
    pub config: PartitionConfig,
}

impl Configure {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        self.config.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            partition: read_partition(r)?,
            config: PartitionConfig::decode(r)?,
        })
    }
}
