//! Restarting pods that were made from older settings: one at a time, the harmless ones first.
use crate::controls::Protection;
use crate::names::Names;
use crate::observed::{Observed, PodView, group_name};
use crate::plan::{Action, Goal, Step};

/// The next restart, or [`Action::Done`]. `members` is the step that membership waits for, which a
/// restart must not disturb, unless the restart is what it waits for.
pub fn next(goal: &Goal, observed: &Observed, members: &Step) -> Step {
    let outdated: Vec<_> = observed
        .pods
        .iter()
        .filter(|(_, pod)| goal.is_outdated(pod))
        .map(|(name, pod)| (name.as_str(), pod))
        .collect();
    let Some((first, _)) = outdated.first() else {
        return Step::done();
    };
    let reason = why(observed, &outdated);
    if !goal.approved {
        let blocked = format!("approval of revision {}", goal.revision);
        return Step::wait(first, reason, blocked);
    }
    let stays = outdated.iter().find(|(_, pod)| !pod.terminating);
    if let Some((name, pod)) = stays
        && goal.controls.lacks(Protection::CatchUpGate)
    {
        // Without a hand-over: that would wait for who catches up.
        return restart(None, name, pod, reason);
    }
    if let Some((pod, _)) = observed.pods.iter().find(|(_, pod)| pod.terminating) {
        return Step::wait(pod, reason, format!("{pod} is still stopping"));
    }
    idle(observed, &outdated)
        .or_else(|| unsettled(goal, observed, members, &reason))
        .unwrap_or_else(|| serving(observed, &outdated, &reason))
}

fn why(observed: &Observed, outdated: &[(&str, &PodView)]) -> String {
    let (pods, all) = (outdated.len(), observed.pods.len());
    if outdated.iter().any(|(_, pod)| pod.former_account) {
        format!("{pods} of {all} pods have older settings or a token of a deleted ServiceAccount")
    } else {
        format!("{pods} of {all} pods have older settings")
    }
}

/// A pod that serves nothing: nothing is lost by restarting it, and new settings may heal it.
fn idle(observed: &Observed, outdated: &[(&str, &PodView)]) -> Option<Step> {
    let (name, pod) = outdated.iter().find(|(name, pod)| {
        let node = observed.nodes.get(*name);
        let needed = node.zip(observed.cluster.as_ref());
        let needed = needed.is_some_and(|(node, cluster)| cluster.needs(node.id).is_some());
        // Who only does not answer the operator may serve others: the kubelet has to agree.
        !pod.ready && node.is_none_or(|node| !node.ready) && !needed
    })?;
    let reason = format!("{name} has older settings and serves nothing");
    Some(restart(None, name, pod, reason))
}

/// What has to settle before a pod that serves may be restarted.
fn unsettled(goal: &Goal, observed: &Observed, members: &Step, reason: &str) -> Option<Step> {
    if members.action == Action::Wait {
        return Some(Step::wait(&members.target, reason, blocked(members)));
    }
    let Some(cluster) = &observed.cluster else {
        return Some(Step::wait("", reason, "the cluster does not answer"));
    };
    if let Some(shard) = cluster.leaderless() {
        return Some(Step::wait(
            "",
            reason,
            format!("{} has no leader", group_name(shard)),
        ));
    }
    let absent = absent(&goal.names, goal.replicas, observed);
    if let Some(pod) = absent {
        return Some(Step::wait(
            &pod,
            reason,
            observed.explain(&pod, format!("{pod} is not ready")),
        ));
    }
    let behind = cluster.members.iter().find(|member| !member.caught_up)?;
    Some(Step::wait(
        &behind.name,
        reason,
        format!("{} catches up", behind.name),
    ))
}

fn blocked(members: &Step) -> String {
    if members.blocked_by.is_empty() {
        members.reason.clone()
    } else {
        members.blocked_by.clone()
    }
}

fn absent(names: &Names, replicas: i32, observed: &Observed) -> Option<String> {
    (0..replicas)
        .map(|ordinal| names.pod(ordinal))
        .find(|pod| !observed.pods.get(pod).is_some_and(|view| view.ready))
}

/// Of those that serve, the one that leads least; its leaderships are moved first.
fn serving(observed: &Observed, outdated: &[(&str, &PodView)], reason: &str) -> Step {
    let Some(cluster) = &observed.cluster else {
        return Step::wait("", reason, "the cluster does not answer");
    };
    let leaders = |name: &str| {
        let node = observed.nodes.get(name)?;
        Some((cluster.member(node.id)?.leaders, node.id))
    };
    let chosen = outdated
        .iter()
        .filter_map(|(name, pod)| leaders(name).map(|(count, id)| (count, *name, id, *pod)))
        .min_by_key(|(count, name, ..)| (*count, *name));
    let Some((count, name, id, pod)) = chosen else {
        return Step::wait("", reason, "the pods with older settings are not members");
    };
    if let Some(shard) = cluster.needs(id) {
        let blocked = format!("{} would lose its caught-up majority", group_name(shard));
        return Step::wait(name, reason, blocked);
    }
    let alone = cluster.members.len() == 1;
    let moves = if alone { 0 } else { count };
    let reason = format!("{reason}; {name} leads {count} groups, the fewest");
    restart((moves > 0).then_some(id), name, pod, reason)
}

fn restart(node: Option<u64>, name: &str, pod: &PodView, reason: String) -> Step {
    Step::new(
        Action::Restart {
            node,
            uid: pod.uid.clone(),
        },
        name,
        reason,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::fixtures::healthy;
    use crate::plan::fixtures::goal;
    use crate::plan::plan;

    type Bend = fn(&mut Observed);

    fn outdated(size: u64, old: &[u64]) -> Observed {
        let mut observed = healthy(size);
        for ordinal in old {
            observed
                .pods
                .get_mut(&format!("main-{ordinal}"))
                .unwrap()
                .revision = "old".into();
        }
        let cluster = observed.cluster.as_mut().unwrap();
        for (member, leaders) in cluster.members.iter_mut().zip([5, 0, 4]) {
            member.leaders = leaders;
        }
        observed
    }

    fn restarts(step: &Step) -> Option<(&str, Option<u64>)> {
        match &step.action {
            Action::Restart { node, .. } => Some((step.target.as_str(), *node)),
            _ => None,
        }
    }

    #[test]
    fn who_leads_least_goes_first_and_hands_over() {
        assert_eq!(plan(&goal(3), &outdated(3, &[])).action, Action::Done);
        let step = plan(&goal(3), &outdated(3, &[0, 1, 2]));
        assert_eq!(
            restarts(&step),
            Some(("main-1", None)),
            "a follower has nothing to hand over"
        );
        assert_eq!(
            restarts(&plan(&goal(3), &outdated(3, &[0, 2]))),
            Some(("main-2", Some(102)))
        );
        assert_eq!(
            restarts(&plan(&goal(3), &outdated(3, &[0]))),
            Some(("main-0", Some(100)))
        );
    }

    #[test]
    fn who_serves_nothing_goes_before_all_others() {
        let mut observed = outdated(3, &[0, 1, 2]);
        observed.pods.get_mut("main-2").unwrap().ready = false;
        observed.nodes.remove("main-2");
        assert_eq!(restarts(&plan(&goal(3), &observed)), Some(("main-2", None)));
        observed.pods.get_mut("main-2").unwrap().ready = true;
        let step = plan(&goal(3), &observed);
        assert_eq!(step.action, Action::Wait, "the kubelet says that it serves");
    }

    #[test]
    fn a_good_image_heals_a_broken_one() {
        let mut observed = outdated(3, &[0, 1, 2]);
        observed.cluster = None;
        observed.nodes.clear();
        observed.pods.values_mut().for_each(|pod| pod.ready = false);
        assert_eq!(restarts(&plan(&goal(3), &observed)), Some(("main-0", None)));
    }

    /// What a restart waits for, and how it is said.
    const UNSETTLED: [(&str, Bend); 6] = [
        ("still stopping", |o| {
            o.pods.get_mut("main-0").unwrap().terminating = true;
        }),
        ("main-0", |o| {
            o.pods.get_mut("main-0").unwrap().ready = false;
        }),
        ("catches up", |o| {
            o.cluster.as_mut().unwrap().members[0].caught_up = false;
        }),
        ("no leader", |o| {
            o.cluster.as_mut().unwrap().shards[3].leader = 0;
        }),
        ("no answer", |o| {
            o.nodes.remove("main-0");
            o.cluster = None;
        }),
        ("shard 5 would lose its caught-up majority", |o| {
            let shard = &mut o.cluster.as_mut().unwrap().shards[5];
            shard.leader = 100;
            shard.replicas[2].lag = Some(50_000);
        }),
    ];

    #[test]
    fn one_at_a_time_and_only_when_all_is_well() {
        for (words, bend) in UNSETTLED {
            let mut observed = outdated(3, &[1, 2]);
            bend(&mut observed);
            let step = plan(&goal(3), &observed);
            assert_eq!(step.action, Action::Wait, "{words}: {step:?}");
            assert!(step.blocked_by.contains(words), "{words}: {step:?}");
        }
    }

    /// The control: all that keeps a restart waiting is the gate.
    #[cfg(feature = "controls")]
    #[test]
    fn without_the_gate_the_next_pod_is_restarted_at_once() {
        use crate::controls::Controls;

        let mut goal = goal(3);
        goal.controls = Controls::without(Protection::CatchUpGate);
        for (words, bend) in UNSETTLED {
            let mut observed = outdated(3, &[1, 2]);
            bend(&mut observed);
            let step = plan(&goal, &observed);
            assert_eq!(restarts(&step), Some(("main-1", None)), "{words}: {step:?}");
        }
        let mut observed = outdated(3, &[1, 2]);
        observed.pods.get_mut("main-1").unwrap().terminating = true;
        assert_eq!(restarts(&plan(&goal, &observed)), Some(("main-2", None)));
        assert_eq!(plan(&goal, &outdated(3, &[])).action, Action::Done);
        goal.approved = false;
        assert_eq!(plan(&goal, &outdated(3, &[0])).action, Action::Wait);
    }

    #[test]
    fn a_token_of_a_deleted_account_is_renewed_by_a_restart() {
        let mut observed = outdated(3, &[]);
        let pods = observed.pods.values_mut();
        pods.for_each(|pod| pod.former_account = true);
        let step = plan(&goal(3), &observed);
        assert_eq!(restarts(&step), Some(("main-1", None)), "one at a time");
        assert!(step.reason.contains("deleted ServiceAccount"), "{step:?}");
        observed.pods.get_mut("main-1").unwrap().former_account = false;
        let step = plan(&goal(3), &observed);
        assert_eq!(restarts(&step), Some(("main-2", Some(102))));
    }

    #[test]
    fn who_does_not_come_back_says_why() {
        let mut observed = outdated(3, &[1, 2]);
        observed.nodes.remove("main-0");
        let pod = observed.pods.get_mut("main-0").unwrap();
        (pod.ready, pod.trouble) = (false, "ImagePullBackOff: no x:1".into());
        let step = plan(&goal(3), &observed);
        let said = "it does not answer: ImagePullBackOff: no x:1";
        assert_eq!(step.blocked_by, said);
    }

    #[test]
    fn a_single_node_is_restarted_without_hand_over() {
        assert_eq!(
            restarts(&plan(&goal(1), &outdated(1, &[0]))),
            Some(("main-0", None))
        );
    }

    #[test]
    fn manual_approval_waits() {
        let mut goal = goal(3);
        goal.approved = false;
        let step = plan(&goal, &outdated(3, &[0]));
        assert_eq!(step.blocked_by, "approval of revision new");
    }
}
