//! The status of a cluster, from what was observed.
mod findings;

use std::collections::BTreeMap;

use jiff::Timestamp;
use roadstead_crds::{
    ClusterVersion, Endpoint, MemberStatus, MemberStatusState, QueueCluster, QueueClusterStatus,
    ShardsStatus,
};
use roadstead_proto::v1::{MemberState, ShardStatus};

use crate::conditions::merge;
use crate::desired::names;
use crate::observed::{ClusterView, Observed, PodView};
use crate::plan::{Goal, Step};

/// The status that follows. Cluster id and bootstrap are not its business: they are kept.
pub fn cluster(
    cluster: &QueueCluster,
    goal: &Goal,
    observed: &Observed,
    step: &Step,
    now: Timestamp,
) -> QueueClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let names = names(cluster);
    let findings = findings::findings(cluster, goal, observed, step);
    let endpoints = cluster.spec.listeners.iter().map(|listener| {
        let address = format!("{}:{}", names.client_host(), listener.port);
        (listener.name.clone(), Endpoint { address })
    });
    let ready = observed.pods.values().filter(|pod| pod.ready).count();
    QueueClusterStatus {
        observed_generation: cluster.metadata.generation,
        replicas: count(observed.pods.len()),
        ready_replicas: count(ready),
        selector: names.selector_text(),
        version: version(observed).or(before.version),
        endpoints: endpoints.collect(),
        members: members(observed, &before.members),
        shards: observed.cluster.as_ref().map(shards).or(before.shards),
        plan: step.entry(before.plan.first(), now).into_iter().collect(),
        conditions: merge(
            &before.conditions,
            &findings,
            cluster.metadata.generation,
            now,
        ),
        cluster_id: before.cluster_id,
        bootstrap: before.bootstrap,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The oldest binary that runs. Command versions are the same everywhere until a newer kind exists.
fn version(observed: &Observed) -> Option<ClusterVersion> {
    let binary = observed
        .nodes
        .values()
        .map(|node| node.binary_version.clone())
        .min()?;
    let cluster = observed
        .cluster
        .as_ref()?
        .members
        .iter()
        .map(|m| m.command_version)
        .min()?;
    Some(ClusterVersion {
        binary,
        cluster: small(cluster),
    })
}

fn members(
    observed: &Observed,
    before: &BTreeMap<String, MemberStatus>,
) -> BTreeMap<String, MemberStatus> {
    let told = observed.cluster.iter().flat_map(|cluster| &cluster.members);
    let status = |(pod, view): (&String, &PodView)| {
        let node = observed.nodes.get(pod);
        let member = told
            .clone()
            .find(|member| node.is_some_and(|node| node.id == member.node_id))
            .or_else(|| {
                told.clone()
                    .find(|member| node.is_none() && member.name == *pod)
            });
        let id = node
            .map(|node| node.id)
            .or(member.map(|member| member.node_id));
        let known = before.get(pod).map(|status| status.id.clone());
        let status = MemberStatus {
            id: id.map(|id| id.to_string()).or(known).unwrap_or_default(),
            zone: view.zone.clone(),
            state: member.map_or(MemberStatusState::Joining, |member| state(member.state())),
            voters: member.map_or(0, |member| small(member.voters)),
            leaders: member.map_or(0, |member| small(member.leaders)),
            caught_up: member.is_some_and(|member| member.caught_up),
        };
        (pod.clone(), status)
    };
    observed.pods.iter().map(status).collect()
}

fn state(state: MemberState) -> MemberStatusState {
    match state {
        MemberState::Serving => MemberStatusState::Serving,
        MemberState::Draining => MemberStatusState::Draining,
        MemberState::Unreachable => MemberStatusState::Lost,
        MemberState::Joining | MemberState::Unspecified => MemberStatusState::Joining,
    }
}

fn shards(cluster: &ClusterView) -> ShardsStatus {
    let groups: Vec<_> = cluster
        .shards
        .iter()
        .filter(|shard| shard.shard > 0)
        .collect();
    let under = groups.iter().filter(|shard| lacks_one(cluster, shard));
    ShardsStatus {
        total: count(groups.len()),
        with_leader: count(groups.iter().filter(|shard| shard.leader != 0).count()),
        under_replicated: count(under.count()),
    }
}

fn lacks_one(view: &ClusterView, shard: &ShardStatus) -> bool {
    view.caught_up_voters(shard).len() < ClusterView::voters(shard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::is_true;
    use crate::desired::fixtures::cluster as example;
    use crate::observed::fixtures::healthy;
    use crate::validate::goal;

    fn status_of(observed: &Observed) -> QueueClusterStatus {
        let mut example = example();
        let mut status = example.status.clone().unwrap();
        status.bootstrap = Some(roadstead_crds::BootstrapStatus {
            done: true,
            founders: vec![],
        });
        example.status = Some(status);
        let mut goal = goal(&example, "image").unwrap();
        goal.revision = "new".into();
        let step = crate::plan::plan(&goal, observed);
        cluster(&example, &goal, observed, &step, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_cluster_that_grows_is_redundant_once_the_copies_are_there() {
        let mut observed = healthy(3);
        let view = observed.cluster.as_mut().unwrap();
        view.shards[2].replicas.truncate(1);
        let status = status_of(&observed);
        let found = status.conditions.iter().find(|c| c.type_ == "Redundant");
        let found = found.unwrap();
        assert_eq!(
            (found.status.as_str(), found.message.as_str()),
            ("False", "a shard has 1 of 3 copies yet")
        );
    }

    #[test]
    fn nothing_is_said_of_a_cluster_that_no_node_belongs_to() {
        let mut observed = healthy(3);
        observed.cluster.as_mut().unwrap().shards.clear();
        let status = status_of(&observed);
        for kind in ["Ready", "Redundant", "Degraded", "QuorumAtRisk"] {
            let condition = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
            assert_eq!(condition.reason, "NoAnswer", "{kind}");
        }
    }

    #[test]
    fn a_healthy_cluster_is_ready_redundant_and_still() {
        let status = status_of(&healthy(3));
        let holds = |kind| is_true(&status.conditions, kind);
        assert!(holds("Ready") && holds("Redundant"));
        for kind in ["Progressing", "Degraded", "QuorumAtRisk", "UpgradePaused"] {
            assert!(!holds(kind), "{kind}");
        }
        assert_eq!(status.plan, []);
        let shards = ShardsStatus {
            total: 8,
            with_leader: 8,
            under_replicated: 0,
        };
        assert_eq!(status.shards, Some(shards));
        assert_eq!(status.endpoints["grpc"].address, "main.queues.svc:7701");
    }

    #[test]
    fn a_lost_node_shows() {
        let mut observed = healthy(3);
        observed.nodes.remove("main-1");
        let pod = observed.pods.get_mut("main-1").unwrap();
        (pod.ready, pod.trouble) = (false, "Evicted".into());
        let cluster = observed.cluster.as_mut().unwrap();
        cluster.members[1].state = MemberState::Unreachable as i32;
        for shard in &mut cluster.shards {
            shard.leader = 100;
            shard.replicas[1].lag = Some(10_000);
        }
        let status = status_of(&observed);
        let holds = |kind| is_true(&status.conditions, kind);
        assert!(!holds("Ready") && holds("Degraded") && holds("QuorumAtRisk"));
        assert!(!holds("Redundant") && holds("Progressing"));
        assert_eq!(status.members["main-1"].state, MemberStatusState::Lost);
        assert_eq!(status.plan[0].blocked_by, "it does not answer: Evicted");
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
        let message = &ready.unwrap().message;
        assert!(message.ends_with("; main-1: Evicted"), "{message}");
    }
}
