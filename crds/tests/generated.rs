//! The manifests in the chart are those that the types give, and Kubernetes can take them.
use std::path::Path;

use serde_json::Value;

const MAX_BYTES: usize = 200 * 1024;

#[test]
fn manifests_are_not_stale() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/roadstead-crds/templates");
    for crd in roadstead_crds::crds() {
        let path = folder.join(roadstead_crds::file_name(&crd));
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let made = roadstead_crds::yaml(&crd).unwrap();
        assert!(
            kept == made,
            "{} is stale: cargo run -p roadstead-crds --bin crdgen charts/roadstead-crds/templates",
            path.display()
        );
    }
}

#[test]
fn definitions_are_small_bounded_and_plain() {
    for crd in roadstead_crds::crds() {
        let text = roadstead_crds::yaml(&crd).unwrap();
        assert!(
            text.len() < MAX_BYTES,
            "{} has {} bytes",
            crd.spec.names.plural,
            text.len()
        );
        assert!(
            !text.contains("{{"),
            "{} would be taken for a template",
            crd.spec.names.plural
        );
        walk(&serde_json::to_value(&crd).unwrap(), &crd.spec.names.plural);
    }
}

fn walk(node: &Value, path: &str) {
    match node {
        Value::Object(map) => {
            if let Some(format) = map.get("format").and_then(Value::as_str) {
                assert!(
                    !format.starts_with("uint"),
                    "{path}: {format} is unknown to Kubernetes"
                );
                assert!(
                    format != "double" && format != "float",
                    "{path}: floats are not used"
                );
            }
            if map.get("type") == Some(&Value::from("array")) {
                assert!(
                    map.contains_key("maxItems"),
                    "{path}: a list without a bound"
                );
            }
            map.iter()
                .for_each(|(name, child)| walk(child, &format!("{path}.{name}")));
        }
        Value::Array(items) => items.iter().for_each(|child| walk(child, path)),
        _ => {}
    }
}

/// `kubectl explain` prints descriptions, and no defaults.
#[test]
fn descriptions_name_the_defaults() {
    for crd in roadstead_crds::crds() {
        let version = serde_json::to_value(&crd.spec.versions[0]).unwrap();
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let seen = defaults(spec, &crd.spec.names.plural);
        assert!(seen > 10, "{} has {seen} defaults", crd.spec.names.plural);
    }
}

/// Looks at the properties below a schema; how many have a default.
fn defaults(schema: &Value, path: &str) -> usize {
    let mut seen = 0;
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if let Some(default) = child.get("default") {
            let text = child["description"].as_str().unwrap_or_default();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let words = match default {
                Value::Object(_) | Value::Array(_) => "Default: ".to_owned(),
                Value::String(word) => format!("Default: `{word}`."),
                number => format!("Default: {number}."),
            };
            assert!(text.contains(&words), "{path} says no {words:?}: {text}");
            seen += 1;
        }
        seen += defaults(child, &path) + defaults(&child["items"], &format!("{path}[]"));
    }
    seen
}

#[test]
fn names_and_subresources() {
    let crds = roadstead_crds::crds();
    let names: Vec<_> = crds
        .iter()
        .map(|crd| {
            let names = &crd.spec.names;
            assert_eq!(
                names.categories.as_deref(),
                Some(&["roadstead".to_owned()][..])
            );
            (
                names.plural.as_str(),
                names.short_names.clone().unwrap_or_default().join(","),
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            ("queueclusters", "rdc".to_owned()),
            ("queues", "rdq".to_owned()),
            ("consumerscalers", "rds".to_owned())
        ]
    );
    let scale = crds[0].spec.versions[0]
        .subresources
        .as_ref()
        .unwrap()
        .scale
        .as_ref()
        .unwrap();
    assert_eq!(scale.spec_replicas_path, ".spec.replicas");
    for crd in &crds {
        assert!(
            crd.spec.versions[0]
                .subresources
                .as_ref()
                .unwrap()
                .status
                .is_some()
        );
    }
}
