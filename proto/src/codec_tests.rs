use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use tonic::Code;

use super::*;
use crate::v1::attribute_value::Value;
use crate::v1::{
    AttributeValue, Extend, OutgoingMessage, PeerFrame, ReceiveStreamOpen, SendRequest,
    SettleRequest, Settlement, settlement::Action,
};

fn weighed<M: Message + Shaped>(message: &M) -> Result<(), Status> {
    weigh(&message.encode_to_vec(), M::SHAPE)
}

fn text(text: &str) -> AttributeValue {
    AttributeValue {
        value: Some(Value::StringValue(text.to_owned())),
    }
}

fn sent(message: &OutgoingMessage, times: usize) -> SendRequest {
    SendRequest {
        messages: vec![message.clone(); times],
        ..SendRequest::default()
    }
}

fn settled(times: usize) -> SettleRequest {
    let settlement = Settlement {
        receipt: Bytes::from_static(&[1, 1, 0, 0, 1, 0, 1]),
        action: Some(Action::Extend(Extend { lease: None })),
    };
    SettleRequest {
        settlements: vec![settlement; times],
        ..SettleRequest::default()
    }
}

#[test]
fn whatever_is_legal_passes() {
    let small = OutgoingMessage {
        body: Bytes::from_static(b"x"),
        ..OutgoingMessage::default()
    };
    weighed(&sent(&small, 1_000)).unwrap();
    let attributes = (0..32).map(|i| (i.to_string(), text("v"))).collect();
    let full = OutgoingMessage {
        attributes,
        content_type: "t".into(),
        ordering_key: "k".into(),
        trace_parent: "p".into(),
        ..small
    };
    weighed(&sent(&full, 1_000)).unwrap();
    let long = OutgoingMessage {
        attributes: BTreeMap::from([("k".into(), text(&"v".repeat(16_000)))]),
        body: Bytes::from(vec![1; 384]),
        ..OutgoingMessage::default()
    };
    weighed(&sent(&long, 1_000)).unwrap();
    weighed(&settled(50_000)).unwrap();
    let held_receipts = vec![Bytes::from_static(b"receipt"); 100_000];
    weighed(&ReceiveStreamOpen {
        held_receipts,
        ..ReceiveStreamOpen::default()
    })
    .unwrap();
}

#[test]
fn many_elements_in_few_bytes_are_refused_before_they_are_made() {
    let bombs: [(&[u8], &Shape); 5] = [
        // Messages, settlements, receipts, attributes, partitions.
        (&[0x12, 0], SendRequest::SHAPE),
        (&[0x12, 0], SettleRequest::SHAPE),
        (&[0x22, 0], ReceiveStreamOpen::SHAPE),
        (&[0x12, 2, 0x12, 0], SendRequest::SHAPE),
        (&[0x3a, 4, 1, 1, 1, 1], ReceiveStreamOpen::SHAPE),
    ];
    for (element, shape) in bombs {
        let status = weigh(&element.repeat((16 << 20) / element.len()), shape).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{element:02x?}");
        assert!(status.message().contains("send fewer"), "{status}");
    }
    // Nodes forward what was weighed where it came in.
    const { assert!(!PeerFrame::WEIGHED) };
}

#[test]
fn what_prost_decodes_is_no_worse_than_weighed_and_never_called_malformed() {
    let whole = sent(
        &OutgoingMessage {
            body: Bytes::from_static(b"body"),
            attributes: BTreeMap::from([("key".into(), text("value"))]),
            ..OutgoingMessage::default()
        },
        3,
    )
    .encode_to_vec();
    let mut decoded = 0;
    for at in 0..whole.len() {
        for byte in 0..=u8::MAX {
            let mut changed = whole.clone();
            changed[at] = byte;
            let Ok(message) = SendRequest::decode(&*changed) else {
                continue;
            };
            let mut left = ALLOWED;
            let walked = walk(&changed, SendRequest::SHAPE, &mut left);
            // Groups are what prost steps over and nobody sends.
            if walked == Err(Refused::Malformed) {
                assert!(matches!(byte & 7, 3 | 4), "{byte:02x} at {at}");
                continue;
            }
            assert_eq!(walked, Ok(()));
            let takes = message.messages.len() * size_of::<OutgoingMessage>();
            assert!(ALLOWED - left >= takes, "{byte:02x} at {at}");
            decoded += 1;
        }
    }
    assert!(decoded > 1_000, "{decoded}");
}

#[test]
fn looking_costs_little_beside_decoding() {
    let message = OutgoingMessage {
        body: Bytes::from(vec![7; 1_024]),
        ..OutgoingMessage::default()
    };
    let frame = sent(&message, 250).encode_to_vec();
    // The best of some rounds: others use this machine too.
    let best = |work: &dyn Fn(&[u8])| {
        let rounds = (0..200).map(|_| {
            let start = Instant::now();
            work(std::hint::black_box(&frame));
            start.elapsed().as_secs_f64() * 1e9 / 250.0
        });
        rounds.fold(f64::INFINITY, f64::min)
    };
    let look = best(&|frame| weigh(frame, SendRequest::SHAPE).unwrap());
    let decode = best(&|frame| drop(SendRequest::decode(frame).unwrap()));
    println!("look {look:.1}, decode {decode:.1} ns per message of 1 KiB");
    assert!(look * 4.0 < decode, "look {look:.1}, decode {decode:.1} ns");
}
