//! The chart as helm renders it is the one in `golden/`, which other tests use. Needs helm, which
//! `scripts/tools helm` makes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs helm in the checkout.
fn helm(words: &[&str]) -> Output {
    let tool = Command::new(checkout().join("scripts/tools"))
        .arg("helm")
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&tool.stderr);
    assert!(tool.status.success(), "{why}");
    let path = String::from_utf8(tool.stdout).unwrap();
    Command::new(path.trim())
        .current_dir(checkout())
        .args(words)
        .output()
        .unwrap()
}

#[test]
fn the_rendered_chart_is_the_golden_one() {
    let words = [
        "template",
        "roadstead",
        "charts/roadstead",
        "--namespace",
        "roadstead-system",
    ];
    let set = ["--set", "image.repository=localhost/roadstead"];
    let rendered = helm(&[&words[..], &set].concat());
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chart.yaml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &rendered).unwrap();
    }
    let kept = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        kept == rendered,
        "the chart changed: look at it, then UPDATE=1 cargo test --test chart"
    );
}

/// The rules of every ClusterRole: what they name holds in every namespace.
fn cluster_rules(rendered: &str) -> Vec<Value> {
    let roles = rendered
        .split("\n---")
        .filter(|document| document.contains("\nkind: ClusterRole\n"))
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    roles
        .flat_map(|role| role["rules"].as_array().unwrap().clone())
        .collect()
}

/// Every verb but delete lets one read: who may create or patch gets the object in the answer.
#[test]
fn secrets_of_other_namespaces_are_out_of_reach() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chart.yaml");
    let rendered = std::fs::read_to_string(golden).unwrap();
    let about = |rule: &Value, field: &str, words: &[&str]| {
        let list = rule[field].as_array().unwrap();
        list.iter()
            .any(|one| words.contains(&one.as_str().unwrap()))
    };
    let rules = cluster_rules(&rendered);
    assert!(rules.len() > 10, "{rules:?}");
    let mut seen = 0;
    for rule in rules {
        assert!(!about(&rule, "verbs", &["*"]), "a wildcard: {rule}");
        if about(&rule, "apiGroups", &["*", ""])
            && about(&rule, "resources", &["*", "secrets", "secrets/*"])
        {
            seen += 1;
            let ours = json!(["roadstead-tls", "roadstead-admin"]);
            assert_eq!(rule["resourceNames"], ours, "{rule}");
            assert_eq!(rule["verbs"], json!(["create", "patch"]), "{rule}");
        }
    }
    assert_eq!(seen, 1, "one rule is about Secrets");
}

#[test]
fn an_image_can_be_named_by_its_digest() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let set = format!("image.repository=r/x,image.digest={digest}");
    let words = ["template", "roadstead", "charts/roadstead", "--set", &set];
    let rendered = helm(&words);
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let image = format!("r/x@{digest}");
    assert!(
        rendered.contains(&format!("image: {image}\n")),
        "{rendered}"
    );
    assert!(rendered.contains(&format!("--node-image={image}\n")));
}

#[test]
fn without_an_image_it_says_how_to_get_one() {
    let refused = helm(&["template", "roadstead", "charts/roadstead"]);
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(
        words.contains("make image") && words.contains("docs/install.md"),
        "{words}"
    );
    let wrong = [
        "template",
        "r",
        "charts/roadstead",
        "--set",
        "image.repository=r,replicas=0",
    ];
    let refused = helm(&wrong);
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("/replicas")
    );
}

/// One document of the rendered chart, by its kind.
fn rendered(set: &str, kind: &str) -> Option<Value> {
    let set = format!("image.repository=r,{set}");
    let done = helm(&["template", "r", "charts/roadstead", "--set", &set]);
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let documents = text.split("\n---").filter(|d| d.contains("kind:"));
    documents
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap())
        .find(|document| document["kind"] == kind)
}

/// Cluster-wide and named by bindings, which cannot change: Helm refuses a second release, whose
/// operator would fight with the first, because this object is there already.
#[test]
fn the_role_of_nodes_has_the_same_name_in_every_release() {
    for release in ["roadstead", "second"] {
        let set = "image.repository=r";
        let words = [
            "template",
            release,
            "charts/roadstead",
            "--namespace",
            release,
            "--set",
            set,
        ];
        let text = String::from_utf8(helm(&words).stdout).unwrap();
        assert!(
            text.contains("\n  name: roadstead-node-tokenreview\n"),
            "{text}"
        );
        assert!(text.contains("--token-review-role=roadstead-node-tokenreview\n"));
    }
}

#[test]
fn wrong_values_are_refused_by_their_names() {
    let digest = format!("image.repository=r@sha256:{}", "0".repeat(64));
    for (set, named) in [
        ("image.repository=localhost/r:0.1.0", "/image/repository"),
        ("image.repository=host:5000/r:0.1.0", "/image/repository"),
        (digest.as_str(), "/image/repository"),
        ("image=null", "'image'"),
        ("image.pullPolicy=null", "'pullPolicy'"),
        ("replicas=null", "'replicas'"),
        ("logFormat=null", "'logFormat'"),
        ("logLevel=null", "'logLevel'"),
        ("serviceAccount=null", "'serviceAccount'"),
        ("scaler=null", "'scaler'"),
        ("resources.limits.memory=abc", "/resources/limits/memory"),
        ("resources.limits.memory=64MiB", "/resources/limits/memory"),
        ("resources.requests.cpu=-1", "/resources/requests/cpu"),
    ] {
        let refused = helm(&["template", "r", "charts/roadstead", "--set", set]);
        let words = String::from_utf8(refused.stderr).unwrap();
        assert!(
            !refused.status.success() && words.contains(named) && words.contains("schema"),
            "{set}: {words}"
        );
    }
    let deployment = rendered("image.repository=host:5000/r", "Deployment").unwrap();
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "host:5000/r:0.1.0");
}

#[test]
fn quantities_of_every_kind_are_taken() {
    for quantity in ["1", "50m", "0.5", "1.5Gi", "64Mi", "1e9", "2k"] {
        let set = format!("resources.limits.memory={quantity},resources.requests.cpu={quantity}");
        let deployment = rendered(&set, "Deployment").unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let limit = &container["resources"]["limits"]["memory"];
        assert!(!limit.is_null(), "{quantity}: {container}");
    }
}

#[test]
fn operators_that_stand_by_are_kept_apart() {
    let spread = |set: &str| {
        let deployment = rendered(set, "Deployment").unwrap();
        deployment["spec"]["template"]["spec"]["topologySpreadConstraints"].clone()
    };
    assert!(rendered("replicas=1", "PodDisruptionBudget").is_none());
    assert!(spread("replicas=1").is_null());
    let budget = rendered("replicas=2", "PodDisruptionBudget").unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    let selector = &budget["spec"]["selector"]["matchLabels"];
    assert_eq!(selector["app.kubernetes.io/name"], "roadstead-operator");
    let constraints = spread("replicas=2");
    for (n, key) in ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .iter()
        .enumerate()
    {
        assert_eq!(constraints[n]["topologyKey"], *key);
        assert_eq!(&constraints[n]["labelSelector"]["matchLabels"], selector);
    }
}

/// The NetworkPolicy of every cluster lets the operator in by these labels.
#[test]
fn the_labels_that_pods_are_found_by_cannot_be_changed() {
    let deployment = rendered("podLabels.team=a", "Deployment").unwrap();
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["team"], "a");
    for key in labels.as_object().unwrap().keys() {
        if key != "team" {
            let set = format!(
                "image.repository=r,podLabels.{}=evil",
                key.replace('.', "\\.")
            );
            let refused = helm(&["template", "r", "charts/roadstead", "--set", &set]);
            let words = String::from_utf8(refused.stderr).unwrap();
            assert!(
                !refused.status.success() && words.contains("/podLabels"),
                "{key}: {words}"
            );
        }
    }
}
