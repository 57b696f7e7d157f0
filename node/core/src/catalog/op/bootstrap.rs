//! Founds the cluster.

use crate::catalog::model::NodeInfo;
use crate::catalog::row::MAX_TEXT;
use crate::codec::{Decoded, Put, Reader};

/// Founds the cluster: its members, and where the replicas of every group shall be.
///
/// Said again with the same cluster id it does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Id of the cluster, 1..=64 bytes.
    pub cluster_id: String,
    /// The first members: as many as the replication factor, or more.
    pub founders: Vec<NodeInfo>,
    /// 1..=256.
    pub shards: u16,
    /// 1, 3 or 5.
    pub replication_factor: u8,
}

impl Bootstrap {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_prefixed(self.cluster_id.as_bytes());
        out.put_varint(u64::from(self.shards));
        out.push(self.replication_factor);
        out.put_varint(self.founders.len() as u64);
        for founder in &self.founders {
            founder.encode(out);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let cluster_id = r.text(MAX_TEXT, "cluster id")?;
        let shards = r.varint_u16("number of shards")?;
        let replication_factor = r.u8("replication factor")?;
        let count = r.count(8, "number of founders")?;
        let founders = (0..count)
            .map(|_| NodeInfo::decode(r))
            .collect::<Decoded<_>>()?;
        Ok(Self {
            cluster_id,
            founders,
            shards,
            replication_factor,
        })
    }
}
