//! Consumer groups by their names.

use std::sync::Arc;

use roadstead_proto::v1::QueueRef;

use super::shards::QueueInfo;
use super::validate::shown;
use super::{ApiError, BARRIER, Gateway};
use crate::auth::{Action, Principal};
use crate::runtime::Runtime;

impl<R: Runtime> Gateway<R> {
    /// The queue, and the id of one of its consumer groups.
    pub(super) async fn queue_and_group(
        &self,
        principal: &Principal,
        action: Action,
        (queue, group): (Option<&QueueRef>, &str),
    ) -> Result<(Arc<QueueInfo>, u32), ApiError> {
        let info = self.queue(principal, action, queue).await?;
        if let Some(id) = info.group(group) {
            return Ok((info, id));
        }
        // It may be as new.
        self.queues.barrier(BARRIER).await?;
        let info = self.queue(principal, action, queue).await?;
        let id = group_id(group, &info)?;
        Ok((info, id))
    }
}

/// The id of the consumer group of this name.
pub(super) fn group_id(group: &str, info: &QueueInfo) -> Result<u32, ApiError> {
    if let Some(id) = info.group(group) {
        return Ok(id);
    }
    let queue = info.reference();
    let known: Vec<_> = info.groups().into_iter().map(|(name, _)| name).collect();
    let message = format!(
        "queue {}/{} has no consumer group {:?}; it has {}: add it to spec.groups",
        queue.namespace,
        queue.name,
        shown(group),
        known.join(", ")
    );
    let mut error = ApiError::new(tonic::Code::NotFound, message).about(queue);
    "group".clone_into(&mut error.detail.field);
    Err(error)
}
