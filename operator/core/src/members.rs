//! Which nodes belong to the cluster: founding it once, letting nodes join, taking nodes out.
use std::collections::BTreeSet;

use roadstead_crds::FounderStatus;
use roadstead_proto::v1::{Member, MemberState};

use crate::observed::{ClusterView, NodeView, Observed, group_name};
use crate::plan::{Action, Goal, Step};

/// The next step of membership, or [`Action::Done`].
pub fn next(goal: &Goal, observed: &Observed) -> Step {
    if let Some((pod, node)) = foreign(goal, observed) {
        return Step::wait(
            pod,
            format!(
                "the data directory of {pod} belongs to cluster {}",
                node.cluster_id
            ),
            format!("give {pod} an empty volume: delete its PersistentVolumeClaim and the pod"),
        );
    }
    if !goal.founded {
        return found(goal, observed);
    }
    let Some(cluster) = &observed.cluster else {
        return Step::wait(
            "",
            "the cluster does not say who its members are",
            no_answer(observed),
        );
    };
    let replaced = replace(observed, cluster);
    let joined = join(goal, observed, cluster);
    let does = |step: &Option<Step>| step.clone().filter(|step| step.action != Action::Wait);
    // Who waits for one node holds up no other that came back with an empty volume.
    take_back(goal, cluster)
        .or_else(|| does(&replaced))
        .or_else(|| does(&joined))
        .or(replaced)
        .or(joined)
        .or_else(|| scale_in(goal, cluster))
        .or_else(|| missing(goal, observed))
        .unwrap_or_else(Step::done)
}

/// Replicas that the StatefulSet shall ask for: never fewer than members that are not removed yet,
/// and never fewer than now while nobody says who the members are.
pub fn statefulset_replicas(goal: &Goal, observed: &Observed) -> i32 {
    let kept = match &observed.cluster {
        Some(cluster) => cluster
            .members
            .iter()
            .filter_map(|member| goal.names.ordinal(&member.name))
            .map(|ordinal| ordinal + 1)
            .max(),
        None => observed.statefulset_replicas,
    };
    goal.replicas.max(kept.unwrap_or(0))
}

fn foreign<'a>(goal: &Goal, observed: &'a Observed) -> Option<(&'a str, &'a NodeView)> {
    observed
        .nodes
        .iter()
        .find(|(_, node)| !node.cluster_id.is_empty() && node.cluster_id != goal.cluster_id)
        .map(|(pod, node)| (pod.as_str(), node))
}

fn no_answer(observed: &Observed) -> String {
    let silent: Vec<_> = observed
        .pods
        .keys()
        .filter(|pod| !observed.nodes.contains_key(*pod))
        .map(|pod| observed.explain(pod, pod.clone()))
        .collect();
    if silent.is_empty() {
        "a majority of the catalog's voters".to_owned()
    } else {
        format!("no answer from {}", silent.join(", "))
    }
}

/// Founding: write down who founds, give each the order, write down that it is done. A node that
/// knows this cluster shows that it was founded before: then it is adopted, never founded again.
fn found(goal: &Goal, observed: &Observed) -> Step {
    if observed
        .nodes
        .values()
        .any(|node| node.cluster_id == goal.cluster_id)
    {
        let waits = goal.founders.iter().find_map(|founder| {
            let node = observed.nodes.get(&founder.pod)?;
            let ours = node.id.to_string() == founder.id;
            (ours && node.cluster_id.is_empty()).then_some(founder)
        });
        return match waits {
            Some(founder) => order(&founder.pod),
            None => Step::new(Action::RecordFounded, "", "nodes belong to the cluster"),
        };
    }
    let pods = (0..goal.replicas).map(|ordinal| goal.names.pod(ordinal));
    let mut founders = Vec::new();
    for pod in pods {
        let Some(node) = observed.nodes.get(&pod) else {
            return Step::wait(
                &pod,
                "every founder has to be there",
                observed.explain(&pod, format!("no answer from {pod}")),
            );
        };
        let zone = observed
            .pods
            .get(&pod)
            .map(|view| view.zone.clone())
            .unwrap_or_default();
        founders.push(FounderStatus {
            pod,
            id: node.id.to_string(),
            zone,
        });
    }
    let ids = |founders: &[FounderStatus]| -> BTreeSet<String> {
        founders.iter().map(|founder| founder.id.clone()).collect()
    };
    if ids(&founders) != ids(&goal.founders) {
        let reason = "no node knows a cluster; these found it";
        return Step::new(Action::RecordFounders(founders), "", reason);
    }
    order(&goal.founders[0].pod)
}

fn order(pod: &str) -> Step {
    Step::new(
        Action::Bootstrap,
        pod,
        format!("{pod} is a founder and knows no cluster"),
    )
}

/// A member that shall stay although it is being drained: the scale-in was taken back. Of two with
/// one name the former is drained because of the other; one that is lost is drained for good.
fn take_back(goal: &Goal, cluster: &ClusterView) -> Option<Step> {
    let alone = |member: &Member| {
        let mut all = cluster.members.iter();
        all.all(|other| other.name != member.name || other.node_id == member.node_id)
    };
    let member = cluster.members.iter().find(|member| {
        let stays = ordinal(goal, member).is_some_and(|ordinal| ordinal < goal.replicas);
        member.draining && !member.lost && stays && alone(member)
    })?;
    let reason = format!("replicas is {} again", goal.replicas);
    Some(Step::new(
        Action::CancelDrain(member.node_id),
        &member.name,
        reason,
    ))
}

/// A node that is not a member yet, one at a time.
fn join(goal: &Goal, observed: &Observed, cluster: &ClusterView) -> Option<Step> {
    if let Some(member) = cluster
        .members
        .iter()
        .find(|member| is(member, MemberState::Joining))
    {
        let blocked = format!("{} gets its copies", member.name);
        return Some(Step::wait(
            &member.name,
            "one node joins at a time",
            blocked,
        ));
    }
    let (pod, node) = observed.nodes.iter().find(|(pod, node)| {
        let wanted = goal
            .names
            .ordinal(pod)
            .is_some_and(|ordinal| ordinal < goal.replicas);
        wanted && cluster.member(node.id).is_none()
    })?;
    Some(Step::new(
        Action::Join(node.id),
        pod,
        format!("{pod} is not a member yet"),
    ))
}

/// The former identity of a pod whose volume was lost: drained, so that its copies go to the new
/// one, and removed.
fn replace(observed: &Observed, cluster: &ClusterView) -> Option<Step> {
    let steps = cluster.members.iter().filter_map(|old| {
        let node = observed.nodes.get(&old.name)?;
        let new = cluster.member(node.id)?;
        let is_replaced = node.id != old.node_id && new.name == old.name;
        let reason = format!("{} came back with another data directory", old.name);
        is_replaced.then(|| leave(cluster, old, &reason))
    });
    let mut steps: Vec<Step> = steps.collect();
    steps.sort_by_key(|step| step.action == Action::Wait);
    steps.into_iter().next()
}

/// The member with the highest number beyond `replicas`: drained, then removed.
fn scale_in(goal: &Goal, cluster: &ClusterView) -> Option<Step> {
    let member = cluster
        .members
        .iter()
        .filter(|member| ordinal(goal, member).is_some_and(|ordinal| ordinal >= goal.replicas))
        .max_by_key(|member| ordinal(goal, member))?;
    let reason = format!("replicas is {}", goal.replicas);
    Some(leave(cluster, member, &reason))
}

/// Drained first: it can be removed when nothing is placed on it any more.
fn leave(cluster: &ClusterView, member: &Member, reason: &str) -> Step {
    if !member.draining {
        return Step::new(Action::Drain(member.node_id), &member.name, reason);
    }
    if member.leaders > 0 || member.voters > 0 {
        let blocked = format!(
            "{} still has {} copies and {} leaderships to hand over",
            member.name, member.voters, member.leaders
        );
        return Step::wait(&member.name, reason, blocked);
    }
    remove(cluster, member, reason)
}

fn remove(cluster: &ClusterView, member: &Member, reason: &str) -> Step {
    if let Some(shard) = cluster.needs(member.node_id) {
        let blocked = format!("{} would lose its caught-up majority", group_name(shard));
        return Step::wait(&member.name, reason, blocked);
    }
    Step::new(Action::Remove(member.node_id), &member.name, reason)
}

/// A pod that is not there or does not answer.
fn missing(goal: &Goal, observed: &Observed) -> Option<Step> {
    let pod = (0..goal.replicas)
        .map(|ordinal| goal.names.pod(ordinal))
        .find(|pod| !observed.nodes.get(pod).is_some_and(|node| node.ready))?;
    let why = match (observed.pods.get(&pod), observed.nodes.get(&pod)) {
        (None, _) => format!(
            "it does not exist: see the events of StatefulSet {}",
            goal.names.cluster
        ),
        (Some(_), None) => observed.explain(&pod, "it does not answer".to_owned()),
        (Some(_), Some(node)) if node.reason.is_empty() => "it is not ready".to_owned(),
        (Some(_), Some(node)) => node.reason.clone(),
    };
    Some(Step::wait(&pod, format!("{pod} does not serve"), why))
}

fn is(member: &Member, state: MemberState) -> bool {
    member.state == state as i32
}

fn ordinal(goal: &Goal, member: &Member) -> Option<i32> {
    goal.names.ordinal(&member.name)
}

#[cfg(test)]
mod tests;
