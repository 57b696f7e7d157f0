use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_proto::v1::{Ack, Extend, Nack, QueueLimits};

use super::*;

fn message() -> OutgoingMessage {
    OutgoingMessage {
        body: Bytes::from_static(b"b"),
        ..Default::default()
    }
}

fn field(result: Result<(), ApiError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code, tonic::Code::InvalidArgument);
    assert!(
        error.message.contains(&error.detail.field),
        "{}",
        error.message
    );
    error.detail.field
}

fn refused(change: impl FnOnce(&mut OutgoingMessage)) -> String {
    let mut bad = message();
    change(&mut bad);
    let (place, error) = only(messages(&[message(), bad], &QueueSpec::default()));
    assert_eq!(place, 1);
    field(Err(error))
}

fn only(refused: Result<Vec<(usize, ApiError)>, ApiError>) -> (usize, ApiError) {
    let mut refused = refused.unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    refused.remove(0)
}

#[test]
fn every_field_of_a_message_has_its_limit() {
    assert_eq!(messages(&[message()], &QueueSpec::default()), Ok(vec![]));
    assert_eq!(refused(|m| m.body = Bytes::new()), "body");
    let big = Bytes::from(vec![0; (256 << 10) + 1]);
    assert_eq!(refused(|m| m.body = big), "body");
    assert_eq!(
        refused(|m| m.content_type = "x".repeat(256)),
        "content_type"
    );
    assert_eq!(
        refused(|m| m.ordering_key = "x".repeat(129)),
        "ordering_key"
    );
    assert_eq!(refused(|m| m.trace_state = "x".repeat(513)), "trace_state");
    assert_eq!(refused(|m| m.schema_id = "x".repeat(129)), "schema_id");
    assert_eq!(
        refused(|m| m.trace_parent = "x".repeat(257)),
        "trace_parent"
    );
    let negative = prost_types::Duration {
        seconds: -1,
        nanos: 0,
    };
    assert_eq!(refused(|m| m.delay = Some(negative)), "delay");
    let long = prost_types::Duration {
        seconds: 365 * 86_400,
        nanos: 1_000_000,
    };
    assert_eq!(refused(|m| m.delay = Some(long)), "delay");
    for ttl in [negative, long, prost_types::Duration::default()] {
        let field = refused(|m| m.time_to_live = Some(ttl));
        assert_eq!(field, "time_to_live");
    }
    let none = AttributeValue { value: None };
    let attributes = BTreeMap::from([("a".to_owned(), none)]);
    assert_eq!(refused(|m| m.attributes = attributes), "attributes");
    let many = (0..33).map(|i| {
        let value = Some(Value::StringValue(String::new()));
        (i.to_string(), AttributeValue { value })
    });
    assert_eq!(refused(|m| m.attributes = many.collect()), "attributes");
}

#[test]
fn a_request_has_limits_too() {
    let spec = QueueSpec::default();
    let whole = |batch: &[_], spec: &_| field(messages(batch, spec).map(|_| ()));
    assert_eq!(whole(&[], &spec), "messages");
    assert_eq!(whole(&vec![message(); 1_001], &spec), "messages");
    let limits = Some(QueueLimits {
        max_message_bytes: 16 << 20,
        ..Default::default()
    });
    let spec = QueueSpec {
        limits,
        ..Default::default()
    };
    let half = OutgoingMessage {
        body: Bytes::from(vec![0; 9 << 20]),
        ..Default::default()
    };
    assert_eq!(messages(std::slice::from_ref(&half), &spec), Ok(vec![]));
    assert_eq!(whole(&[half.clone(), half], &spec), "messages");
}

#[test]
fn an_ordered_queue_needs_keys() {
    let spec = QueueSpec {
        ordering: Ordering::PerKey.into(),
        ..Default::default()
    };
    let (_, error) = only(messages(&[message()], &spec));
    assert_eq!(field(Err(error)), "ordering_key");
}

#[test]
fn numbers() {
    for good in ["0", "-1.5", "+3", "1e10", "1.5E-7", &"9".repeat(38)] {
        assert!(is_number(good), "{good}");
    }
    for bad in [
        "",
        "-",
        ".",
        "1.2.3",
        "abc",
        "1e",
        "0x1",
        "1e1000",
        &"9".repeat(39),
    ] {
        assert!(!is_number(bad), "{bad}");
    }
}

#[test]
fn names_of_queues() {
    let of = |namespace: &str, name: &str| {
        let reference = QueueRef {
            namespace: namespace.into(),
            name: name.into(),
        };
        queue(Some(&reference)).map(|_| ())
    };
    assert_eq!(of("default", "orders.fifo"), Ok(()));
    assert_eq!(field(of("", "a")), "queue.namespace");
    assert_eq!(field(of("Ab", "a")), "queue.namespace");
    assert_eq!(field(of("a", "")), "queue.name");
    assert_eq!(field(of("a", ".fifo")), "queue.name");
    assert_eq!(field(of("a", "x/y")), "queue.name");
    assert_eq!(field(of("a", &"ü".repeat(90))), "queue.name");
    assert_eq!(field(queue(None).map(|_| ())), "queue");
}

#[test]
fn settlements_and_producers() {
    let of = |action| {
        settlement(&Settlement {
            receipt: Bytes::new(),
            action,
        })
    };
    assert_eq!(of(Some(Action::Ack(Ack {}))), Ok(()));
    assert_eq!(field(of(None)), "action");
    let delay = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    let nack = Nack {
        delay,
        ..Default::default()
    };
    assert_eq!(field(of(Some(Action::Nack(nack)))), "nack.delay");
    let extend = Extend { lease: None };
    assert_eq!(field(of(Some(Action::Extend(extend)))), "extend.lease");
    let of = |id: &str, first_sequence, partition| {
        producer(
            Some(&Producer {
                id: id.into(),
                first_sequence,
            }),
            partition,
        )
    };
    assert_eq!(of("p", 1, Some(0)), Ok(()));
    assert_eq!(field(of("", 1, Some(0))), "producer.id");
    assert_eq!(field(of("p", 0, Some(0))), "producer.first_sequence");
    let most = i64::MAX as u64;
    assert_eq!(field(of("p", most + 1, Some(0))), "producer.first_sequence");
    assert!(of("p", most, Some(0)).is_ok());
    assert_eq!(field(of("p", 1, None)), "partition");
}

#[test]
fn durations_of_two_signs_are_refused() {
    let mixed = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    assert_eq!(lease(mixed(5, 1).as_ref()), Ok(()));
    for (seconds, nanos) in [(5, -1), (-5, 1), (0, -1)] {
        let bad = mixed(seconds, nanos);
        assert_eq!(field(lease(bad.as_ref())), "lease");
        assert_eq!(field(wait(bad.as_ref()).map(|_| ())), "wait");
        assert_eq!(refused(|m| m.delay = bad), "delay");
    }
}

#[test]
fn error_texts_are_cut_between_characters() {
    let text = "ü".repeat(600);
    assert_eq!(error_text(&text).len(), 1_024);
    assert_eq!(error_text("short"), "short");
}
