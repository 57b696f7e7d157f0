//! What the node notes in its data directory.

use super::{Node, lock};
use crate::runtime::Runtime;
use crate::store::Damage;

impl<R: Runtime> Node<R> {
    /// Checks that a peer belongs to this node's cluster. A node that knows none joins.
    pub(crate) fn join_cluster(&self, cluster_id: &str) -> Result<(), String> {
        if cluster_id.is_empty() {
            return Err("the peer belongs to no cluster yet".to_owned());
        }
        let mut data_dir = lock(&self.data_dir);
        match data_dir.cluster_id() {
            Some(known) if known == cluster_id => Ok(()),
            Some(known) => Err(format!("this node belongs to cluster {known}")),
            None => {
                data_dir
                    .set_cluster_id(cluster_id)
                    .map_err(|error| error.to_string())?;
                self.shared.peers.set_cluster(cluster_id);
                Ok(())
            }
        }
    }

    /// The cluster has taken note of this start of the node.
    pub(crate) fn note_boot(&self) {
        if let Err(error) = lock(&self.data_dir).note_boot() {
            self.fence(&error.to_string());
        }
    }

    /// Remembers where other members listen, for a start on which the catalog cannot be read. What
    /// is known stays while nobody is.
    pub(super) fn note_members(&self, addresses: Vec<String>) {
        if addresses.is_empty() {
            return;
        }
        if let Err(error) = lock(&self.data_dir).note_members(addresses) {
            self.fence(&error.to_string());
        }
    }

    /// Remembers what was found damaged: the next start may not find it by itself.
    pub(super) fn note_damage(&self, damage: Damage) {
        if let Err(error) = lock(&self.data_dir).note_damage(Some(damage)) {
            tracing::error!(%error, "the damage could not be noted");
        }
    }

    /// The node in whose place this one came is out of the cluster.
    pub fn note_replaced(&self) {
        if let Err(error) = lock(&self.data_dir).note_replaced() {
            self.fence(&error.to_string());
        }
    }
}
