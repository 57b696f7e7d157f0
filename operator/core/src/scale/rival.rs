//! Of two scalers for one target, one acts.
use roadstead_crds::{ConsumerScaler, ScaleTargetRef, ScalerMode};

/// The scaler that has the target of this one: the oldest of its namespace, by name where several
/// are as old. One that is paused keeps its target, and so does one that is being deleted: it may
/// have replicas to restore. One that runs dry neither has a target nor minds who has it.
pub fn rival<'a>(
    scaler: &ConsumerScaler,
    others: impl IntoIterator<Item = &'a ConsumerScaler>,
) -> Option<String> {
    let rank = |scaler: &ConsumerScaler| {
        let metadata = &scaler.metadata;
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created, metadata.name.clone().unwrap_or_default())
    };
    let takes_part = |scaler: &ConsumerScaler| scaler.spec.mode != ScalerMode::DryRun;
    let before = |other: &&ConsumerScaler| {
        other.metadata.namespace == scaler.metadata.namespace
            && target(&other.spec.scale_target_ref) == target(&scaler.spec.scale_target_ref)
            && takes_part(other)
            && rank(other) < rank(scaler)
    };
    let others = others.into_iter().filter(before);
    let first = others.min_by_key(|other| rank(other));
    first
        .filter(|_| takes_part(scaler))
        .map(|other| rank(other).1)
}

/// The same object has one group, whatever version it is named by.
fn target(target: &ScaleTargetRef) -> (&str, &str, &str) {
    let group = target.api_version.split_once('/').map_or("", |(g, _)| g);
    (group, &target.kind, &target.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn scaler(name: &str, second: u32, spec: &str) -> ConsumerScaler {
        let mut object = json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "ConsumerScaler",
            "metadata": {"name": name, "namespace": "shop",
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {
                "scaleTargetRef": {"name": "worker"}, "sources": [{"queue": "orders"}],
                "objective": {"messagesPerReplica": 100}, "maxReplicas": 10,
            },
        });
        let spec: Value = serde_json::from_str(spec).unwrap();
        let spec = spec.as_object().unwrap().clone();
        object["spec"].as_object_mut().unwrap().extend(spec);
        serde_json::from_value(object).unwrap()
    }

    const PLAIN: &str = "{}";
    const DRY: &str = r#"{"mode": "DryRun"}"#;
    const PAUSED: &str = r#"{"mode": "Paused"}"#;
    const OTHER: &str = r#"{"scaleTargetRef": {"name": "other"}}"#;
    const KIND: &str = r#"{"scaleTargetRef": {"name": "worker", "kind": "StatefulSet"}}"#;
    const VERSION: &str = r#"{"scaleTargetRef": {"name": "worker", "apiVersion": "apps/v2"}}"#;
    type Other = (&'static str, u32, &'static str);

    /// What it shows, what scaler `b` of second 5 says, who else is there, and who is its rival.
    const CASES: [(&str, &str, &[Other], Option<&str>); 12] = [
        ("alone", PLAIN, &[], None),
        ("later", PLAIN, &[("z", 4, PLAIN)], Some("z")),
        ("earlier", PLAIN, &[("a", 6, PLAIN)], None),
        ("as old, by name", PLAIN, &[("a", 5, PLAIN)], Some("a")),
        ("as old, first", PLAIN, &[("c", 5, PLAIN)], None),
        (
            "of three",
            PLAIN,
            &[("c", 4, PLAIN), ("a", 3, PLAIN)],
            Some("a"),
        ),
        ("another target", PLAIN, &[("a", 1, OTHER)], None),
        ("another kind", PLAIN, &[("a", 1, KIND)], None),
        ("another version", VERSION, &[("a", 1, PLAIN)], Some("a")),
        ("paused keeps it", PLAIN, &[("a", 1, PAUSED)], Some("a")),
        ("a dry one has none", PLAIN, &[("a", 1, DRY)], None),
        ("a dry one does not mind", DRY, &[("a", 1, PLAIN)], None),
    ];

    #[test]
    fn the_first_one_has_the_target() {
        for (what, spec, others, wanted) in CASES {
            let own = scaler("b", 5, spec);
            let others = others.iter().map(|(n, s, spec)| scaler(n, *s, spec));
            let all: Vec<_> = others.chain([own.clone()]).collect();
            assert_eq!(rival(&own, &all).as_deref(), wanted, "{what}");
        }
    }

    #[test]
    fn namespaces_do_not_mix() {
        let own = scaler("b", 5, PLAIN);
        let mut other = scaler("a", 1, PLAIN);
        other.metadata.namespace = Some("elsewhere".into());
        assert_eq!(rival(&own, [&other]), None);
    }
}
