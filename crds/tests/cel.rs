//! The CEL rules, without an API server: what is refused, and in which words.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use kube::core::CustomResourceExt;
use kube::core::cel::{Validator, apply_defaults};
use roadstead_crds::{ConsumerScaler, Queue, QueueCluster};
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
fn queue_creation() {
    accepted::<Queue>(&queue(&json!({})), None);
    accepted::<Queue>(&queue(&json!({"ordering": "Strict"})), None);
    accepted::<Queue>(&queue(&json!({"lease": "0s"})), None);
    accepted::<Queue>(
        &queue(&json!({"deadLetter": {"queueRef": {"name": "dlq"}}})),
        None,
    );
    accepted::<Queue>(
        &queue(&json!({
            "lease": "12h", "expiry": {"retainAfterAck": "8760h"},
            "groups": [{"name": "default"}, {"name": "search", "start": "End"}],
        })),
        None,
    );
    accepted::<Queue>(
        &queue(&json!({"limits": {"maxBytes": "1Gi", "overflow": "DropOldest"}})),
        None,
    );
}

#[test]
fn queue_creation_that_is_refused() {
    let cases = [
        (
            json!({"ordering": "Strict", "partitions": 2}),
            "needs partitions: 1",
        ),
        (
            json!({"partitions": 4, "limits": {"maxInFlight": 3}}),
            "limits.maxInFlight must be at least partitions",
        ),
        (
            json!({"partitions": 4, "groups": [{"name": "a", "maxInFlight": 3}]}),
            "groups[].maxInFlight must be at least partitions",
        ),
        (
            json!({"partitions": 4, "limits": {"maxMessages": 3}}),
            "limits.maxMessages must be at least partitions",
        ),
        (
            json!({"partitions": 4, "limits": {"maxBytes": "1Mi", "maxMessageBytes": "300Ki"}}),
            "limits.maxBytes must be at least limits.maxMessageBytes",
        ),
        (
            json!({"limits": {"overflow": "DropOldest"}}),
            "limits.overflow needs limits.maxMessages",
        ),
        (
            json!({"limits": {"maxMessages": 1, "overflow": "DeadLetterOldest"}}),
            "DeadLetterOldest needs deadLetter.queueRef",
        ),
        (
            json!({"groups": [{"name": "default", "start": "End"}]}),
            "the group `default` begins with the queue",
        ),
        (
            json!({"expiry": {"retainAfterAck": "8761h"}}),
            "retainAfterAck must be at most 8760h",
        ),
        (json!({"lease": "13h"}), "lease must be 0s to 12h"),
        (
            json!({"expiry": {"timeToLive": "999ms"}}),
            "between 1s and 8760h",
        ),
        (
            json!({"expiry": {"action": "DeadLetter"}}),
            "needs deadLetter.queueRef",
        ),
        (
            json!({"retries": {"backoff": {"initial": "10m"}}}),
            "max must be at least retries.backoff.initial",
        ),
        (
            json!({"retries": {"backoff": {"initial": "1s", "max": "13h"}}}),
            "max must be at most 12h",
        ),
        (
            json!({"deadLetter": {"queueRef": {"name": "orders"}}}),
            "its own dead-letter queue",
        ),
        (
            json!({"limits": {"maxMessageBytes": "17Mi"}}),
            "at most 16Mi",
        ),
    ];
    for (spec, words) in cases {
        refused::<Queue>(&queue(&spec), None, words);
    }
}

#[test]
fn deduplication() {
    let with = |partitions: i32, ordering: &str, deduplication: Value| {
        queue(&json!({
            "partitions": partitions, "ordering": ordering, "deduplication": deduplication,
        }))
    };
    for (partitions, ordering, setting) in [
        (8, "None", json!({})),
        (
            8,
            "None",
            json!({"by": "Content", "scope": "Queue", "window": "24h"}),
        ),
        (8, "PerKey", json!({"by": "ID"})),
        (
            8,
            "PerKey",
            json!({"scope": "Key", "window": "1s", "maxIds": 8}),
        ),
        (1, "PerKey", json!({"scope": "Queue"})),
        (1, "Strict", json!({"scope": "Queue"})),
    ] {
        accepted::<Queue>(&with(partitions, ordering, setting), None);
    }
    for (partitions, ordering, setting, words) in [
        (8, "PerKey", json!({"scope": "Queue"}), "use scope Key"),
        (1, "None", json!({"window": "999ms"}), "between 1s and 24h"),
        (1, "None", json!({"window": "25h"}), "between 1s and 24h"),
        (8, "None", json!({"maxIds": 7}), "shared by the partitions"),
    ] {
        refused::<Queue>(&with(partitions, ordering, setting), None, words);
    }
    let old = with(2, "None", json!({"scope": "Queue"}));
    let plain = queue(&json!({"partitions": 3}));
    let longer = with(
        2,
        "None",
        json!({"window": "1h", "by": "Content", "maxIds": 9}),
    );
    accepted::<Queue>(&longer, Some(&old));
    accepted::<Queue>(&plain, Some(&old));
    let more = with(4, "None", json!({}));
    accepted::<Queue>(&more, Some(&plain));
    let words = "partitions cannot change while there is deduplication";
    refused::<Queue>(&more, Some(&old), words);
    let by_key = with(2, "None", json!({"scope": "Key"}));
    refused::<Queue>(&by_key, Some(&old), "deduplication.scope cannot change");
}

#[test]
fn no_group_may_have_more_in_flight_than_its_queue() {
    let with = |all: Value, one: i32| {
        let groups = json!([{"name": "a"}, {"name": "b", "maxInFlight": one}]);
        queue(&json!({"limits": all, "groups": groups}))
    };
    let few = json!({"maxInFlight": 100});
    accepted::<Queue>(&with(few.clone(), 100), None);
    accepted::<Queue>(&with(json!({}), 20_000), None);
    accepted::<Queue>(&queue(&json!({"limits": few})), None);
    let words = "which all groups share: lower it, or raise that";
    refused::<Queue>(&with(few, 101), None, words);
    refused::<Queue>(&with(json!({}), 20_001), None, words);
}

#[test]
fn what_has_no_effect_is_refused() {
    let weights = json!({"weights": [{"tenant": "a", "weight": 5}]});
    let breaker = json!([{"name": "default", "circuitBreaker": {}}]);
    accepted::<Queue>(
        &queue(&json!({"fairness": weights, "groups": breaker})),
        None,
    );
    accepted::<Queue>(
        &queue(&json!({"ordering": "PerKey", "stickyKeys": true})),
        None,
    );
    for (spec, words) in [
        (
            json!({"ordering": "Strict", "fairness": weights}),
            "no effect with ordering Strict",
        ),
        (
            json!({"delivery": "AtMostOnce", "groups": breaker}),
            "no effect with delivery AtMostOnce",
        ),
        (
            json!({"stickyKeys": true}),
            "stickyKeys needs ordering PerKey",
        ),
        (
            json!({"stickyKeys": true, "ordering": "PerKey", "fairness": weights}),
            "no effect with stickyKeys",
        ),
        (
            json!({"priorities": {"aging": "25h"}}),
            "between 0s and 24h",
        ),
        (
            json!({"groups": [{"name": "a", "circuitBreaker": {"open": "1ms"}}]}),
            "circuitBreaker.open must be between 1s and 1h",
        ),
    ] {
        refused::<Queue>(&queue(&spec), None, words);
    }
}

#[test]
fn a_queue_whose_object_has_another_kind_of_name_is_named() {
    for name in ["a.b".to_owned(), "a".repeat(81)] {
        let mut object = queue(&json!({}));
        object["metadata"]["name"] = name.into();
        refused::<Queue>(&object, None, "name the queue in spec.queueName");
        object["spec"]["queueName"] = "A_b".into();
        accepted::<Queue>(&object, None);
    }
    let mut fifo = queue(&json!({}));
    fifo["metadata"]["name"] = "orders.fifo".into();
    accepted::<Queue>(&fifo, None);
}

#[test]
fn queue_changes() {
    let old = queue(&json!({"partitions": 4, "clusterRef": {"namespace": "queues"}}));
    let change = |spec: &Value| {
        let mut object = old.clone();
        merge(&mut object["spec"], spec);
        object
    };
    accepted::<Queue>(
        &change(&json!({"partitions": 5, "lease": "1m"})),
        Some(&old),
    );
    let cases = [
        (json!({"partitions": 3}), "partitions only grow"),
        (json!({"ordering": "PerKey"}), "ordering cannot change"),
        (
            json!({"ordering": "PerKey", "stickyKeys": true}),
            "stickyKeys cannot change",
        ),
        (json!({"queueName": "other"}), "queueName cannot change"),
        (
            json!({"clusterRef": {"name": "second"}}),
            "clusterRef cannot change",
        ),
        (
            json!({"clusterRef": {"namespace": "elsewhere"}}),
            "clusterRef cannot change",
        ),
    ];
    for (spec, words) in cases {
        refused::<Queue>(&change(&spec), Some(&old), words);
    }
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
