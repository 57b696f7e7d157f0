//! The features that exist for tests only stay out of everything that is shipped.

use toml::{Table, Value};

use super::imports::dependencies;
use super::{File, Finding, Tree};

/// `controls` switches one protection off; `previous` leaves the newest command kind out.
const FOR_TESTS: &[&str] = &["controls", "previous"];

/// What makes or describes what is shipped.
const SHIPPED: &[&str] = &[
    "Dockerfile",
    "charts/",
    "scripts/image",
    "scripts/push",
    "examples/",
];

/// Places that would bring a feature for tests into a shipped binary.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        if file.path.ends_with("Cargo.toml") {
            findings.extend(in_manifest(file));
        }
        if SHIPPED.iter().any(|shipped| file.path.starts_with(shipped)) {
            findings.extend(in_shipped(file));
        }
    }
    findings
}

fn in_manifest(file: &File) -> Vec<Finding> {
    let Ok(manifest) = file.text.parse::<Table>() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let features = manifest.get("features").and_then(Value::as_table);
    for (feature, enables) in features.into_iter().flatten() {
        if FOR_TESTS.contains(&feature.as_str()) {
            continue;
        }
        for enabled in names(enables) {
            findings.extend(named(
                file,
                0,
                enabled,
                &format!("feature `{feature}` enables"),
            ));
        }
    }
    for (_, dependency, value) in dependencies(&manifest) {
        for enabled in value.get("features").map(names).unwrap_or_default() {
            findings.extend(named(
                file,
                0,
                enabled,
                &format!("`{dependency}` is built with"),
            ));
        }
    }
    findings
}

fn named(file: &File, line: usize, enabled: &str, how: &str) -> Option<Finding> {
    let feature = enabled.rsplit('/').next().unwrap_or(enabled);
    let what =
        format!("{how} `{feature}`, which is for tests only; ask for it on the command line");
    FOR_TESTS
        .contains(&feature)
        .then(|| Finding::new(&file.path, line, what))
}

fn in_shipped(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let asks = line.contains("--features") || line.contains("--all-features");
        let names = FOR_TESTS.iter().any(|feature| line.contains(feature));
        if asks && (names || line.contains("--all-features")) {
            let what = "a shipped binary is built without the features for tests";
            findings.push(Finding::new(&file.path, number + 1, what));
        }
    }
    findings
}

fn names(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_test_feature_in_what_is_shipped_is_found() {
        assert_eq!(
            count("a/Cargo.toml", "[features]\ndefault = [\"controls\"]\n"),
            1
        );
        assert_eq!(
            count("a/Cargo.toml", "[features]\nall = [\"b/previous\"]\n"),
            1
        );
        let dependency = "[dependencies]\nb = { version = \"1\", features = [\"controls\"] }\n";
        assert_eq!(count("a/Cargo.toml", dependency), 1);
        assert_eq!(
            count("Dockerfile", "RUN cargo build --features controls\n"),
            1
        );
        assert_eq!(count("scripts/image", "cargo build --all-features\n"), 1);
    }

    #[test]
    fn the_features_themselves_may_be_there() {
        let features = "[features]\ncontrols = [\"roadstead-node/controls\"]\nprevious = []\n";
        assert_eq!(count("tests/Cargo.toml", features), 0);
        assert_eq!(
            count("charts/a/values.yaml", "description: controls the size\n"),
            0
        );
    }
}
