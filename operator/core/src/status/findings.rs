//! What the conditions of a cluster say.
use roadstead_crds::{Approval, QueueCluster};
use roadstead_proto::v1::{MemberState, ShardStatus};

use super::{count, lacks_one, shards};
use crate::conditions::Finding;
use crate::observed::{ClusterView, Observed, group_name};
use crate::plan::{Action, Goal, Step};
use crate::retained::difference;

/// Every condition of a cluster.
pub(super) fn findings(
    cluster: &QueueCluster,
    goal: &Goal,
    observed: &Observed,
    step: &Step,
) -> Vec<Finding> {
    vec![
        ready(goal, observed),
        progressing(step, difference(&cluster.spec, observed)),
        degraded(goal, observed),
        quorum_at_risk(observed),
        redundant(cluster, observed),
        upgrade_paused(cluster, goal, observed),
    ]
}

fn ready(goal: &Goal, observed: &Observed) -> Finding {
    let kind = "Ready";
    if !goal.founded {
        let there = observed.nodes.len();
        let message = format!(
            "{there} of {} nodes are there to found the cluster",
            goal.replicas
        );
        let message = observed.explain_all(message);
        return Finding::new(kind, false, "Bootstrapping", message);
    }
    let Some(view) = observed.served() else {
        let message = "no node can say how the cluster is: see its pods and their logs";
        let message = observed.explain_all(message.to_owned());
        return Finding::new(kind, false, "NoAnswer", message);
    };
    if let Some(shard) = view.shards.iter().find(|shard| shard.leader == 0) {
        return Finding::new(kind, false, "NoLeader", why_leaderless(shard, observed));
    }
    let ready = observed.pods.values().filter(|pod| pod.ready).count();
    if count(ready) < goal.replicas {
        let message = format!(
            "{ready} of {} nodes are ready; every shard is served",
            goal.replicas
        );
        let message = observed.explain_all(message);
        return Finding::new(kind, false, "NodesMissing", message);
    }
    Finding::new(
        kind,
        true,
        "Serving",
        "every node is ready and every shard has a leader",
    )
}

/// Whether a leader can come by itself.
fn why_leaderless(shard: &ShardStatus, observed: &Observed) -> String {
    let name = group_name(shard.shard);
    let voters = ClusterView::voters(shard);
    let answers = |id| observed.nodes.values().any(|node| node.id == id);
    let voting = shard.replicas.iter().filter(|replica| replica.voter);
    let there = voting.filter(|replica| answers(replica.node_id)).count();
    if there > voters / 2 {
        format!(
            "{name} has no leader: {there} of its {voters} nodes answer and elect one, unless \
             they do not reach each other"
        )
    } else {
        format!("{name} has no leader: {there} of its {voters} nodes answer, and a majority has to")
    }
}

/// `differs`: what cannot become as specified, however long one waits.
fn progressing(step: &Step, differs: Option<String>) -> Finding {
    let mut text = step.reason.clone();
    if !step.blocked_by.is_empty() {
        text = format!("{text}; waits for: {}", step.blocked_by);
    }
    match (&step.action, differs) {
        (Action::Done, Some(differs)) => {
            return Finding::new("Progressing", false, "Incompatible", differs);
        }
        (_, Some(differs)) => text = format!("{text}; {differs}"),
        (_, None) => {}
    }
    match step.action {
        Action::Done => Finding::new("Progressing", false, "UpToDate", text),
        Action::Wait => Finding::new("Progressing", true, "Waiting", text),
        _ => Finding::new("Progressing", true, step.name(), text),
    }
}

fn degraded(goal: &Goal, observed: &Observed) -> Finding {
    let kind = "Degraded";
    let Some(view) = observed.served().filter(|_| goal.founded) else {
        return Finding::unknown(kind, "NoAnswer", "no node can say how the cluster is");
    };
    let lost = view
        .members
        .iter()
        .find(|member| member.state() == MemberState::Unreachable);
    if let Some(member) = lost {
        let message = format!("{} is not heard of by the others", member.name);
        return Finding::new(kind, true, "NodeLost", message);
    }
    let under = shards(view).under_replicated;
    if under > 0 {
        let message = format!("{under} shards have a copy that is behind");
        return Finding::new(kind, true, "UnderReplicated", message);
    }
    Finding::new(
        kind,
        false,
        "Healthy",
        "every node serves and every copy is up to date",
    )
}

/// A group of several voters that cannot lose one more.
fn quorum_at_risk(observed: &Observed) -> Finding {
    let kind = "QuorumAtRisk";
    let Some(view) = observed.served() else {
        return Finding::unknown(kind, "NoAnswer", "no node can say how the cluster is");
    };
    let at_risk = view.shards.iter().find(|shard| {
        let voters = ClusterView::voters(shard);
        voters > 2 && view.caught_up_voters(shard).len() <= voters / 2 + 1 && lacks_one(view, shard)
    });
    match at_risk {
        Some(shard) => {
            let left = view.caught_up_voters(shard).len();
            let message = format!(
                "{} has {left} of {} copies up to date: one more loss stops it",
                group_name(shard.shard),
                ClusterView::voters(shard)
            );
            Finding::new(kind, true, "MajorityIsThin", message)
        }
        None => spare(view),
    }
}

/// Copies that are all there may still be too few for a loss. That was chosen: no risk has come up.
fn spare(view: &ClusterView) -> Finding {
    let kind = "QuorumAtRisk";
    let few = |shard: &&ShardStatus| ClusterView::voters(shard) < 3;
    if !view.shards.iter().any(|shard| few(&shard)) {
        return Finding::new(kind, false, "Spare", "every shard can lose a node");
    }
    let message = if view.shards.iter().all(|s| ClusterView::voters(s) == 1) {
        "every shard has one copy: it stops with the node that has it".to_owned()
    } else {
        let number = view.shards.iter().filter(few).count();
        format!("{number} shards have fewer than 3 copies: they stop with a node of theirs")
    };
    Finding::new(kind, false, "SingleCopy", message)
}

fn redundant(cluster: &QueueCluster, observed: &Observed) -> Finding {
    let kind = "Redundant";
    let wanted = cluster.spec.replication_factor.min(cluster.spec.replicas);
    let Some(view) = observed.served() else {
        return Finding::unknown(kind, "NoAnswer", "no node can say how the cluster is");
    };
    let copies = view.shards.iter().map(ClusterView::voters).min();
    let copies = count(copies.unwrap_or(0));
    if copies < wanted {
        let message = format!("a shard has {copies} of {wanted} copies yet");
        return Finding::new(kind, false, "CopyMissing", message);
    }
    if copies < 3 {
        let more = if cluster.spec.replication_factor < 3 {
            "more is for a QueueCluster with another replicationFactor, which cannot change in this"
        } else {
            "use replicas 3 or more"
        };
        let message = format!("every message has one copy: a lost disk loses it; {more}");
        return Finding::new(kind, false, "SingleCopy", message);
    }
    if shards(view).under_replicated > 0 {
        return Finding::new(kind, false, "CopyMissing", "a copy of a shard is behind");
    }
    let message = format!("every message has {copies} copies");
    Finding::new(kind, true, "Replicated", message)
}

fn upgrade_paused(cluster: &QueueCluster, goal: &Goal, observed: &Observed) -> Finding {
    let kind = "UpgradePaused";
    let outdated = observed
        .pods
        .values()
        .filter(|pod| goal.is_outdated(pod))
        .count();
    if outdated > 0 && !goal.approved {
        let message = format!(
            "{outdated} pods have older settings; annotate the QueueCluster with {}={} to roll",
            crate::names::APPROVED_REVISION,
            goal.revision
        );
        return Finding::new(kind, true, "ApprovalNeeded", message);
    }
    Finding::new(
        kind,
        false,
        "NotPaused",
        match cluster.spec.upgrade.approval {
            Approval::Automatic => "changed settings are rolled out as they come",
            Approval::Manual => "changed settings wait for approval, and none do now",
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixtures::cluster as example;
    use crate::observed::fixtures::healthy;
    use crate::validate::goal;

    fn said(finding: &Finding) -> (Option<bool>, &str, &str) {
        (finding.holds, finding.reason, &finding.message)
    }

    #[test]
    fn only_what_has_three_copies_can_lose_a_node() {
        let single = "every shard has one copy: it stops with the node that has it";
        let growing = "8 shards have fewer than 3 copies: they stop with a node of theirs";
        let mut one_each = healthy(2);
        for shard in &mut one_each.cluster.as_mut().unwrap().shards {
            shard
                .replicas
                .retain(|replica| replica.node_id == shard.leader);
        }
        let mut grows = healthy(3);
        for shard in &mut grows.cluster.as_mut().unwrap().shards[1..] {
            shard
                .replicas
                .retain(|replica| replica.node_id == shard.leader);
        }
        for (observed, reason, message) in [
            (healthy(1), "SingleCopy", single),
            (one_each, "SingleCopy", single),
            (grows, "SingleCopy", growing),
            (healthy(3), "Spare", "every shard can lose a node"),
        ] {
            let finding = quorum_at_risk(&observed);
            assert_eq!(said(&finding), (Some(false), reason, message));
        }
    }

    #[test]
    fn one_copy_says_how_there_can_be_more() {
        let mut cluster = example();
        for (factor, words) in [(3, "use replicas 3"), (1, "another replicationFactor")] {
            cluster.spec.replicas = 1;
            cluster.spec.replication_factor = factor;
            let finding = redundant(&cluster, &healthy(1));
            assert_eq!(finding.reason, "SingleCopy");
            assert!(finding.message.contains(words), "{}", finding.message);
        }
    }

    #[test]
    fn a_shard_without_a_leader_says_how_many_of_its_nodes_answer() {
        let no_leader = |silent: &[&str]| {
            let mut observed = healthy(3);
            observed.cluster.as_mut().unwrap().shards[1].leader = 0;
            observed
                .nodes
                .retain(|pod, _| !silent.contains(&pod.as_str()));
            let mut goal = goal(&example(), "image").unwrap();
            goal.founded = true;
            ready(&goal, &observed).message
        };
        for (silent, words) in [
            (
                &[][..],
                "shard 1 has no leader: 3 of its 3 nodes answer and elect one",
            ),
            (
                &["main-0"],
                "shard 1 has no leader: 2 of its 3 nodes answer and elect one",
            ),
            (
                &["main-0", "main-2"],
                "1 of its 3 nodes answer, and a majority has to",
            ),
        ] {
            let said = no_leader(silent);
            assert!(said.contains(words), "{silent:?}: {said}");
        }
    }

    #[test]
    fn settings_wait_where_a_person_approves_them() {
        let mut observed = healthy(3);
        for (approval, outdated, holds, words) in [
            (Approval::Automatic, false, false, "rolled out as they come"),
            (
                Approval::Manual,
                false,
                false,
                "wait for approval, and none do",
            ),
            (
                Approval::Manual,
                true,
                true,
                "annotate the QueueCluster with",
            ),
        ] {
            let mut example = example();
            example.spec.upgrade.approval = approval;
            let goal = goal(&example, "image").unwrap();
            for pod in observed.pods.values_mut() {
                pod.revision = if outdated {
                    "old".into()
                } else {
                    goal.revision.clone()
                };
            }
            let finding = upgrade_paused(&example, &goal, &observed);
            assert_eq!(finding.holds, Some(holds));
            assert!(finding.message.contains(words), "{}", finding.message);
        }
    }
}
