//! Raises the command version.

use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::model::Cluster;
use crate::catalog::reply::{Refusal, Reply};
use crate::codec::{Decoded, Put, Reader};

/// Lets newer commands be proposed, once every member can apply them. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalizeVersion {
    /// The command version.
    pub version: u32,
}

impl FinalizeVersion {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.put_varint(u64::from(self.version));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            version: r.varint_u32("command version")?,
        })
    }

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        let Some(cluster) = m.cluster.clone() else {
            return Err(Refusal::NotFounded);
        };
        let version = self.version;
        let behind = m
            .members
            .values()
            .find(|member| member.node.command_version < version);
        if let Some(member) = behind {
            let (node, knows) = (member.node.node_id, member.node.command_version);
            return Err(Refusal::VersionTooHigh {
                version,
                node,
                knows,
            });
        }
        if version > cluster.version {
            m.put_cluster(step, Cluster { version, ..cluster });
        }
        Ok(Reply::Done)
    }
}
