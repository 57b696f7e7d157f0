//! The features that exist for tests only stay out of everything that is shipped.

use toml::{Table, Value};

use super::imports::dependencies;
use super::{File, Finding, Tree};

/// `controls` switches one protection off; `previous` leaves the newest command kind out.
const FOR_TESTS: &[&str] = &["controls", "previous"];

/// How the image of control runs is asked for and called; the script that makes it may say so.
const CONTROL_IMAGE: &[&str] = &["--controls", "roadstead-controls"];
const CONTROL_IMAGE_MADE_BY: &str = "scripts/image";

/// What makes or describes what is shipped.
const SHIPPED: &[&str] = &[
    "Dockerfile",
    "Makefile",
    "charts/",
    "docs/install.md",
    "scripts/demo-kubernetes",
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
        let other = CONTROL_IMAGE.iter().any(|name| line.contains(name));
        if other && file.path != CONTROL_IMAGE_MADE_BY {
            let what = "the image of control runs is for the stories only";
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
    fn the_image_of_control_runs_in_what_is_shipped_is_found() {
        let asked = "tar=$(scripts/image --controls --path)\n";
        assert_eq!(count("scripts/push", asked), 1);
        assert_eq!(count("scripts/image", asked), 0, "it makes it");
        assert_eq!(count("e2e/README.md", asked), 0);
        let named = "repository: localhost/roadstead-controls\n";
        assert_eq!(count("charts/a/values.yaml", named), 1);
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
