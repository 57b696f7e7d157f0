//! A small world that carries out what is planned, with random accidents: it has to get there, and
//! no step may take a majority away.
use proptest::prelude::*;
use roadstead_proto::v1::{Member, MemberState, Replica, ShardStatus};

use super::fixtures::goal;
use super::{Action, Goal, Step, plan};
use crate::members::statefulset_replicas;
use crate::observed::fixtures::{ID, add_pod, healthy};
use crate::observed::{ClusterView, Observed};

#[derive(Debug, Clone)]
enum Accident {
    None,
    /// This pod restarts: for one round it is not ready and its copies fall behind.
    Crash(u64),
    /// The disk of this pod is lost: it comes back as another node.
    NewDisk(u64),
    Replicas(i32),
    Revision(u8),
}

fn accidents() -> impl Strategy<Value = Accident> {
    prop_oneof![
        6 => Just(Accident::None),
        1 => (0..3_u64).prop_map(Accident::Crash),
        1 => (0..3_u64).prop_map(Accident::NewDisk),
        1 => prop::sample::select(vec![3, 4, 5]).prop_map(Accident::Replicas),
        1 => (0..3_u8).prop_map(Accident::Revision),
    ]
}

struct World {
    goal: Goal,
    seen: Observed,
    next_id: u64,
}

impl World {
    fn cluster(&mut self) -> &mut ClusterView {
        self.seen.cluster.as_mut().unwrap()
    }

    fn strike(&mut self, accident: &Accident) {
        match *accident {
            Accident::None => {}
            Accident::Replicas(replicas) => self.goal.replicas = replicas,
            Accident::Revision(revision) => self.goal.revision = format!("r{revision}"),
            Accident::Crash(ordinal) => self.stop(&format!("main-{ordinal}")),
            Accident::NewDisk(ordinal) => {
                let pod = format!("main-{ordinal}");
                let old = self.seen.nodes.get(&pod).map(|node| node.id);
                let spare = old.is_some_and(|id| {
                    self.cluster().members.len() >= 3 && self.cluster().needs(id).is_none()
                });
                if spare && self.seen.pods.values().all(|pod| pod.ready) {
                    self.next_id += 1;
                    let node = self.seen.nodes.get_mut(&pod).unwrap();
                    node.id = self.next_id;
                    let lost = old.unwrap();
                    self.set_state(lost, MemberState::Unreachable);
                }
            }
        }
    }

    fn set_draining(&mut self, id: u64, draining: bool) {
        let members = self.cluster().members.iter_mut();
        for member in members.filter(|member| member.node_id == id) {
            member.draining = draining;
        }
    }

    fn set_state(&mut self, id: u64, state: MemberState) {
        let lost = state == MemberState::Unreachable;
        let cluster = self.cluster();
        for member in cluster
            .members
            .iter_mut()
            .filter(|member| member.node_id == id)
        {
            member.state = state as i32;
            member.caught_up = !lost;
        }
        for shard in &mut cluster.shards {
            if lost && shard.leader == id {
                shard.leader = heir(&cluster.members, shard, id);
            }
            let own = shard
                .replicas
                .iter_mut()
                .filter(|replica| replica.node_id == id);
            own.for_each(|replica| replica.lag = Some(if lost { 9_999 } else { 0 }));
        }
    }

    fn stop(&mut self, pod: &str) {
        if let Some(view) = self.seen.pods.get_mut(pod) {
            view.ready = false;
            let id = self.seen.nodes.remove(pod).map(|node| node.id);
            if let Some(id) = id {
                self.set_state(id, MemberState::Unreachable);
            }
        }
    }

    /// What Kubernetes and the nodes do by themselves.
    fn settle(&mut self) {
        let wanted = statefulset_replicas(&self.goal, &self.seen);
        self.seen.statefulset_replicas = Some(wanted);
        let names = self.goal.names.clone();
        self.seen
            .pods
            .retain(|pod, _| names.ordinal(pod).unwrap() < wanted);
        self.seen
            .nodes
            .retain(|pod, _| names.ordinal(pod).unwrap() < wanted);
        for ordinal in 0..u64::try_from(wanted).unwrap() {
            let pod = format!("main-{ordinal}");
            if self.seen.nodes.contains_key(&pod) {
                continue;
            }
            let revision = self.seen.pods.get(&pod).map(|view| view.revision.clone());
            add_pod(&mut self.seen, ordinal);
            let view = self.seen.pods.get_mut(&pod).unwrap();
            view.revision = revision.unwrap_or_else(|| self.goal.revision.clone());
            let id = self.member_of(&pod).unwrap_or_else(|| {
                self.next_id += 1;
                self.next_id
            });
            self.seen.nodes.get_mut(&pod).unwrap().id = id;
            self.set_state(id, MemberState::Serving);
        }
        self.count();
    }

    fn member_of(&self, pod: &str) -> Option<u64> {
        let members = &self.seen.cluster.as_ref().unwrap().members;
        members
            .iter()
            .rev()
            .find(|member| member.name == pod)
            .map(|member| member.node_id)
    }

    /// Every serving member holds every group; leaders are the first that can.
    fn count(&mut self) {
        let cluster = self.cluster();
        for shard in &mut cluster.shards {
            shard
                .replicas
                .retain(|r| cluster.members.iter().any(|m| m.node_id == r.node_id));
        }
        for member in &mut cluster.members {
            let id = member.node_id;
            let holds = |s: &&ShardStatus| s.replicas.iter().any(|r| r.node_id == id);
            member.voters = u32::try_from(cluster.shards.iter().filter(holds).count()).unwrap();
            let leads = cluster.shards.iter().filter(|shard| shard.leader == id);
            member.leaders = u32::try_from(leads.count()).unwrap();
        }
    }

    fn carry_out(&mut self, step: &Step) {
        match &step.action {
            Action::Join(id) => {
                let id = *id;
                let name = step.target.clone();
                let cluster = self.cluster();
                cluster.members.push(Member {
                    node_id: id,
                    name,
                    state: MemberState::Serving as i32,
                    caught_up: true,
                    ..Member::default()
                });
                for shard in &mut cluster.shards {
                    shard.replicas.push(Replica {
                        node_id: id,
                        voter: true,
                        lag: Some(0),
                    });
                }
            }
            Action::Drain(id) => {
                self.set_draining(*id, true);
                self.leave(*id);
            }
            Action::CancelDrain(id) => self.set_draining(*id, false),
            Action::Remove(id) => {
                assert!(
                    self.cluster().needs(*id).is_none(),
                    "removed a needed member"
                );
                let copies = self
                    .cluster()
                    .shards
                    .iter()
                    .flat_map(|shard| &shard.replicas);
                assert!(
                    copies.map(|copy| copy.node_id).all(|holder| holder != *id),
                    "the catalog removes no member that something is placed on"
                );
                self.cluster()
                    .members
                    .retain(|member| member.node_id != *id);
            }
            Action::Restart { .. } => {
                let id = self.seen.nodes.get(&step.target).map(|node| node.id);
                let serves = self.seen.pods[&step.target].ready;
                if let Some(id) = id.filter(|_| serves) {
                    assert!(self.cluster().needs(id).is_none(), "stopped a needed node");
                    assert!(
                        self.seen.pods.values().all(|pod| pod.ready),
                        "stopped a second one"
                    );
                }
                self.stop(&step.target);
                self.seen.pods.remove(&step.target);
            }
            Action::Done | Action::Wait => {}
            other => panic!("{other:?} after the cluster was founded"),
        }
        self.count();
    }

    fn leave(&mut self, id: u64) {
        let cluster = self.cluster();
        for shard in &mut cluster.shards {
            shard.replicas.retain(|replica| replica.node_id != id);
            if shard.leader == id {
                shard.leader = heir(&cluster.members, shard, id);
            }
        }
    }
}

/// Who leads a shard after `gone`: the first that has caught up and holds a copy; 0 for nobody.
fn heir(members: &[Member], shard: &ShardStatus, gone: u64) -> u64 {
    let holds = |id: u64| id != gone && shard.replicas.iter().any(|copy| copy.node_id == id);
    let heir = members
        .iter()
        .find(|member| member.caught_up && holds(member.node_id));
    heir.map_or(0, |member| member.node_id)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn it_gets_there_and_never_takes_a_majority(
        accidents in prop::collection::vec(accidents(), 0..40)
    ) {
        let mut world = World { goal: goal(3), seen: healthy(3), next_id: 1_000 };
        for accident in &accidents {
            world.strike(accident);
            let step = plan(&world.goal, &world.seen);
            world.carry_out(&step);
            world.settle();
        }
        let mut last = Step::done();
        for _ in 0..60 {
            last = plan(&world.goal, &world.seen);
            if last.action == Action::Done {
                break;
            }
            world.carry_out(&last);
            world.settle();
        }
        prop_assert_eq!(&last.action, &Action::Done, "{:?}", last);
        let goal = &world.goal;
        prop_assert_eq!(world.seen.pods.len(), usize::try_from(goal.replicas).unwrap());
        prop_assert!(world.seen.pods.values().all(|pod| pod.revision == goal.revision));
        prop_assert!(world.seen.nodes.values().all(|node| node.cluster_id == ID));
        let members = world.seen.cluster.unwrap().members.len();
        prop_assert_eq!(members, usize::try_from(goal.replicas).unwrap());
    }
}
