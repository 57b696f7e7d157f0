use super::*;
use proptest::prelude::*;

fn message() -> OutgoingMessage {
    let value = |value| AttributeValue { value: Some(value) };
    OutgoingMessage {
        body: Bytes::from_static(b"body"),
        attributes: BTreeMap::from([
            ("a".into(), value(Value::StringValue("x".into()))),
            ("n".into(), value(Value::NumberValue("42".into()))),
            (
                "z".into(),
                value(Value::BinaryValue(Bytes::from_static(&[0, 255]))),
            ),
        ]),
        content_type: "text/plain".into(),
        ordering_key: "k".into(),
        trace_parent: "00-t".into(),
        ..OutgoingMessage::default()
    }
}

fn blob() -> Bytes {
    let mut scratch = BytesMut::new();
    join(&header(&message(), &mut scratch), b"body")
}

/// As the state machine logs it.
fn join(header: &[u8], body: &[u8]) -> Bytes {
    assert!(header.len() < 128);
    Bytes::from([&[header.len() as u8], header, body].concat())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[test]
fn a_deduplication_id_comes_back_its_bytes_are_frozen_and_it_moves_with_its_message() {
    let message = OutgoingMessage {
        deduplication_id: "order-7".into(),
        ..OutgoingMessage::default()
    };
    let header = header(&message, &mut BytesMut::new());
    assert_eq!(hex(&header), "0108076f726465722d37");
    let blob = join(&header, b"body");
    let (moved, body) = with_dead_letter(&blob, &DeadLetterInfo::default()).unwrap();
    for blob in [blob, join(&moved, &body)] {
        assert_eq!(decode(&blob).unwrap().deduplication_id, "order-7");
    }
}

#[test]
fn schema_and_trace_state_come_back_and_their_bytes_are_frozen() {
    let message = OutgoingMessage {
        trace_state: "v=1".into(),
        schema_id: "order:7".into(),
        ..OutgoingMessage::default()
    };
    let header = header(&message, &mut BytesMut::new());
    assert_eq!(hex(&header), "0106076f726465723a370a03763d31");
    let read = decode(&join(&header, b"body")).unwrap();
    assert_eq!(
        (read.schema_id, read.trace_state),
        ("order:7".into(), "v=1".into())
    );
}

#[test]
fn golden_bytes() {
    assert_eq!(
        hex(&blob()),
        [
            "2a",
            "01",
            "010a746578742f706c61696e",
            "02016b",
            "030430302d74",
            "040401610178",
            "0405016e023432",
            "0405017a0300ff",
            "626f6479",
        ]
        .concat()
    );
    let info = DeadLetterInfo {
        reason: 2,
        error: "no".into(),
        source_queue: "shop/a".into(),
        delivery_count: 300,
        at: Some(crate::shard::wire::timestamp(1_000)),
        ..DeadLetterInfo::default()
    };
    let (header, body) = with_dead_letter(&blob(), &info).unwrap();
    assert_eq!(
        hex(&header[42..]),
        "051002ac02e80706".to_owned() + "73686f702f61026e6f00"
    );
    let read = decode(&join(&header, &body)).unwrap();
    assert_eq!(read.dead_letter, Some(info));
    assert_eq!(read.body, "body");
}

#[test]
fn what_was_encoded_is_read() {
    let read = decode(&blob()).unwrap();
    let message = message();
    assert_eq!(read.body, message.body);
    assert_eq!(read.attributes, message.attributes);
    assert_eq!(read.content_type, message.content_type);
    assert_eq!(read.ordering_key, message.ordering_key);
    assert_eq!(read.trace_parent, message.trace_parent);
    assert_eq!(read.dead_letter, None);
}

#[test]
fn a_second_dead_letter_replaces_the_first() {
    let info = |error: &str| DeadLetterInfo {
        error: error.into(),
        ..Default::default()
    };
    let (once, body) = with_dead_letter(&blob(), &info("once")).unwrap();
    let (twice, body) = with_dead_letter(&join(&once, &body), &info("twice")).unwrap();
    let read = decode(&join(&twice, &body)).unwrap();
    assert_eq!(
        read.dead_letter.map(|info| info.error),
        Some("twice".into())
    );
    assert_eq!(read.attributes, message().attributes);
}

#[test]
fn an_unknown_field_is_skipped() {
    let mut bytes = vec![5, VERSION, 200, 2, 9, 9];
    bytes.extend_from_slice(b"b");
    let read = decode(&Bytes::from(bytes)).unwrap();
    assert_eq!(
        read,
        Blob {
            body: Bytes::from_static(b"b"),
            ..Blob::default()
        }
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode(&Bytes::from(bytes));
    }

    #[test]
    fn a_cut_header_is_refused(cut in 0usize..43) {
        let whole = blob();
        prop_assert!(decode(&whole.slice(..cut)).is_err());
    }
}

#[test]
fn a_message_that_goes_back_is_as_it_was() {
    let info = DeadLetterInfo {
        source_queue: "default/jobs".into(),
        error: "boom".into(),
        ..DeadLetterInfo::default()
    };
    let (header, body) = with_dead_letter(&blob(), &info).unwrap();
    let dead = join(&header, &body);
    assert_eq!(
        decode(&dead).unwrap().dead_letter.unwrap().source_queue,
        "default/jobs"
    );
    let (header, body) = without_dead_letter(&dead).unwrap();
    assert_eq!(join(&header, &body), blob());
    assert!(without_dead_letter(&Bytes::from_static(&[9])).is_err());
}

#[test]
fn a_changed_message_keeps_everything_else() {
    let info = DeadLetterInfo {
        source_queue: "default/jobs".into(),
        ..DeadLetterInfo::default()
    };
    // A field of a newer version stays where it is.
    let (header, body) = split(&blob()).unwrap();
    let newer = [&[VERSION], &header[..], &[99, 1, 7]].concat();
    let (header, body) = with_dead_letter(&join(&newer, &body), &info).unwrap();
    let dead = join(&header, &body);
    let same = edited(&dead, &Edit::default()).unwrap();
    assert_eq!(join(&same.0, &same.1), dead);
    let value = AttributeValue {
        value: Some(Value::StringValue("y".into())),
    };
    let edit = Edit {
        body: Some(Bytes::from_static(b"new")),
        attributes: Some(BTreeMap::from([("b".into(), value)])),
        content_type: Some("application/json".into()),
    };
    let (header, body) = edited(&dead, &edit).unwrap();
    let changed = decode(&join(&header, &body)).unwrap();
    let before = decode(&dead).unwrap();
    assert_eq!((&body[..], &changed.body[..]), (&b"new"[..], &b"new"[..]));
    assert_eq!(changed.content_type, "application/json");
    assert_eq!(changed.attributes.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(changed.ordering_key, before.ordering_key);
    assert_eq!(changed.trace_parent, before.trace_parent);
    assert_eq!(changed.dead_letter, before.dead_letter);
    let tags = {
        let mut tags = Vec::new();
        let fields = header.slice(1..);
        visit_fields(&fields, |tag, _| {
            tags.push(tag);
            Some(())
        })
        .unwrap();
        tags
    };
    let order = [
        CONTENT_TYPE,
        ORDERING_KEY,
        TRACE_PARENT,
        ATTRIBUTE,
        99,
        DEAD_LETTER,
    ];
    assert_eq!(tags, order);
    let none = Edit {
        attributes: Some(BTreeMap::new()),
        content_type: Some(String::new()),
        ..Edit::default()
    };
    let (header, body) = edited(&dead, &none).unwrap();
    let bare = decode(&join(&header, &body)).unwrap();
    assert!(bare.attributes.is_empty() && bare.content_type.is_empty());
}
