//! This node runs the groups that the catalog places on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;
use openraft_rt::{Instant as _, Select2};

use super::Node;
use crate::raft::Group;
use crate::raft::types::{CATALOG, GroupId, NodeId};
use crate::runtime::Runtime;

/// How often the placement is looked at again even when nothing changed.
const PERIOD: Duration = Duration::from_secs(1);

/// How much earlier than the next a founder founds a group. Who founds it stands for election at
/// once, so the first one leads it.
const HEAD_START: Duration = Duration::from_millis(400);

/// When each group that is being founded was first seen here.
type Founding<R> = BTreeMap<GroupId, <R as AsyncRuntime>::Instant>;

/// A replica that is placed elsewhere stops after this, though its group has not told it that it
/// was let go: whoever leads does not send to it any more.
const FAREWELL: Duration = Duration::from_secs(5);

/// Groups to run here, with the addresses of the voters they are founded with.
type Wanted = BTreeMap<GroupId, BTreeMap<NodeId, BasicNode>>;

pub(super) async fn run<R: Runtime>(node: Arc<Node<R>>) {
    let mut founding = Founding::<R>::new();
    let mut unplaced = BTreeMap::new();
    // A node that stops starts no group again.
    while !node.is_stopping() {
        let view = node.catalog();
        let version = view.version();
        node.meet_members();
        for (id, voters) in wanted(&node) {
            if let Err(error) = run_group(&node, id, voters, &mut founding).await {
                tracing::error!(group = id, %error, "group cannot run here");
            }
        }
        stop_unplaced(&node, &mut unplaced).await;
        let changed = view.changed(version);
        let pause = R::sleep(PERIOD);
        if let Select2::First(_) = R::select2(Box::pin(changed), Box::pin(pause)).await {
            tracing::trace!("the catalog changed");
        }
    }
}

fn wanted<R: Runtime>(node: &Node<R>) -> Wanted {
    let me = node.node_id();
    node.catalog().read(|catalog| {
        let node_of = |id: &NodeId| {
            let member = catalog.members().get(id);
            let address = member.map_or("", |member| &member.node.peer_address);
            (*id, BasicNode::new(address))
        };
        catalog
            .placements()
            .iter()
            .filter(|(id, _)| **id != CATALOG)
            .filter(|(_, place)| place.is_on(me))
            .map(|(id, place)| (*id, place.voters.iter().map(node_of).collect()))
            .collect()
    })
}

async fn run_group<R: Runtime>(
    node: &Arc<Node<R>>,
    id: GroupId,
    voters: BTreeMap<NodeId, BasicNode>,
    founding: &mut Founding<R>,
) -> Result<(), String> {
    if let Some(group) = node.groups().get(id) {
        return found(node, &group, voters, founding).await;
    }
    let group = Group::start(id, node.shared().clone())
        .await
        .map_err(|e| e.to_string())?;
    node.add_shard(group.clone());
    tracing::debug!(group = id, "group runs");
    found(node, &group, voters, founding).await
}

/// The first placement of a group names its founders. Each of them founds it with the same voters,
/// which is the same as one of them doing so; they take turns, so that each leads as many groups.
async fn found<R: Runtime>(
    node: &Node<R>,
    group: &Group<R>,
    voters: BTreeMap<NodeId, BasicNode>,
    founding: &mut Founding<R>,
) -> Result<(), String> {
    let id = group.id();
    let turn = turn(id, &voters, node.node_id());
    let Some(turn) = turn.filter(|_| node.is_founding(id)) else {
        founding.remove(&id);
        return Ok(());
    };
    let since = *founding.entry(id).or_insert_with(R::Instant::now);
    if since.elapsed() < HEAD_START * turn {
        return Ok(());
    }
    group.found(voters).await
}

/// How many founders come before this node; `None` when it is none.
fn turn(group: GroupId, voters: &BTreeMap<NodeId, BasicNode>, me: NodeId) -> Option<u32> {
    let place = voters.keys().position(|voter| *voter == me)?;
    let first = group as usize % voters.len();
    u32::try_from((place + voters.len() - first) % voters.len()).ok()
}

/// Stops groups that are placed elsewhere and that have let this node go: a placement is narrowed
/// only after the group's voters are changed. What they hold stays on the disk.
async fn stop_unplaced<R: Runtime>(
    node: &Arc<Node<R>>,
    unplaced: &mut BTreeMap<GroupId, R::Instant>,
) {
    let me = node.node_id();
    let placed: BTreeSet<GroupId> = node.catalog().read(|catalog| {
        let places = catalog.placements().iter();
        let here = places.filter(|(_, place)| place.is_on(me));
        here.map(|(id, _)| *id).collect()
    });
    unplaced.retain(|id, _| !placed.contains(id));
    for group in node.groups().all() {
        if group.id() == CATALOG || placed.contains(&group.id()) {
            continue;
        }
        let member = {
            let metrics = group.raft().metrics();
            let seen = metrics.borrow_watched();
            seen.membership_config.nodes().any(|(id, _)| *id == me)
        };
        let since = *unplaced.entry(group.id()).or_insert_with(R::Instant::now);
        if !member || since.elapsed() >= FAREWELL {
            unplaced.remove(&group.id());
            tracing::info!(
                group = group.id(),
                "group is placed elsewhere and stops here"
            );
            node.remove_shard(group.id()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn founders_take_turns() {
        let voters: BTreeMap<NodeId, BasicNode> =
            [7, 20, 33].map(|id| (id, BasicNode::new(""))).into();
        for group in 1..=9 {
            let turns = [7, 20, 33].map(|node| turn(group, &voters, node).unwrap());
            assert_eq!(BTreeSet::from(turns), BTreeSet::from([0, 1, 2]));
        }
        let firsts = (1..=9).filter(|group| turn(*group, &voters, 20) == Some(0));
        assert_eq!(firsts.count(), 3);
        assert_eq!(turn(1, &voters, 8), None);
    }
}
