//! The journal's space is used again: payloads that still live are moved, logs are purged.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use roadstead_core::shard::PayloadRef;
use tokio::sync::mpsc;

use super::Node;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;
use crate::store::LivePayloads;

struct Live<R: Runtime> {
    node: Weak<Node<R>>,
    wanted: mpsc::UnboundedSender<(GroupId, u64)>,
}

impl<R: Runtime> LivePayloads for Live<R> {
    fn live(&self, group: GroupId, first: u64, last: u64) -> Result<Vec<PayloadRef>, String> {
        let Some(node) = self.node.upgrade() else {
            return Err("the node is stopping".to_owned());
        };
        match node.groups().get(group) {
            None => Ok(Vec::new()),
            Some(group) => group
                .state()
                .live_payloads(first, last)
                .map_err(|e| e.to_string()),
        }
    }

    fn purge_wanted(&self, group: GroupId, index: u64) {
        let _ = self.wanted.send((group, index));
    }
}

/// Tells the store who knows the live payloads, and purges logs when it asks.
pub(super) fn start<R: Runtime>(node: &Arc<Node<R>>) {
    let (wanted, mut asked) = mpsc::unbounded_channel();
    let live = Live {
        node: Arc::downgrade(node),
        wanted,
    };
    node.store().set_live_payloads(Arc::new(live));
    let keeper = node.clone();
    node.shared().scope.spawn(async move {
        while let Some(first) = asked.recv().await {
            let mut upto = BTreeMap::from([first]);
            while let Ok((group, index)) = asked.try_recv() {
                let known = upto.entry(group).or_default();
                *known = index.max(*known);
            }
            for (group, index) in upto {
                purge(&keeper, group, index).await;
            }
        }
    });
}

/// openraft purges only what a snapshot covers; ours is a note that the state is durable.
async fn purge<R: Runtime>(node: &Node<R>, id: GroupId, index: u64) {
    let Some(group) = node.groups().get(id) else {
        return;
    };
    let trigger = group.raft().trigger();
    let asked = match trigger.snapshot().await {
        Ok(()) => trigger.purge_log(index).await,
        Err(error) => Err(error),
    };
    if let Err(error) = asked {
        tracing::debug!(group = id, %error, "log not purged");
    }
}
