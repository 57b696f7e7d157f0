//! Shows messages without leasing them.

use roadstead_core::shard::{MessageState as State, PartitionId};
use roadstead_proto::v1::{MessageState, PeekedMessage, ShardPeek, ShardPeeked};

use super::desk::Desk;
use super::filter::Filter;
use super::location;
use super::replica::Replica;
use super::walk::{Found, walk};
use super::wire::timestamp;
use crate::gateway::ApiError;
use crate::runtime::Runtime;

/// Shows a piece of a walk through these partitions.
pub async fn peek<R: Runtime, P: Replica>(
    desk: &Desk<R, P>,
    held: &[PartitionId],
    call: ShardPeek,
) -> Result<ShardPeeked, ApiError> {
    let filter = Filter::new(call.filter.as_ref())?;
    let max = call.max_messages as usize;
    let walked = walk(
        desk,
        (held, call.group_id),
        &filter,
        call.from.as_ref(),
        max,
    )
    .await?;
    Ok(ShardPeeked {
        messages: walked.found.into_iter().map(shown).collect(),
        next: walked.next,
        looked_at: walked.looked_at,
    })
}

fn shown(found: Found) -> PeekedMessage {
    let Found {
        partition,
        peeked,
        blob,
        ..
    } = found;
    let state = match peeked.state {
        State::Ready => MessageState::Ready,
        State::InFlight => MessageState::InFlight,
        State::Delayed => MessageState::Delayed,
        State::Blocked => MessageState::Blocked,
    };
    PeekedMessage {
        message_id: peeked.id.to_string(),
        partition: partition.partition,
        sequence: peeked.sequence,
        body: blob.body,
        attributes: blob.attributes,
        content_type: blob.content_type,
        ordering_key: blob.ordering_key,
        delivery_count: peeked.delivery_count,
        enqueued_at: Some(timestamp(peeked.enqueued_at)),
        state: state.into(),
        dead_letter: blob.dead_letter,
        deduplication_id: blob.deduplication_id,
        trace_parent: blob.trace_parent,
        trace_state: blob.trace_state,
        schema_id: blob.schema_id,
        expires_at: peeked.expires_at.map(timestamp),
        not_before: peeked.due.map(timestamp),
        location: location::encode(partition, peeked.location),
        priority: u32::from(peeked.priority),
        first_delivered_at: delivered(peeked.first_delivered_at),
        last_delivered_at: delivered(peeked.last_delivered_at),
        fairness_key: blob.fairness_key,
    }
}

/// 0: never.
fn delivered(at_ms: u64) -> Option<prost_types::Timestamp> {
    (at_ms != 0).then(|| timestamp(at_ms))
}
