//! Whether messages that are deduplicated come to the partition that knows them again.

use roadstead_core::shard::key_hash;
use roadstead_proto::v1::OutgoingMessage;
use roadstead_proto::{is_deduplicated, partition_of};
use tonic::Code;

use crate::gateway::ApiError;
use crate::gateway::shards::QueueInfo;

/// Refuses messages that belong to another partition of the queue. Who routed them may have chosen
/// it, or may not know yet that the queue deduplicates; the leader of the partition does. Where the
/// number of partitions has grown, those to which a key belonged before are right, too.
pub fn check(
    messages: &[OutgoingMessage],
    queue: &QueueInfo,
    partition: u32,
) -> Result<(), ApiError> {
    if queue.config.deduplication.is_none() {
        return Ok(());
    }
    let spec = queue.spec();
    for (index, message) in messages.iter().enumerate() {
        let belongs = partition_of(message, &spec, queue.partitions());
        let belonged = || {
            let key = || key_hash(message.ordering_key.as_bytes());
            queue.config.has_grown() && queue.config.homes(key()).contains(&partition)
        };
        if is_deduplicated(message, &spec) && belongs != Some(partition) && !belonged() {
            let belongs = belongs.unwrap_or_default();
            let message = format!(
                "message {index} is deduplicated and belongs to partition {belongs}, not to \
                 {partition}, which would not know it again: leave the partition out, or look the \
                 queue up again"
            );
            let mut error = ApiError::new(Code::FailedPrecondition, message);
            "partition".clone_into(&mut error.detail.field);
            return Err(error.about(queue.reference()));
        }
    }
    Ok(())
}
