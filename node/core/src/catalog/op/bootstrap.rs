//! Founds the cluster.

use crate::catalog::COMMAND_VERSION;
use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::{Cluster, Member, NodeInfo};
use crate::catalog::reply::{Refusal, Reply};
use crate::catalog::row::MAX_TEXT;
use crate::catalog::spread::founding;
use crate::codec::{Decoded, Put, Reader};
use std::collections::BTreeSet;

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

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        if let Some(cluster) = &m.cluster {
            return if cluster.id == self.cluster_id {
                Ok(Reply::Founded(false))
            } else {
                Err(Refusal::OtherCluster(cluster.id.clone()))
            };
        }
        self.check().map_err(Refusal::BadBootstrap)?;
        let versions = self.founders.iter().map(|founder| founder.command_version);
        let cluster = Cluster {
            id: self.cluster_id,
            shards: self.shards,
            replication_factor: self.replication_factor,
            version: versions.min().unwrap_or(COMMAND_VERSION),
            fence: 0,
            founded_at: step.now,
        };
        m.put_cluster(step, cluster);
        for (group, placement) in founding(
            &self.founders,
            self.shards,
            usize::from(self.replication_factor),
        ) {
            m.put_placement(step, group, placement);
        }
        for node in self.founders {
            m.put_member(
                step,
                Member {
                    node,
                    draining: false,
                    lost: false,
                    joined_at: step.now,
                },
            );
        }
        Ok(Reply::Founded(true))
    }

    fn check(&self) -> Result<(), String> {
        let Self {
            cluster_id,
            founders,
            shards,
            replication_factor,
        } = self;
        if !(1..=64).contains(&cluster_id.len()) {
            return Err("the cluster id must be 1 to 64 bytes long".into());
        }
        if !(1..=256).contains(shards) {
            return Err(format!("{shards} shards: 1 to 256 are possible"));
        }
        if ![1, 3, 5].contains(replication_factor) {
            return Err(format!(
                "replication factor {replication_factor}: must be 1, 3 or 5"
            ));
        }
        // One alone holds one copy of everything; there are more when more nodes join.
        let have = founders.len();
        if have != 1 && have < usize::from(*replication_factor) {
            return Err(format!(
                "{have} founders cannot hold {replication_factor} replicas"
            ));
        }
        let ids: BTreeSet<u64> = founders.iter().map(|founder| founder.node_id).collect();
        if ids.len() != founders.len() || ids.contains(&0) {
            return Err("node ids of founders must differ and not be 0".into());
        }
        Ok(())
    }
}
