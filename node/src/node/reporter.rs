//! This node tells the catalog's leader of itself, and hears who leads what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use openraft::async_runtime::WatchReceiver;
use openraft_rt::Select2;
use roadstead_proto::v1::{
    GroupReport, LoggedDigest as Told, Replica, ReportMember, ShardCall, shard_call::Call,
    shard_reply::Reply,
};

use super::Node;
use crate::auth::Principal;
use crate::catalog::divergence::DigestCounts;
use crate::gateway::shards::Shards;
use crate::raft::Group;
use crate::raft::digests::LoggedDigest;
use crate::raft::membership::lag_of;
use crate::raft::types::{CATALOG, GroupId};
use crate::runtime::Runtime;
use crate::store::Damage;

/// Time between two reports.
const PERIOD: Duration = Duration::from_secs(1);

/// What changes within so long is told at once.
const GATHERING: Duration = Duration::from_millis(20);

/// Time between two reports while something moves.
const PERIOD_UNSETTLED: Duration = Duration::from_millis(200);

pub(super) async fn run<R: Runtime>(node: Arc<Node<R>>) {
    loop {
        let groups = node.groups().all();
        let seen: Vec<_> = groups
            .iter()
            .map(|group| group.leadership().epoch)
            .collect();
        let report = report(&node);
        let settled = report.groups.iter().all(|group| group.leader != 0);
        let principal = Some(Principal::Node(node.node_id()).to_info());
        let call = ShardCall {
            principal,
            call: Some(Call::ReportMember(report)),
        };
        let directory = node.directory();
        if let Some((_, leader)) = directory.leader_of(CATALOG) {
            match directory.call(leader, CATALOG, call, PERIOD).await {
                Ok(reply) => {
                    if let Some(Reply::Report(report)) = reply.reply {
                        if !report.damaged.is_empty() {
                            node.store().failure().set(diverged(report.damaged).into());
                            return;
                        }
                        if report.given_up {
                            node.store().failure().set(given_up().into());
                            return;
                        }
                        directory.heard(&report.groups);
                        node.note_boot();
                    }
                }
                Err(error) if error.code == tonic::Code::FailedPrecondition => {
                    node.fence(&error.message);
                    return;
                }
                Err(error) => tracing::debug!(%error, "report not taken"),
            }
        }
        let pause = R::sleep(if settled { PERIOD } else { PERIOD_UNSETTLED });
        let moves = groups.iter().zip(seen);
        let moves = moves.map(|(group, epoch)| Box::pin(group.leadership_changed(epoch)));
        let news = R::select2(Box::pin(node.rests()), select_all(moves));
        if let Select2::Second(_) = R::select2(Box::pin(pause), Box::pin(news)).await {
            // Several may be about to move.
            R::sleep(GATHERING).await;
        }
    }
}

/// Rows that are not those of the other replicas. Which of them, nobody can say from here.
fn diverged(what: String) -> Damage {
    Damage {
        file: "lmdb/data.mdb".to_owned(),
        offset: 0,
        what,
    }
}

/// The cluster did without this data when it was asked to, and may have too few copies with it.
fn given_up() -> Damage {
    Damage {
        file: "journal".to_owned(),
        offset: 0,
        what: "it was damaged before, and the cluster has given it up".to_owned(),
    }
}

/// What this node says of itself.
pub(super) fn report<R: Runtime>(node: &Node<R>) -> ReportMember {
    let config = node.config();
    let hello = node.peers().hello();
    ReportMember {
        boot: hello.boot,
        node_id: hello.node_id,
        name: config.name.clone(),
        peer_address: config.peer_address.clone(),
        client_address: config.client_address.clone(),
        zone: config.zone.clone(),
        binary_version: hello.binary_version,
        command_version: hello.command_version,
        groups: node
            .groups()
            .all()
            .iter()
            .map(|group| report_group(group))
            .collect(),
        may_lead: node.may_lead(),
    }
}

/// What this node knows of a group.
pub fn report_group<R: Runtime>(group: &Group<R>) -> GroupReport {
    let leadership = group.leadership();
    let metrics = group.raft().metrics();
    let seen = metrics.borrow_watched();
    let membership = &seen.membership_config;
    let lag = lag_of(&seen);
    let replicas = membership
        .nodes()
        .map(|(node, _)| Replica {
            node_id: *node,
            voter: membership.voter_ids().any(|voter| voter == *node),
            lag: if *node == group.node_id() {
                Some(0)
            } else {
                lag.get(node).copied()
            },
        })
        .collect();
    let digests = group.state().lock().digests.all();
    let digests = digests.into_iter().map(logged_digest).collect();
    let index = |id: Option<crate::raft::types::LogId>| id.map_or(0, |id| id.index);
    GroupReport {
        group: u32::from(group.id()),
        term: leadership.term,
        leader: leadership.leader.unwrap_or_default(),
        committed_index: index(seen.local_committed),
        applied_index: index(seen.last_applied),
        replicas,
        joint: membership.membership().get_joint_config().len() > 1,
        digests,
    }
}

fn logged_digest(LoggedDigest { term, index, hash }: LoggedDigest) -> Told {
    Told { term, index, hash }
}

impl<R: Runtime> Node<R> {
    /// How often this node, leading the catalog, has compared the replicas of each group.
    pub fn digest_counts(&self) -> BTreeMap<GroupId, DigestCounts> {
        self.catalog_service.reports().digest_counts()
    }
}
