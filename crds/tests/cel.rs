//! The CEL rules, without an API server: what is refused, and in which words.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod cel {
    mod queues;
}

use kube::core::CustomResourceExt;
use kube::core::cel::{Validator, apply_defaults};
use roadstead_crds::{ConsumerScaler, QueueCluster};
use serde_json::{Value, json};

/// The messages with which `object` is refused, as a change of `old` where that is given.
fn refusals<T: CustomResourceExt>(object: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = T::crd();
    let schema = crd.spec.versions[0]
        .schema
        .clone()
        .unwrap()
        .open_api_v3_schema
        .unwrap();
    let schema = serde_json::to_value(schema).unwrap();
    let object = apply_defaults(&schema, object);
    let old = old.map(|old| apply_defaults(&schema, old));
    match Validator::new().validate(&schema, &object, old.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|e| format!("{}: {}", e.field_path, e.message))
            .collect(),
    }
}

fn queue(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "roadstead.dev/v1alpha1", "kind": "Queue",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"clusterRef": {"name": "main"}},
    });
    merge(&mut object["spec"], spec);
    object
}

fn cluster(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "roadstead.dev/v1alpha1", "kind": "QueueCluster",
        "metadata": {"name": "main", "namespace": "queues"}, "spec": {},
    });
    merge(&mut object["spec"], spec);
    object
}

fn scaler(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "roadstead.dev/v1alpha1", "kind": "ConsumerScaler",
        "metadata": {"name": "worker", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"name": "worker"}, "sources": [{"queue": "orders"}],
            "objective": {"messagesPerReplica": 100}, "maxReplicas": 10,
        },
    });
    merge(&mut object["spec"], spec);
    object
}

fn merge(base: &mut Value, over: &Value) {
    for (key, value) in over.as_object().unwrap() {
        match (base.get_mut(key), value) {
            (Some(old), Value::Object(_)) => merge(old, value),
            _ => base[key] = value.clone(),
        }
    }
}

#[track_caller]
fn refused<T: CustomResourceExt>(object: &Value, old: Option<&Value>, words: &str) {
    let refusals = refusals::<T>(object, old);
    assert!(
        refusals.len() == 1 && refusals[0].contains(words),
        "expected one refusal with {words:?}, got {refusals:?}"
    );
}

#[track_caller]
fn accepted<T: CustomResourceExt>(object: &Value, old: Option<&Value>) {
    assert_eq!(refusals::<T>(object, old), [""; 0]);
}

#[test]
fn cluster_creation() {
    accepted::<QueueCluster>(&cluster(&json!({})), None);
    for replicas in [1, 3, 4, 5] {
        accepted::<QueueCluster>(&cluster(&json!({"replicas": replicas})), None);
    }
    accepted::<QueueCluster>(
        &cluster(&json!({"queueNamespaces": {"from": "Selector", "selector": {}}})),
        None,
    );
    let mut long = cluster(&json!({}));
    long["metadata"]["name"] = "a".repeat(41).into();
    refused::<QueueCluster>(&long, None, "at most 40 characters");
    for name in ["1main", "main.two"] {
        let mut odd = cluster(&json!({}));
        odd["metadata"]["name"] = name.into();
        refused::<QueueCluster>(&odd, None, "must begin with a letter");
    }
    let cases = [
        (
            json!({"replicas": 2}),
            "must be 1 or at least replicationFactor",
        ),
        (json!({"replicationFactor": 2}), "must be 1, 3 or 5"),
        (json!({"storage": {"size": "500Mi"}}), "at least 1Gi"),
        (
            json!({"listeners": [{"name": "grpc", "port": 7702}]}),
            "taken by the node itself",
        ),
        (
            json!({"listeners": [{"name": "peer"}]}),
            "peer and http are taken by the node itself",
        ),
        (
            json!({"listeners": [{"name": "http"}]}),
            "peer and http are taken by the node itself",
        ),
        (
            json!({"queueNamespaces": {"from": "Selector"}}),
            "goes with from: Selector",
        ),
        (
            json!({"queueNamespaces": {"selector": {}}}),
            "goes with from: Selector",
        ),
    ];
    for (spec, words) in cases {
        refused::<QueueCluster>(&cluster(&spec), None, words);
    }
}

#[test]
fn cluster_changes() {
    let old = cluster(&json!({"storage": {"size": "10Gi"}}));
    let change = |spec: &Value| {
        let mut object = old.clone();
        merge(&mut object["spec"], spec);
        object
    };
    accepted::<QueueCluster>(&change(&json!({"replicas": 5, "image": "x:2"})), Some(&old));
    accepted::<QueueCluster>(
        &change(&json!({"storage": {"size": "10240Mi"}})),
        Some(&old),
    );
    let cases = [
        (json!({"shards": 9}), "shards cannot change"),
        (json!({"replicas": 1}), "replicas cannot go below"),
        (
            json!({"replicationFactor": 1}),
            "replicationFactor cannot change",
        ),
        (
            json!({"storage": {"size": "11Gi"}}),
            "storage.size cannot change",
        ),
        (
            json!({"storage": {"className": "fast"}}),
            "className cannot change",
        ),
    ];
    for (spec, words) in cases {
        refused::<QueueCluster>(&change(&spec), Some(&old), words);
    }
}

#[test]
fn scalers() {
    let old = scaler(&json!({}));
    accepted::<ConsumerScaler>(&old, None);
    accepted::<ConsumerScaler>(&scaler(&json!({"minReplicas": 10})), Some(&old));
    let cases = [
        (json!({"minReplicas": 11}), "must not be above maxReplicas"),
        (json!({"scaleDown": {"stabilization": "2h"}}), "at most 1h"),
        (
            json!({"onStaleData": {"after": "1s"}}),
            "between 2s and 10m",
        ),
    ];
    for (spec, words) in cases {
        refused::<ConsumerScaler>(&scaler(&spec), None, words);
    }
    let other = scaler(&json!({"scaleTargetRef": {"name": "other"}}));
    refused::<ConsumerScaler>(&other, Some(&old), "scaleTargetRef cannot change");
}
