//! Founding, members, placement, versions.

use roadstead_core::catalog::*;

use super::world::*;

#[test]
fn a_cluster_is_founded_once() {
    let mut world = World::empty();
    assert_eq!(
        world.refused(create("q", QueueSpec::default())),
        Refusal::NotFounded
    );
    assert_eq!(world.apply(bootstrap("c1")), Reply::Founded(true));
    assert_eq!(world.apply(bootstrap("c1")), Reply::Founded(false));
    assert_eq!(
        world.refused(bootstrap("c2")),
        Refusal::OtherCluster("c1".into())
    );
    assert_eq!(world.machine.placements().len(), 5);
    assert!(
        world
            .machine
            .placements()
            .values()
            .all(|p| p.voters == [1, 2, 3] && p.founding)
    );
    assert_eq!(world.machine.members().len(), 3);
}

#[test]
fn one_founder_holds_one_copy_of_everything() {
    let Op::Bootstrap(mut op) = bootstrap("c1") else {
        panic!("it is one")
    };
    op.founders.truncate(1);
    let alone = op.founders[0].node_id;
    let mut world = World::empty();
    world.apply(Op::Bootstrap(op));
    let placements = world.machine.placements();
    assert!(placements.values().all(|place| place.voters == [alone]));
    assert_eq!(world.machine.cluster().unwrap().replication_factor, 3);
}

#[test]
fn a_bootstrap_that_cannot_be_is_refused() {
    let good = |change: fn(&mut Bootstrap)| {
        let Op::Bootstrap(mut op) = bootstrap("c1") else {
            panic!("it is one")
        };
        change(&mut op);
        Op::Bootstrap(op)
    };
    for bad in [
        good(|op| op.cluster_id.clear()),
        good(|op| op.shards = 0),
        good(|op| op.shards = 257),
        good(|op| op.replication_factor = 2),
        good(|op| op.replication_factor = 5),
        good(|op| op.founders[0].node_id = 2),
        good(|op| op.founders[0].node_id = 0),
    ] {
        assert!(matches!(
            World::empty().refused(bad),
            Refusal::BadBootstrap(_)
        ));
    }
}

#[test]
fn a_drain_is_taken_back_but_not_of_who_is_lost() {
    let mut world = World::founded();
    world.apply(Op::AddMember(AddMember {
        node: node(4),
        fence: 0,
    }));
    let drain = |drain, lost| {
        Op::DrainMember(DrainMember {
            node_id: 4,
            drain,
            lost,
            fence: 0,
        })
    };
    assert_eq!(world.apply(drain(true, false)), Reply::Done);
    assert_eq!(world.apply(drain(false, false)), Reply::Done);
    assert!(!world.machine.members()[&4].draining, "it was taken back");
    assert_eq!(world.apply(drain(true, true)), Reply::Done);
    assert_eq!(world.apply(drain(true, false)), Reply::Done);
    assert!(world.machine.members()[&4].lost, "for good");
    assert_eq!(world.refused(drain(false, false)), Refusal::Lost(4));
}

#[test]
fn members_join_drain_and_leave_in_that_order() {
    let mut world = World::founded();
    world.apply(Op::AddMember(AddMember {
        node: node(4),
        fence: 5,
    }));
    let drain = |fence| {
        Op::DrainMember(DrainMember {
            node_id: 4,
            drain: true,
            lost: false,
            fence,
        })
    };
    assert_eq!(
        world.refused(drain(4)),
        Refusal::Fenced { got: 4, newest: 5 }
    );
    assert_eq!(world.apply(drain(0)), Reply::Done);
    assert!(world.machine.members()[&4].draining);
    let placement = Placement {
        voters: vec![1, 2, 4],
        learners: vec![],
        founding: true,
    };
    let place = |placement| {
        Op::SetPlacement(SetPlacement {
            group: 1,
            placement,
        })
    };
    assert_eq!(world.apply(place(placement)), Reply::Done);
    assert!(
        !world.machine.placements()[&1].founding,
        "a group is founded once"
    );
    let remove = Op::RemoveMember(RemoveMember {
        node_id: 4,
        fence: 0,
    });
    assert_eq!(
        world.refused(remove.clone()),
        Refusal::StillPlaced { node: 4, group: 1 }
    );
    let without = Placement {
        voters: vec![1, 2, 3],
        learners: vec![],
        founding: false,
    };
    assert_eq!(world.apply(place(without)), Reply::Done);
    assert_eq!(world.apply(remove.clone()), Reply::Done);
    assert_eq!(world.apply(remove), Reply::Done);
    let gone = Op::UpdateMember(UpdateMember { node: node(4) });
    assert_eq!(world.refused(gone), Refusal::NoMember(4));
    for (voters, learners) in [(vec![], vec![1]), (vec![1, 1], vec![]), (vec![1], vec![1])] {
        let bad = Placement {
            voters,
            learners,
            founding: false,
        };
        assert!(matches!(
            world.refused(place(bad)),
            Refusal::BadPlacement { .. }
        ));
    }
    let stranger = Placement {
        voters: vec![9],
        learners: vec![],
        founding: false,
    };
    assert_eq!(world.refused(place(stranger)), Refusal::NoMember(9));
}

#[test]
fn a_copied_disk_is_told_by_its_boot() {
    let mut world = World::founded();
    let booted = |boot: &Boot| {
        let boot = boot.clone();
        Op::UpdateMember(UpdateMember {
            node: NodeInfo { boot, ..node(1) },
        })
    };
    let refusal = |got| Refusal::OldBoot {
        node: 1,
        got,
        known: 2,
    };
    let first = Boot::default().next(11);
    let (second, copy) = (first.noted().next(22), first.noted().next(23));
    assert_eq!(world.apply(booted(&first)), Reply::Done);
    assert_eq!(world.apply(booted(&second)), Reply::Done);
    assert_eq!(world.refused(booted(&first)), refusal(1));
    assert_eq!(world.refused(booted(&copy)), refusal(2));
    assert_eq!(world.refused(booted(&copy.next(33))), refusal(3));
    assert_eq!(world.machine.members()[&1].node.boot, second);
}

#[test]
fn a_version_is_finalized_when_every_member_can_apply_it() {
    let mut world = World::founded();
    let finalize = || Op::FinalizeVersion(FinalizeVersion { version: 2 });
    let newer = |id| {
        Op::UpdateMember(UpdateMember {
            node: NodeInfo {
                command_version: 2,
                ..node(id)
            },
        })
    };
    world.apply(newer(1));
    world.apply(newer(2));
    assert_eq!(
        world.refused(finalize()),
        Refusal::VersionTooHigh {
            version: 2,
            node: 3,
            knows: 1
        }
    );
    world.apply(newer(3));
    assert_eq!(world.apply(finalize()), Reply::Done);
    world.apply(Op::FinalizeVersion(FinalizeVersion { version: 1 }));
    assert_eq!(world.machine.cluster().map(|c| c.version), Some(2));
}
