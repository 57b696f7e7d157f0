//! The definitions and the examples, as users apply them.
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::server::ApiServer;

/// A path in the checkout.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The objects of a file of manifests.
pub fn objects(text: &str) -> Vec<DynamicObject> {
    let parts = text
        .split("\n---")
        .map(|part| part.trim_start_matches("---"));
    let solid = |part: &&str| {
        part.lines()
            .any(|l| !l.trim().is_empty() && !l.starts_with('#'))
    };
    parts
        .filter(solid)
        .map(|part| serde_saphyr::from_str(part).unwrap())
        .collect()
}

/// Applies an object with `default` as its namespace where it names none.
pub async fn apply(client: &Client, object: &DynamicObject, dry: bool) -> kube::Result<()> {
    let types = object.types.clone().unwrap();
    let gvk = GroupVersionKind::try_from(&types).unwrap();
    let (resource, capabilities) = kube::discovery::pinned_kind(client, &gvk).await?;
    let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
    let api: Api<DynamicObject> = dynamic(client, object, &resource, namespaced);
    let mut params = PatchParams::apply("test").force();
    params.dry_run = dry;
    api.patch(&object.name_any(), &params, &Patch::Apply(object))
        .await
        .map(drop)
}

fn dynamic(
    client: &Client,
    object: &DynamicObject,
    resource: &ApiResource,
    namespaced: bool,
) -> Api<DynamicObject> {
    if namespaced {
        let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
        Api::namespaced_with(client.clone(), &namespace, resource)
    } else {
        Api::all_with(client.clone(), resource)
    }
}

/// Installs the definitions from the chart, as they are in the checkout.
pub async fn install_definitions(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for kind in ["queueclusters", "queues", "consumerscalers"] {
        let path = checkout(&format!("charts/roadstead-crds/templates/{kind}.yaml"));
        let crd: CustomResourceDefinition =
            serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        api.create(&PostParams::default(), &crd).await.unwrap();
        let established = kube::runtime::wait::conditions::is_crd_established();
        let name = crd.name_any();
        let wait = kube::runtime::wait::await_condition(api.clone(), &name, established);
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap()
            .unwrap();
    }
    let spaces: Api<Namespace> = Api::all(client.clone());
    // Definitions are served a moment after they are established.
    while spaces.get_opt("default").await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn definitions_and_examples_are_accepted_and_mistakes_refused() {
    let server = ApiServer::start().await;
    let client = server.client(None).await;
    install_definitions(&client).await;
    let mut seen = 0;
    for file in yaml_files(&checkout("examples")) {
        for object in objects(&std::fs::read_to_string(&file).unwrap()) {
            let applied = apply(&client, &object, true).await;
            assert!(applied.is_ok(), "{}: {applied:?}", file.display());
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} objects in the examples");
    let notes = std::fs::read_to_string(checkout("charts/roadstead/templates/NOTES.txt")).unwrap();
    let manifest = notes.split_once("<<'END'").unwrap().1;
    let manifest = manifest.split_once("\nEND\n").unwrap().0;
    for object in objects(manifest) {
        apply(&client, &object, true).await.unwrap();
    }
    for (kind, spec, words) in mistakes() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": kind,
            "metadata": {"name": "wrong"}, "spec": spec,
        }))
        .unwrap();
        let refused = apply(&client, &object, true).await.unwrap_err().to_string();
        assert!(
            refused.contains(words),
            "{kind}: expected {words:?} in {refused}"
        );
    }
    images(&client).await;
    changes(&client).await;
}

async fn images(client: &Client) {
    let digest = "0123456789abcdef".repeat(4);
    let cases = [
        ("roadstead:0.1.0".to_owned(), true),
        ("localhost/roadstead".to_owned(), true),
        (
            format!("registry.example.com:5000/Team/x@sha256:{digest}"),
            false,
        ),
        (
            format!("registry.example.com:5000/a/b__c:v1@sha256:{digest}"),
            true,
        ),
        (format!("[::1]:5000/x@sha256:{digest}"), true),
        ("x@sha256:1234".to_owned(), false),
        ("roadstead:".to_owned(), false),
        ("an image".to_owned(), false),
        ("https://example.com/x".to_owned(), false),
    ];
    for (image, good) in cases {
        let object = serde_json::from_value(json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "QueueCluster",
            "metadata": {"name": "image"}, "spec": {"image": image},
        }))
        .unwrap();
        let applied = apply(client, &object, true).await;
        assert_eq!(applied.is_ok(), good, "{image}: {applied:?}");
    }
}

fn mistakes() -> Vec<(&'static str, Value, &'static str)> {
    let cluster = json!({"name": "main"});
    vec![
        (
            "Queue",
            json!({"clusterRef": cluster, "lease": "13h"}),
            "lease must be 0s to 12h",
        ),
        (
            "Queue",
            json!({"clusterRef": cluster, "lease": "soon"}),
            "spec.lease",
        ),
        (
            "Queue",
            json!({"clusterRef": cluster, "ordering": "Strict", "partitions": 3}),
            "ordering Strict needs partitions: 1",
        ),
        (
            "Queue",
            json!({"clusterRef": cluster, "leese": "1s"}),
            "field not declared in schema",
        ),
        (
            "QueueCluster",
            json!({"replicas": 2}),
            "must be 1 or at least replicationFactor",
        ),
        (
            "QueueCluster",
            json!({"storage": {"size": "10Mi"}}),
            "at least 1Gi",
        ),
        (
            "QueueCluster",
            json!({"storage": {"size": "99999999Ti"}}),
            "spec.storage.size",
        ),
        (
            "ConsumerScaler",
            json!({
                "scaleTargetRef": {"name": "w"}, "sources": [{"queue": "q"}],
                "objective": {"messagesPerReplica": 1}, "minReplicas": 9, "maxReplicas": 3,
            }),
            "minReplicas must not be above maxReplicas",
        ),
    ]
}

/// Rules about changes, and about `/scale`.
async fn changes(client: &Client) {
    let object = |spec: Value| -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "QueueCluster",
            "metadata": {"name": "changes"}, "spec": spec,
        }))
        .unwrap()
    };
    apply(client, &object(json!({"shards": 4})), false)
        .await
        .unwrap();
    let refused = apply(client, &object(json!({"shards": 5})), false)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("shards cannot change"),
        "{refused}"
    );
    let api: Api<roadstead_crds::QueueCluster> = Api::namespaced(client.clone(), "default");
    let scale = |replicas: i32| Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let params = PatchParams::default();
    let refused = api
        .patch_scale("changes", &params, &scale(2))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("at least replicationFactor"),
        "{refused}"
    );
    api.patch_scale("changes", &params, &scale(5))
        .await
        .unwrap();
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|end| end == "yaml") {
            files.push(path);
        }
    }
    files
}
