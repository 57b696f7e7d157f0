//! Of queues.

use roadstead_crds::Queue;
use serde_json::{Value, json};

use crate::{accepted, merge, queue, refused};

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
    let keyed = |partitions| with(partitions, "PerKey", json!({"by": "ID"}));
    accepted::<Queue>(&keyed(4), Some(&keyed(2)));
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
    let in_flight = json!([{"name": "default", "maxInFlight": 5}]);
    accepted::<Queue>(
        &queue(&json!({"ordering": "Strict", "priorities": {"aging": "1m"}})),
        None,
    );
    for (spec, words) in [
        (
            json!({"ordering": "Strict", "priorities": {"aging": "5s"}}),
            "no effect with ordering Strict",
        ),
        (
            json!({"delivery": "AtMostOnce", "groups": in_flight}),
            "no effect with delivery AtMostOnce",
        ),
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
    let keyed = queue(&json!({"ordering": "PerKey"}));
    let sticky = queue(&json!({"ordering": "PerKey", "stickyKeys": true}));
    refused::<Queue>(&sticky, Some(&keyed), "stickyKeys cannot change");
}
