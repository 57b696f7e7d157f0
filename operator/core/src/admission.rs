//! Whose queues a cluster lets in.
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use roadstead_crds::{NamespacesFrom, QueueCluster};

/// Whether a cluster lets queues of a namespace with these labels in.
pub fn allows(cluster: &QueueCluster, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let own = cluster.metadata.namespace.as_deref() == Some(namespace);
    let allowed = &cluster.spec.queue_namespaces;
    own || match (allowed.from, &allowed.selector) {
        (NamespacesFrom::All, _) => true,
        (NamespacesFrom::Selector, Some(selector)) => matches(selector, labels),
        (NamespacesFrom::Same | NamespacesFrom::Selector, _) => false,
    }
}

fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(k, v)| labels.get(k) == Some(v));
    equal
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|expression| {
                let value = labels.get(&expression.key);
                let among =
                    value.is_some_and(|v| expression.values.iter().flatten().any(|x| x == v));
                match expression.operator.as_str() {
                    "In" => among,
                    "NotIn" => !among,
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn namespaces() {
        let mut cluster = crate::desired::fixtures::cluster();
        let labels = |value: &str| [("team".to_owned(), value.to_owned())].into();
        assert!(
            allows(&cluster, "queues", &labels("a")),
            "its own namespace"
        );
        assert!(!allows(&cluster, "shop", &labels("a")));
        cluster.spec.queue_namespaces.from = NamespacesFrom::Selector;
        cluster.spec.queue_namespaces.selector = serde_json::from_value(json!({
            "matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]
        }))
        .unwrap();
        assert!(allows(&cluster, "shop", &labels("b")));
        assert!(!allows(&cluster, "shop", &labels("c")));
        cluster.spec.queue_namespaces.from = NamespacesFrom::All;
        assert!(allows(&cluster, "shop", &labels("c")));
    }
}
