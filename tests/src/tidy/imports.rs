//! Who may import whom, read from the manifests.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{Finding, Tree};

/// For each crate of ours, the crates of ours that it may import.
const ALLOWED: &[(&str, &[&str])] = &[
    ("roadstead-core", &[]),
    ("roadstead-proto", &[]),
    ("roadstead-crds", &[]),
    ("roadstead-node", &["roadstead-core", "roadstead-proto"]),
    ("roadstead-client", &["roadstead-proto"]),
    (
        "roadstead-operator-core",
        &["roadstead-crds", "roadstead-proto"],
    ),
    (
        "roadstead-operator",
        &[
            "roadstead-crds",
            "roadstead-operator-core",
            "roadstead-proto",
        ],
    ),
    (
        "roadstead",
        &[
            "roadstead-client",
            "roadstead-crds",
            "roadstead-node",
            "roadstead-operator-core",
            "roadstead-proto",
        ],
    ),
    (
        "roadstead-bench",
        &["roadstead-client", "roadstead-node", "roadstead-proto"],
    ),
    (
        "roadstead-tests",
        &[
            "roadstead-client",
            "roadstead-core",
            "roadstead-node",
            "roadstead-operator",
            "roadstead-operator-core",
            "roadstead-proto",
        ],
    ),
    (
        "roadstead-e2e",
        &["roadstead-client", "roadstead-crds", "roadstead-proto"],
    ),
];

/// What the pure core may use of others' crates.
const CORE_MAY_USE: &[&str] = &["bytes", "thiserror", "xxhash-rust"];

/// Crates that may hold a client of Kubernetes.
const KUBE_CLIENTS: &[&str] = &["roadstead-operator", "roadstead-tests", "roadstead-e2e"];

/// What no pure crate may use, for it brings I/O or a clock.
const NOT_PURE: &[&str] = &[
    "tokio", "openraft", "heed", "tonic", "rand", "hyper", "reqwest",
];

/// Imports that the design does not have.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut findings = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| file.path.ends_with("Cargo.toml"))
    {
        let manifest: Table = match file.text.parse() {
            Ok(manifest) => manifest,
            Err(error) => {
                findings.push(Finding::new(
                    &file.path,
                    0,
                    format!("not a manifest: {error}"),
                ));
                continue;
            }
        };
        let Some(name) = package_name(&manifest) else {
            continue;
        };
        let mut wrong = |message| findings.push(Finding::new(&file.path, 0, message));
        let Some(may_import) = allowed.get(name) else {
            wrong(format!(
                "`{name}` is not in the table of rooms (tests/src/tidy/imports.rs)"
            ));
            continue;
        };
        for (kind, dependency, value) in dependencies(&manifest) {
            if allowed.contains_key(dependency) && !may_import.contains(&dependency) {
                wrong(format!("`{name}` may not import `{dependency}`"));
            }
            if dependency == "kube" && has_feature(value, "client") && !KUBE_CLIENTS.contains(&name)
            {
                wrong(format!("`{name}` may not hold a client of Kubernetes"));
            }
            let is_core = name == "roadstead-core" && kind == "dependencies";
            if is_core && !CORE_MAY_USE.contains(&dependency) {
                wrong(format!("the core may not use `{dependency}`"));
            }
            let is_pure = name.ends_with("-core") && kind == "dependencies";
            if is_pure && NOT_PURE.contains(&dependency) {
                wrong(format!(
                    "`{name}` decides and does no I/O; `{dependency}` does"
                ));
            }
        }
    }
    findings
}

fn package_name(manifest: &Table) -> Option<&str> {
    manifest.get("package")?.get("name")?.as_str()
}

/// Kind, name and value of every dependency of a manifest.
pub(super) fn dependencies(manifest: &Table) -> Vec<(&'static str, &str, &Value)> {
    let mut found = Vec::new();
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let table = manifest.get(kind).and_then(Value::as_table);
        for (name, value) in table.into_iter().flatten() {
            found.push((kind, name.as_str(), value));
        }
    }
    found
}

fn has_feature(value: &Value, feature: &str) -> bool {
    let features = value.get("features").and_then(Value::as_array);
    features
        .into_iter()
        .flatten()
        .any(|one| one.as_str() == Some(feature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, rest: &str) -> usize {
        let manifest = format!("[package]\nname = \"{name}\"\n{rest}");
        check(&Tree::of(&[("a/Cargo.toml", &manifest)])).len()
    }

    #[test]
    fn what_the_design_allows_is_allowed() {
        let rest = "[dependencies]\nroadstead-core.workspace = true\ntokio = \"1\"\n";
        assert_eq!(findings("roadstead-node", rest), 0);
        assert_eq!(
            findings("roadstead-core", "[dev-dependencies]\nproptest = \"1\"\n"),
            0
        );
    }

    #[test]
    fn what_it_does_not_is_found() {
        for (name, rest) in [
            (
                "roadstead-client",
                "[dependencies]\nroadstead-node.workspace = true\n",
            ),
            (
                "roadstead-client",
                "[dev-dependencies]\nroadstead-node.workspace = true\n",
            ),
            ("roadstead-operator-core", "[dependencies]\ntokio = \"1\"\n"),
            (
                "roadstead",
                "[dependencies]\nkube = { version = \"5\", features = [\"client\"] }\n",
            ),
            ("roadstead-core", "[dependencies]\nserde = \"1\"\n"),
            ("roadstead-new-room", ""),
        ] {
            assert_eq!(findings(name, rest), 1, "{name} {rest}");
        }
    }
}
