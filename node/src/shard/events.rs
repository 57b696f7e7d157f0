//! The node's log of what happened to messages: why a message came twice, or went elsewhere.

use roadstead_core::shard::{DeadLetterReason, Event, EventKind, Received};

use crate::raft::types::GroupId;

/// Writes one record per event; a nack is the consumer's own doing and goes to debug.
pub fn log(shard: GroupId, events: &[Event]) {
    for event in events {
        let Event {
            partition, message, ..
        } = event;
        match event.kind {
            EventKind::LeaseExpired(deliveries) => tracing::info!(
                shard, %message, %partition, deliveries,
                "lease expired: the message will be delivered again"
            ),
            EventKind::SessionReleased(session) => tracing::info!(
                shard, %message, %partition, session = format_args!("{:x}", session.0),
                "consumer gone: the message will be delivered again"
            ),
            EventKind::Nacked(deliveries) => {
                tracing::debug!(shard, %message, %partition, deliveries, "nacked");
            }
            EventKind::DeadLettered(reason, target) => tracing::info!(
                shard, %message, %partition, %target, reason = reason_text(reason),
                "message goes to the dead-letter queue"
            ),
            EventKind::Dropped(DeadLetterReason::Overflow) => tracing::debug!(
                shard, %message, %partition,
                "message dropped: its queue is full, and it made room for a newer one"
            ),
            EventKind::Redriven(target) => tracing::debug!(
                shard, %message, %partition, %target, "message goes to another queue: redriven"
            ),
            EventKind::Dropped(reason) => tracing::warn!(
                shard, %message, %partition, reason = reason_text(reason),
                "message dropped: its queue has no dead-letter queue"
            ),
            EventKind::BreakerOpened { until } => tracing::warn!(
                shard, %message, %partition, group = event.group, until_ms = until,
                "circuit breaker opened: too many deliveries failed, this one the last of them"
            ),
            EventKind::BreakerClosed => tracing::info!(
                shard, %message, %partition, group = event.group,
                "circuit breaker closed: the message that was tried was acked"
            ),
            EventKind::Expired => tracing::info!(
                shard, %message, %partition,
                "message dropped: it waited longer than its queue's time to live"
            ),
        }
    }
}

/// Writes one record per message that a consumer with a new stream is given once more.
pub fn log_given_again(shard: GroupId, leases: &[Received]) {
    for lease in leases {
        for message in &lease.messages {
            let (message, partition) = (message.id, lease.partition);
            tracing::info!(
                shard, %message, %partition,
                "consumer's stream opened anew: it is given the message again"
            );
        }
    }
}

const fn reason_text(reason: DeadLetterReason) -> &'static str {
    match reason {
        DeadLetterReason::MaxDeliveries => "delivered too often",
        DeadLetterReason::Rejected => "rejected",
        DeadLetterReason::Expired => "expired",
        DeadLetterReason::Overflow => "made room for a newer one",
    }
}
