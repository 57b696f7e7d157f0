//! What the schema of a `QueueCluster` cannot say, and the goal that follows from a valid one.
use roadstead_crds::{Approval, NamespacesFrom, QueueCluster, QueueClusterSpec};

use crate::controls::Controls;
use crate::desired::revision;
use crate::names::{APPROVED_REVISION, Names};
use crate::plan::Goal;

/// A node does not start with less memory.
const MEMORY_MIN: u64 = 64 << 20;

/// A field that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Violation {
    /// Path of the field.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Violation {
    /// A field that cannot be used.
    pub fn new(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

/// Everything that is wrong with a specification beyond what the API server has checked.
pub fn cluster(spec: &QueueClusterSpec) -> Vec<Violation> {
    let mut violations = Vec::new();
    let reserved = [
        "app.kubernetes.io/",
        "roadstead.dev/",
        "controller-revision-hash",
    ];
    for label in spec.pod.labels.keys() {
        if reserved.iter().any(|prefix| label.starts_with(prefix)) {
            violations.push(Violation::new(
                "spec.pod.labels",
                format!("{label} is set by the operator: use another label"),
            ));
        }
    }
    if let Some(selector) = &spec.queue_namespaces.selector
        && spec.queue_namespaces.from == NamespacesFrom::Selector
    {
        for expression in selector.match_expressions.iter().flatten() {
            let known = ["In", "NotIn", "Exists", "DoesNotExist"];
            if !known.contains(&expression.operator.as_str()) {
                violations.push(Violation::new(
                    "spec.queueNamespaces.selector",
                    format!(
                        "operator {} is unknown: use one of {known:?}",
                        expression.operator
                    ),
                ));
            }
        }
    }
    if let Some(limit) = memory_limit_text(spec)
        && memory_limit(spec).is_none()
    {
        violations.push(Violation::new(
            "spec.resources.limits.memory",
            format!("{limit} is no whole number of bytes: write it like 2Gi"),
        ));
    }
    if memory_limit(spec).is_some_and(|bytes| bytes < MEMORY_MIN) {
        violations.push(Violation::new(
            "spec.resources.limits.memory",
            "a node does not run with less than 64Mi: give it 512Mi or more",
        ));
    }
    violations
}

/// The memory limit of a node in bytes, where there is one.
pub fn memory_limit(spec: &QueueClusterSpec) -> Option<u64> {
    roadstead_crds::ByteSize::from(memory_limit_text(spec)?).bytes()
}

fn memory_limit_text(spec: &QueueClusterSpec) -> Option<&str> {
    let limits = spec.resources.as_ref()?.limits.as_ref()?;
    limits.get("memory").map(|quantity| quantity.0.as_str())
}

/// What shall be, for a cluster whose id is written down.
pub fn goal(cluster: &QueueCluster, image: &str) -> Option<Goal> {
    let metadata = &cluster.metadata;
    let status = cluster.status.as_ref()?;
    let bootstrap = status.bootstrap.clone().unwrap_or_default();
    let revision = revision(cluster, image);
    let annotation = metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get(APPROVED_REVISION));
    Some(Goal {
        names: Names::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?),
        cluster_id: status.cluster_id.clone()?,
        replicas: cluster.spec.replicas,
        founders: bootstrap.founders,
        founded: bootstrap.done,
        approved: cluster.spec.upgrade.approval == Approval::Automatic
            || annotation.is_some_and(|approved| *approved == revision),
        revision,
        controls: Controls::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixtures::cluster as example;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(cluster(&example().spec), []);
    }

    #[test]
    fn reserved_labels_and_odd_limits_are_refused() {
        let mut spec = example().spec;
        spec.pod
            .labels
            .insert("roadstead.dev/cluster".into(), "other".into());
        spec.resources = Some(
            serde_json::from_value(serde_json::json!({"limits": {"memory": "1.5Gi"}})).unwrap(),
        );
        let fields: Vec<_> = cluster(&spec).into_iter().map(|v| v.field).collect();
        assert_eq!(fields, ["spec.pod.labels", "spec.resources.limits.memory"]);
    }

    #[test]
    fn a_limit_that_no_node_can_live_with_is_refused() {
        for (limit, refused) in [("1Mi", true), ("65535Ki", true), ("64Mi", false)] {
            let limits = serde_json::json!({"limits": {"memory": limit}});
            let mut spec = example().spec;
            spec.resources = Some(serde_json::from_value(limits).unwrap());
            assert_eq!(!cluster(&spec).is_empty(), refused, "{limit}");
        }
    }

    #[test]
    fn manual_approval_names_the_revision() {
        let mut example = example();
        example.spec.upgrade.approval = Approval::Manual;
        let goal_of = |cluster: &QueueCluster| goal(cluster, "image:1").unwrap();
        assert!(!goal_of(&example).approved);
        let annotations = [(APPROVED_REVISION.to_owned(), goal_of(&example).revision)];
        example.metadata.annotations = Some(annotations.into());
        assert!(goal_of(&example).approved);
        assert!(
            !goal(&example, "image:2").unwrap().approved,
            "another image, another revision"
        );
    }
}
