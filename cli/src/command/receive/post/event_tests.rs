use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderMap;
use roadstead_client::ReceivedMessage;
use roadstead_client::proto::AttributeValue;
use roadstead_client::proto::attribute_value::Value as Attribute;
use serde_json::{Value, json};

use super::event::{Mode, request};

fn message(attributes: &[(&str, Attribute)]) -> ReceivedMessage {
    let attributes = attributes.iter().map(|(name, value)| {
        let value = Some(value.clone());
        ((*name).to_owned(), AttributeValue { value })
    });
    ReceivedMessage {
        id: "7-0-2".into(),
        body: Bytes::from_static(b"{\"n\": 12345678901234567890123, \"n\": 1}"),
        attributes: attributes.collect::<BTreeMap<_, _>>(),
        content_type: "application/json".into(),
        ordering_key: "Zoë \"3\" 100%".into(),
        partition: 0,
        sequence: 2,
        delivery_count: 3,
        enqueued_at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        trace_parent: "00-0af7-b7ad-01".into(),
        trace_state: String::new(),
        schema_id: String::new(),
        dead_letter: None,
        deduplication_id: String::new(),
        priority: 0,
        fairness_key: String::new(),
        first_delivered_at: None,
        last_delivered_at: None,
    }
}

fn text(text: &str) -> Attribute {
    Attribute::StringValue(text.into())
}

fn binary(message: &ReceivedMessage) -> (BTreeMap<String, String>, Bytes) {
    let (headers, body) = request(message, "/roadstead/shop/orders", Mode::Binary);
    (shown(&headers), body)
}

fn shown(headers: &HeaderMap) -> BTreeMap<String, String> {
    let headers = headers.iter();
    let shown = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    shown.collect()
}

fn structured(message: &ReceivedMessage) -> (BTreeMap<String, String>, String) {
    let (headers, body) = request(message, "/roadstead/shop/orders", Mode::Structured);
    (shown(&headers), String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn a_message_is_an_event_in_headers() {
    let number = Attribute::NumberValue("12.50".into());
    let bytes = Attribute::BinaryValue(Bytes::from_static(b"\xff\x00"));
    let message = message(&[
        ("type", text("order.paid")),
        ("price", number),
        ("digest", bytes),
        ("Region", text("Zürich 1")),
        ("id", text("mine")),
        ("a b/c", text("x")),
    ]);
    let (headers, body) = binary(&message);
    assert_eq!(body, message.body);
    let wanted = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7-0-2"),
        ("ce-source", "/roadstead/shop/orders"),
        ("ce-type", "order.paid"),
        ("ce-time", "2023-11-14T22:13:20.123Z"),
        ("ce-subject", "Zo%C3%AB%20%223%22%20100%25"),
        ("ce-traceparent", "00-0af7-b7ad-01"),
        ("traceparent", "00-0af7-b7ad-01"),
        ("ce-price", "12.50"),
        ("ce-digest", "/wA="),
        ("roadstead-attribute-region", "Z%C3%BCrich%201"),
        ("roadstead-attribute-id", "mine"),
        ("roadstead-attribute-a%20b%2fc", "x"),
        ("roadstead-delivery-count", "3"),
        ("content-type", "application/json"),
    ];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers, BTreeMap::from(wanted));
}

#[test]
fn what_a_message_does_not_say_has_a_default_or_is_left_out() {
    let mut message = message(&[]);
    message.ordering_key.clear();
    message.trace_parent.clear();
    for none in ["", "text/plain\n", "ä"] {
        message.content_type = none.into();
        let (headers, _) = binary(&message);
        assert_eq!(
            headers["content-type"], "application/octet-stream",
            "{none:?}"
        );
        assert_eq!(headers["ce-type"], "dev.roadstead.message");
        for absent in ["ce-subject", "ce-traceparent", "traceparent"] {
            assert!(!headers.contains_key(absent), "{absent}");
        }
    }
}

#[test]
fn the_more_special_name_of_the_type_wins() {
    let message = message(&[("ce-type", text("a")), ("type", text("b"))]);
    let (headers, _) = binary(&message);
    assert_eq!(headers["ce-type"], "a");
    assert_eq!(headers["roadstead-attribute-type"], "b");
    assert!(!headers.contains_key("roadstead-attribute-ce-type"));
}

#[test]
fn a_message_is_an_event_in_json() {
    let mut message = message(&[("type", text("order.paid")), ("price", text("12.50"))]);
    let (headers, body) = structured(&message);
    let media = "application/cloudevents+json; charset=UTF-8";
    assert_eq!(headers["content-type"], media);
    assert_eq!(headers["traceparent"], "00-0af7-b7ad-01");
    assert!(!headers.contains_key("ce-id"));
    let unchanged = r#","data":{"n": 12345678901234567890123, "n": 1}}"#;
    assert!(body.ends_with(unchanged), "{body}");
    let mut event: Value = serde_json::from_str(&body).unwrap();
    event["data"].take();
    let wanted = json!({
        "specversion": "1.0", "id": "7-0-2", "source": "/roadstead/shop/orders",
        "type": "order.paid", "time": "2023-11-14T22:13:20.123Z",
        "subject": "Zoë \"3\" 100%", "traceparent": "00-0af7-b7ad-01", "price": "12.50",
        "datacontenttype": "application/json", "data": null,
    });
    assert_eq!(event, wanted);

    let mut data = |media: &str, body: &'static [u8]| {
        (message.content_type, message.body) = (media.into(), Bytes::from_static(body));
        let event: Value = serde_json::from_str(&structured(&message).1).unwrap();
        (event["data"].clone(), event["data_base64"].clone())
    };
    let (hi, null) = (json!("hi"), Value::Null);
    assert_eq!(data("text/plain", b"hi"), (hi.clone(), null.clone()));
    assert_eq!(
        data("application/json", b"hi"),
        (hi, null.clone()),
        "it is no JSON"
    );
    assert_eq!(
        data("Application/X+JSON; a=b", b"[1]"),
        (json!([1]), null.clone())
    );
    assert_eq!(data("", b"hi"), (null.clone(), json!("aGk=")));
    assert_eq!(data("text/plain", b"\xff"), (null, json!("/w==")));
}

#[test]
fn an_event_goes_as_it_is() {
    let mut message = message(&[("price", text("1"))]);
    message.content_type = "application/cloudevents+json".into();
    for mode in [Mode::Binary, Mode::Structured] {
        let (headers, body) = request(&message, "/roadstead/shop/orders", mode);
        let headers = shown(&headers);
        assert_eq!(body, message.body);
        assert_eq!(headers["content-type"], "application/cloudevents+json");
        assert_eq!(headers["roadstead-attribute-price"], "1");
        assert!(
            !headers.keys().any(|name| name.starts_with("ce-")),
            "{headers:?}"
        );
    }
}
