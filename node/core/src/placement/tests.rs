use proptest::prelude::*;

use super::*;

fn candidate(node: u64, zone: &str) -> Candidate {
    Candidate {
        node,
        zone: zone.to_owned(),
        eligible: true,
        alive: true,
        may_lead: true,
    }
}

fn group(number: u16, voters: &[u64]) -> GroupView {
    let voters: BTreeSet<u64> = voters.iter().copied().collect();
    GroupView {
        group: number,
        leader: voters.first().copied().unwrap_or_default(),
        caught_up: voters.clone(),
        voters,
        joint: false,
    }
}

fn carry_out(step: &Step, groups: &mut [GroupView]) {
    match step {
        Step::Reconfigure { group, voters, .. } => {
            let view = groups
                .iter_mut()
                .find(|g| g.group == *group)
                .expect("known group");
            view.voters.clone_from(voters);
            view.caught_up.clone_from(voters);
            view.joint = false;
            if !view.voters.contains(&view.leader) {
                view.leader = *view.voters.first().expect("a voter");
            }
        }
        Step::Transfer { group, to, .. } => {
            let view = groups
                .iter_mut()
                .find(|g| g.group == *group)
                .expect("known group");
            assert!(view.voters.contains(to));
            view.leader = *to;
        }
    }
}

#[test]
fn a_second_node_waits_for_a_third() {
    let groups = [group(1, &[1])];
    assert_eq!(
        plan(&[candidate(1, ""), candidate(2, "")], &groups, 3),
        None
    );
    let three = [candidate(1, ""), candidate(2, ""), candidate(3, "")];
    let step = plan(&three, &groups, 3).expect("a step");
    assert!(matches!(step, Step::Reconfigure { voters, .. } if voters == [1, 2, 3].into()));
}

#[test]
fn a_drained_voter_stays_until_there_is_a_replacement() {
    let mut nodes = [candidate(1, ""), candidate(2, ""), candidate(3, "")];
    nodes[2].eligible = false;
    assert_eq!(plan(&nodes, &[group(1, &[1, 2, 3])], 3), None);
    let four = [nodes.to_vec(), vec![candidate(4, "")]].concat();
    let step = plan(&four, &[group(1, &[1, 2, 3])], 3).expect("a step");
    assert!(matches!(step, Step::Reconfigure { voters, .. } if voters == [1, 2, 4].into()));
}

#[test]
fn when_all_but_one_are_drained_one_copy_is_what_was_asked_for() {
    let mut nodes = [candidate(1, ""), candidate(2, ""), candidate(3, "")];
    nodes[1].eligible = false;
    nodes[2].eligible = false;
    let step = plan(&nodes, &[group(1, &[1, 2, 3])], 3).expect("a step");
    assert!(matches!(step, Step::Reconfigure { voters, .. } if voters == [1].into()));
}

#[test]
fn who_is_no_member_goes_even_without_a_replacement() {
    let step = plan(
        &[candidate(1, ""), candidate(2, "")],
        &[group(1, &[1, 2, 3])],
        3,
    );
    assert!(matches!(step, Some(Step::Reconfigure { voters, .. }) if voters == [1, 2].into()));
}

#[test]
fn a_dead_voter_that_is_still_a_member_is_left_alone() {
    let mut nodes = [
        candidate(1, ""),
        candidate(2, ""),
        candidate(3, ""),
        candidate(4, ""),
    ];
    nodes[0].alive = false;
    let mut view = group(1, &[1, 2, 3]);
    view.leader = 2;
    assert_eq!(plan(&nodes, &[view], 3), None);
}

#[test]
fn beside_a_dead_voter_nothing_is_moved_for_balance() {
    let mut nodes = [
        candidate(1, ""),
        candidate(2, ""),
        candidate(3, ""),
        candidate(4, ""),
    ];
    let groups: Vec<_> = (1..=4).map(|number| group(number, &[1, 2, 3])).collect();
    let balance = plan(&nodes, &groups, 3);
    assert!(matches!(&balance, Some(Step::Reconfigure { voters, .. }) if voters.contains(&4)));
    nodes[0].alive = false;
    let step = plan(&nodes, &groups, 3);
    assert!(!matches!(step, Some(Step::Reconfigure { .. })), "{step:?}");
    nodes[0].eligible = false;
    let step = plan(&nodes, &groups, 3);
    assert!(matches!(step, Some(Step::Reconfigure { voters, .. }) if voters == [2, 3, 4].into()));
}

#[test]
fn leaderships_go_only_where_they_are_wanted() {
    let mut candidates = vec![candidate(1, ""), candidate(2, ""), candidate(3, "")];
    let groups: Vec<_> = (1..=4).map(|number| group(number, &[1, 2, 3])).collect();
    let to = |candidates: &[Candidate]| match plan(candidates, &groups, 3) {
        Some(Step::Transfer { to, .. }) => Some(to),
        None => None,
        step => panic!("{step:?}"),
    };
    assert_eq!(to(&candidates), Some(2));
    candidates[1].may_lead = false;
    assert_eq!(to(&candidates), Some(3), "2 is about to stop");
    candidates[2].may_lead = false;
    assert_eq!(to(&candidates), None);
}

#[test]
fn zones_come_before_load() {
    let nodes = [
        candidate(1, "a"),
        candidate(2, "a"),
        candidate(3, "b"),
        candidate(4, "c"),
    ];
    let step = plan(&nodes, &[group(1, &[1])], 3).expect("a step");
    assert!(matches!(step, Step::Reconfigure { voters, .. } if voters == [1, 3, 4].into()));
}

proptest! {
    /// Whatever the start, the steps end, and they end with every group at its size on nodes
    /// that may hold it, replicas and leaders within one of even.
    #[test]
    fn steps_end_in_an_even_spread(
        nodes in 1_u64..7,
        drained in proptest::collection::btree_set(1_u64..7, 0..3),
        starts in proptest::collection::vec(
            proptest::collection::btree_set(1_u64..7, 1..4), 1..9),
        factor in prop_oneof![Just(1_usize), Just(3), Just(5)],
    ) {
        let candidates: Vec<Candidate> = (1..=nodes)
            .map(|node| {
                let mut member = candidate(node, "");
                member.eligible = !drained.contains(&node);
                member
            })
            .collect();
        let mut groups: Vec<GroupView> = starts
            .iter()
            .enumerate()
            .map(|(i, voters)| group(i as u16, &voters.iter().copied().collect::<Vec<_>>()))
            .collect();
        let usable: Vec<u64> =
            candidates.iter().filter(|c| c.eligible).map(|c| c.node).collect();
        prop_assume!(!usable.is_empty());
        let mut steps = 0;
        while let Some(step) = plan(&candidates, &groups, factor) {
            carry_out(&step, &mut groups);
            steps += 1;
            prop_assert!(steps < 200, "no end: {step:?}");
        }
        let mut load: BTreeMap<u64, usize> = usable.iter().map(|node| (*node, 0)).collect();
        for group in &groups {
            let most = factor.min(nodes as usize);
            prop_assert!((1..=most).contains(&group.voters.len()));
            prop_assert!(group.voters.iter().all(|voter| *voter <= nodes), "no member");
            if usable.len() >= factor {
                prop_assert_eq!(group.voters.len(), factor);
                prop_assert!(group.voters.iter().all(|voter| usable.contains(voter)));
            }
            for voter in &group.voters {
                *load.entry(*voter).or_default() += 1;
            }
        }
        if usable.len() < factor {
            return Ok(());
        }
        let (min, max) = (load.values().min(), load.values().max());
        prop_assert!(max.expect("a node") - min.expect("a node") <= 1, "uneven: {load:?}");
    }
}
