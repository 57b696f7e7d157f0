use super::*;
use crate::observed::fixtures::{ID, add_member, add_pod, healthy};
use crate::plan::fixtures::goal;

fn unfounded(size: u64) -> (Goal, Observed) {
    let mut goal = goal(3);
    goal.founded = false;
    let mut observed = healthy(size);
    observed.cluster = None;
    observed
        .nodes
        .values_mut()
        .for_each(|node| node.cluster_id.clear());
    (goal, observed)
}

#[test]
fn founders_are_written_down_before_the_order_is_given() {
    let (mut goal, mut observed) = unfounded(2);
    let step = next(&goal, &observed);
    assert_eq!(
        (step.action, step.blocked_by.as_str()),
        (Action::Wait, "no answer from main-2")
    );
    observed = unfounded(3).1;
    let Action::RecordFounders(founders) = next(&goal, &observed).action else {
        panic!()
    };
    let ids: Vec<_> = founders
        .iter()
        .map(|f| (f.pod.as_str(), f.id.as_str()))
        .collect();
    assert_eq!(
        ids,
        [("main-0", "100"), ("main-1", "101"), ("main-2", "102")]
    );
    goal.founders = founders;
    assert_eq!(next(&goal, &observed).action, Action::Bootstrap);
    assert_eq!(next(&goal, &observed).target, "main-0");
}

#[test]
fn a_founder_that_does_not_answer_says_why() {
    let (goal, mut observed) = unfounded(3);
    observed.nodes.remove("main-1");
    observed.pods.get_mut("main-1").unwrap().trouble = "Unschedulable: no disk".into();
    let said = "no answer from main-1: Unschedulable: no disk";
    assert_eq!(next(&goal, &observed).blocked_by, said);
    let mut founded = goal;
    founded.founded = true;
    assert_eq!(next(&founded, &observed).blocked_by, said);
}

#[test]
fn half_a_bootstrap_is_finished_and_never_begun_anew() {
    let (mut goal, mut observed) = unfounded(3);
    let Action::RecordFounders(founders) = next(&goal, &observed).action else {
        panic!()
    };
    goal.founders = founders;
    observed.nodes.get_mut("main-0").unwrap().cluster_id = ID.into();
    let step = next(&goal, &observed);
    assert_eq!(
        (step.action, step.target.as_str()),
        (Action::Bootstrap, "main-1")
    );
    observed
        .nodes
        .values_mut()
        .for_each(|node| node.cluster_id = ID.into());
    assert_eq!(next(&goal, &observed).action, Action::RecordFounded);
}

#[test]
fn founders_with_new_disks_are_chosen_anew_only_while_no_node_knows_a_cluster() {
    let (mut goal, mut observed) = unfounded(3);
    let Action::RecordFounders(founders) = next(&goal, &observed).action else {
        panic!()
    };
    goal.founders = founders;
    observed.nodes.get_mut("main-1").unwrap().id = 999;
    assert!(matches!(
        next(&goal, &observed).action,
        Action::RecordFounders(_)
    ));
    observed.nodes.get_mut("main-0").unwrap().cluster_id = ID.into();
    let step = next(&goal, &observed);
    assert_eq!(
        (step.action, step.target.as_str()),
        (Action::Bootstrap, "main-2")
    );
    observed.nodes.get_mut("main-2").unwrap().cluster_id = ID.into();
    assert_eq!(
        next(&goal, &observed).action,
        Action::RecordFounded,
        "999 joins later"
    );
}

#[test]
fn a_disk_of_another_cluster_stops_everything() {
    let mut observed = healthy(3);
    observed.nodes.get_mut("main-2").unwrap().cluster_id = "other".into();
    let step = next(&goal(3), &observed);
    assert_eq!(step.action, Action::Wait);
    assert!(
        step.reason.contains("belongs to cluster other"),
        "{}",
        step.reason
    );
}

#[test]
fn nodes_join_one_at_a_time() {
    let mut observed = healthy(3);
    add_pod(&mut observed, 3);
    add_pod(&mut observed, 4);
    assert_eq!(next(&goal(5), &observed).action, Action::Join(103));
    add_member(&mut observed, 3);
    observed.cluster.as_mut().unwrap().members[3].state = MemberState::Joining as i32;
    assert_eq!(next(&goal(5), &observed).action, Action::Wait);
    observed.cluster.as_mut().unwrap().members[3].state = MemberState::Serving as i32;
    assert_eq!(next(&goal(5), &observed).action, Action::Join(104));
}

#[test]
fn the_highest_goes_first_and_its_pod_stays_until_it_is_removed() {
    let mut observed = healthy(5);
    let step = next(&goal(3), &observed);
    assert_eq!(
        (step.action, step.target.as_str()),
        (Action::Drain(104), "main-4")
    );
    assert_eq!(statefulset_replicas(&goal(3), &observed), 5);
    let cluster = observed.cluster.as_mut().unwrap();
    cluster.members[4].draining = true;
    assert_eq!(
        next(&goal(3), &observed).action,
        Action::Wait,
        "it still votes"
    );
    assert_eq!(next(&goal(5), &observed).action, Action::CancelDrain(104));
    let cluster = observed.cluster.as_mut().unwrap();
    cluster.members[4].voters = 0;
    cluster.shards.iter_mut().for_each(|shard| {
        shard.replicas.retain(|replica| replica.node_id != 104);
    });
    assert_eq!(next(&goal(3), &observed).action, Action::Remove(104));
    observed.cluster.as_mut().unwrap().members.pop();
    assert_eq!(statefulset_replicas(&goal(3), &observed), 4);
    assert_eq!(next(&goal(3), &observed).action, Action::Drain(103));
}

#[test]
fn the_statefulset_never_shrinks_in_the_dark() {
    let mut observed = healthy(5);
    observed.cluster = None;
    assert_eq!(statefulset_replicas(&goal(3), &observed), 5);
    assert_eq!(statefulset_replicas(&goal(3), &Observed::default()), 3);
}

#[test]
fn an_empty_disk_is_a_new_node_and_the_old_one_goes_when_nothing_is_left_on_it() {
    let mut observed = healthy(3);
    observed.nodes.get_mut("main-1").unwrap().id = 777;
    assert_eq!(next(&goal(3), &observed).action, Action::Join(777));
    add_member(&mut observed, 1);
    let cluster = observed.cluster.as_mut().unwrap();
    cluster.members[3].node_id = 777;
    cluster.members[3].caught_up = false;
    cluster.members[3].state = MemberState::Joining as i32;
    assert_eq!(next(&goal(3), &observed).action, Action::Drain(101));
    let cluster = observed.cluster.as_mut().unwrap();
    cluster.members[1].draining = true;
    cluster.members[1].state = MemberState::Unreachable as i32;
    assert_eq!(
        next(&goal(3), &observed).action,
        Action::Wait,
        "it still votes, and its drain is not taken back"
    );
    let cluster = observed.cluster.as_mut().unwrap();
    cluster.members[1].voters = 0;
    cluster.shards.iter_mut().for_each(|shard| {
        shard.replicas.retain(|replica| replica.node_id != 101);
    });
    assert_eq!(next(&goal(3), &observed).action, Action::Remove(101));
}
