//! Turns what was leased into frames for a consumer.

use bytes::Bytes;
use roadstead_core::shard::{Delivered, PayloadRef, Received};
use roadstead_proto::v1::Delivery;

use super::blob;
use super::replica::Replica;

/// A frame of deliveries is closed when it has this many bytes.
pub const FRAME_BYTES: usize = 256 << 10;
/// Beside its body, a delivery takes about this much.
const OVERHEAD: usize = 128;

/// The deliveries of `leased`, in order, in frames of about [`FRAME_BYTES`].
///
/// A message whose bytes are gone was settled, purged or expired meanwhile, and is left out.
pub async fn frames<P: Replica>(replica: &P, leased: &[Received]) -> Vec<Vec<Delivery>> {
    let messages: Vec<_> = leased
        .iter()
        .flat_map(|received| {
            received
                .messages
                .iter()
                .map(move |message| (received, message))
        })
        .collect();
    let mut frames = Vec::new();
    let mut rest = &messages[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|(_, message)| {
            let first = bytes == 0;
            bytes += message.payload.len as usize + OVERHEAD;
            first || bytes <= FRAME_BYTES
        });
        let (frame, behind) = rest.split_at(fits.count());
        rest = behind;
        let refs = frame.iter().map(|(_, message)| message.payload).collect();
        let payloads = payloads(replica, refs).await;
        let now = replica.cluster_time();
        let all = frame.iter().zip(payloads);
        let all = all.filter_map(|((received, message), payload)| {
            delivery(received, message, &payload?, now)
        });
        frames.push(all.collect());
    }
    frames
}

/// The bytes of each ref; None for one that is gone.
pub async fn payloads<P: Replica>(replica: &P, refs: Vec<PayloadRef>) -> Vec<Option<Bytes>> {
    if let Ok(payloads) = replica.payloads(refs.clone()).await {
        return payloads.into_iter().map(Some).collect();
    }
    let mut found = Vec::with_capacity(refs.len());
    for payload in refs {
        match replica.payloads(vec![payload]).await {
            Ok(mut bytes) => found.push(bytes.pop()),
            Err(error) => {
                let PayloadRef { index, offset, .. } = payload;
                tracing::debug!(shard = replica.id(), index, offset, %error, "payload is gone");
                found.push(None);
            }
        }
    }
    found
}

fn delivery(
    received: &Received,
    message: &Delivered,
    payload: &Bytes,
    now_ms: u64,
) -> Option<Delivery> {
    let blob = match blob::decode(payload) {
        Ok(blob) => blob,
        Err(error) => {
            tracing::error!(message = %message.id, %error, "cannot deliver");
            return None;
        }
    };
    let receipt = received.receipt(message);
    let remaining = message.deadline.saturating_sub(now_ms);
    Some(Delivery {
        message_id: message.id.to_string(),
        receipt: receipt
            .map(|receipt| receipt.encode().into())
            .unwrap_or_default(),
        body: blob.body,
        attributes: blob.attributes,
        content_type: blob.content_type,
        ordering_key: blob.ordering_key,
        partition: received.partition.partition,
        sequence: message.sequence,
        delivery_count: message.delivery_count,
        enqueued_at_ms: message.enqueued_at,
        lease_remaining_ms: u32::try_from(remaining).unwrap_or(u32::MAX),
        trace_parent: blob.trace_parent,
        dead_letter: blob.dead_letter,
    })
}
