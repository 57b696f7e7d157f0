//! What the nodes answer with.
use roadstead_proto::v1;

use super::Cluster;

/// A member that serves.
pub fn member(id: u64, name: &str) -> v1::Member {
    v1::Member {
        node_id: id,
        name: name.to_owned(),
        state: v1::MemberState::Serving as i32,
        voters: 3,
        caught_up: true,
        command_version: 1,
        ..Default::default()
    }
}

/// The load of a queue.
pub fn load(cluster: &Cluster, queue: &v1::Queue) -> v1::ConsumerLoad {
    let named = queue.queue.clone().unwrap_or_default();
    let ready = cluster.ready.get(&key(&named)).copied().unwrap_or(0);
    v1::ConsumerLoad {
        namespace: named.namespace,
        queue: named.name,
        group: "default".into(),
        term: 1,
        ready,
        ..Default::default()
    }
}

/// namespace/name
pub fn key(queue: &v1::QueueRef) -> String {
    format!("{}/{}", queue.namespace, queue.name)
}
