//! Where a pod runs.
use k8s_openapi::api::core::v1::Pod;

/// The label that names the zone of a machine; a newer Kubernetes gives it to pods too.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// What says in which zone a pod runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The pod itself: this one.
    Zone(String),
    /// The labels of this machine.
    Machine(String),
    /// Nothing yet: it runs nowhere.
    Unknown,
}

/// What says in which zone this pod runs. What was known of an earlier pod of its name does not:
/// a pod that is made anew may come to another zone.
pub fn place(pod: &Pod) -> Place {
    let labels = pod.metadata.labels.as_ref();
    let zone = labels.and_then(|labels| labels.get(ZONE));
    if let Some(zone) = zone.filter(|zone| !zone.is_empty()) {
        return Place::Zone(zone.clone());
    }
    let machine = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    machine.map_or(Place::Unknown, Place::Machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_label_of_the_pod_comes_first() {
        let zone = |name: &str| Place::Zone(name.to_owned());
        let machine = |name: &str| Place::Machine(name.to_owned());
        for (label, node, place_of) in [
            (Some("a"), Some("node1"), zone("a")),
            (Some("a"), None, zone("a")),
            (Some(""), Some("node1"), machine("node1")),
            (None, Some("node1"), machine("node1")),
            (None, None, Place::Unknown),
        ] {
            let labels = label.map(|zone| json!({ZONE: zone}));
            let pod = json!({
                "metadata": {"labels": labels},
                "spec": {"nodeName": node, "containers": []},
            });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(place(&pod), place_of, "{label:?} {node:?}");
        }
    }
}
