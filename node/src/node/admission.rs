//! A node takes part only when its peers know of no later start of it than this one.
//!
//! On a volume that was put back to an older state, or copied, a node has forgotten what it voted
//! for and what it acknowledged. Whoever knows its latest start says so; to hear it, the node asks
//! all other members before it asks or answers anything else, and goes on when all have answered,
//! or a majority has and the others have been waited for: one of them may be the one that knows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft_rt::Instant as _;

use super::Node;
use crate::raft::types::NodeId;
use crate::runtime::Runtime;

/// The longest that one answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// Those that do not answer are waited for as long, when a majority has answered. Longer than it
/// takes to replace a pod: a peer that is about to come back may be the one that knows.
const MOMENT: Duration = Duration::from_secs(5);
/// Pause before those that have not answered are asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// Without a majority a node goes on after this. It may be away for so long that the members it
/// knows are members no more; who is, checks its start with every link.
const LONELY: Duration = Duration::from_secs(10);

pub(super) async fn run<R: Runtime>(node: Arc<Node<R>>) {
    let mut silent = others(&node);
    let members = silent.len() + 1;
    let began = R::Instant::now();
    while !silent.is_empty() {
        let asked = silent.iter().map(|peer| {
            let (peer, peers) = (*peer, node.peers());
            async move { peers.introduce(peer, ANSWER).await.map(|()| peer) }
        });
        for answered in join_all(asked).await {
            match answered {
                Ok(peer) => drop(silent.remove(&peer)),
                Err(why) => tracing::debug!(why, "a peer has not answered yet"),
            }
        }
        let has_majority = (members - silent.len()) * 2 > members;
        if has_majority && began.elapsed() >= MOMENT {
            break;
        }
        if began.elapsed() >= LONELY {
            tracing::warn!(
                members,
                silent = silent.len(),
                "no majority of peers answers"
            );
            break;
        }
        if !silent.is_empty() {
            R::sleep(PAUSE).await;
        }
    }
    node.peers().admit();
}

/// The other members, as the catalog on this node's disk has them; it may be behind.
fn others<R: Runtime>(node: &Node<R>) -> BTreeSet<NodeId> {
    let members = node.catalog().read(|catalog| {
        let members = catalog.members().values();
        let known = members.map(|member| (member.node.node_id, member.node.peer_address.clone()));
        known.collect::<Vec<_>>()
    });
    for (id, address) in &members {
        node.peers().set_address(*id, address);
    }
    let ids = members.into_iter().map(|(id, _)| id);
    ids.filter(|id| *id != node.node_id()).collect()
}
