//! Turns what was leased into frames for a consumer.

use std::collections::VecDeque;

use bytes::Bytes;
use roadstead_core::shard::{Delivered, PayloadRef, Received};
use roadstead_proto::v1::Delivery;

use super::blob;
use super::replica::Replica;

/// A frame of deliveries is closed when it has this many bytes.
pub const FRAME_BYTES: usize = 256 << 10;
/// What one answer holds; a larger message comes alone. Many clients take no more than 4 MiB.
pub const ANSWER_BYTES: usize = 2 << 20;
/// A consumer gets no further frame while it has not read this many bytes. Frames of one small
/// message are then fewer than a link to a peer has room for.
pub const WINDOW: usize = 1 << 20;
/// Or this many, where a great many consumers share what they may have unread.
pub const WINDOW_MIN: usize = 64 << 10;
/// Beside its body, a delivery takes about this much.
const OVERHEAD: usize = 256;

/// Leased messages whose bytes are not read yet, in order.
#[derive(Debug, Default)]
pub struct Leased {
    batches: VecDeque<Received>,
    bytes: usize,
}

impl Leased {
    /// Behind the others.
    pub fn push(&mut self, received: Received) {
        self.bytes += received.messages.iter().map(size).sum::<usize>();
        self.batches.push_back(received);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether the first ones were consumed by being leased: their bytes go soon, and nobody gets
    /// them again.
    pub fn are_consumed(&self) -> bool {
        self.batches.front().is_some_and(is_consumed)
    }

    /// What they will take as deliveries, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the first ones, as many as take `room` bytes, and one at least; all where they were
    /// consumed.
    pub fn take(&mut self, room: usize) -> Vec<Received> {
        let room = if self.are_consumed() {
            usize::MAX
        } else {
            room
        };
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(mut batch) = self.batches.pop_front() {
            let fits = batch.messages.iter().take_while(|message| {
                let first = bytes == 0;
                let fits = first || bytes + size(message) <= room;
                bytes += if fits { size(message) } else { 0 };
                fits
            });
            let fits = fits.count();
            let rest = batch.messages.split_off(fits);
            let is_full = !rest.is_empty();
            if is_full {
                self.batches.push_front(Received {
                    messages: rest,
                    ..batch
                });
            }
            if fits > 0 {
                taken.push(batch);
            }
            if is_full {
                break;
            }
        }
        self.bytes -= bytes;
        taken
    }
}

fn is_consumed(received: &Received) -> bool {
    received.delivery == 0
}

fn size(message: &Delivered) -> usize {
    message.payload.len as usize + OVERHEAD
}

/// What a frame of these counts for while it is not read.
pub fn weight(deliveries: &[Delivery]) -> usize {
    let bodies = deliveries.iter().map(|delivery| delivery.body.len());
    bodies.sum::<usize>() + OVERHEAD * (deliveries.len() + 1)
}

/// Cuts deliveries into frames of about [`FRAME_BYTES`], of one delivery at least.
pub fn frames(deliveries: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let mut frames: Vec<Vec<Delivery>> = Vec::new();
    let mut bytes = usize::MAX;
    for delivery in deliveries {
        let size = weight(std::slice::from_ref(&delivery));
        match frames.last_mut() {
            Some(frame) if bytes.saturating_add(size) <= FRAME_BYTES => {
                bytes += size;
                frame.push(delivery);
            }
            _ => {
                bytes = size;
                frames.push(vec![delivery]);
            }
        }
    }
    frames
}

/// The deliveries of `leased`, in order.
///
/// A message whose bytes are gone was settled, purged or expired meanwhile, and is left out.
pub async fn frame<P: Replica>(replica: &P, leased: &[Received]) -> Vec<Delivery> {
    let of = |received| move |message| (received, message);
    let messages = leased
        .iter()
        .flat_map(|received| received.messages.iter().map(of(received)));
    let messages: Vec<(&Received, &Delivered)> = messages.collect();
    let refs = messages.iter().map(|(_, message)| message.payload);
    let payloads = payloads(replica, refs.collect()).await;
    let now = replica.cluster_time();
    let all = messages.into_iter().zip(payloads);
    all.filter_map(|((received, message), payload)| delivery(received, message, &payload?, now))
        .collect()
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
        trace_state: blob.trace_state,
        schema_id: blob.schema_id,
        dead_letter: blob.dead_letter,
        deduplication_id: blob.deduplication_id,
        priority: u32::from(message.priority),
        first_delivered_at_ms: message.first_delivered_at,
        last_delivered_at_ms: message.last_delivered_at,
        fairness_key: blob.fairness_key,
    })
}
