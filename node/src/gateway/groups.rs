//! Consumer groups by their names.

use std::sync::Arc;

use roadstead_proto::v1::QueueRef;

use super::shards::QueueInfo;
use super::validate::shown;
use super::{ApiError, BARRIER, Gateway};
use crate::auth::{Action, Principal};
use crate::runtime::Runtime;

/// A queue and one of its consumer groups, as a request names them.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub queue: Option<&'a QueueRef>,
    pub group: &'a str,
    /// Not 0: the queue of that name is meant only if this is its id.
    pub queue_id: u64,
    /// The same of the group.
    pub group_id: u32,
}

impl<'a> Named<'a> {
    /// Named by nothing but their names.
    pub fn only(queue: Option<&'a QueueRef>, group: &'a str) -> Self {
        Self {
            queue,
            group,
            queue_id: 0,
            group_id: 0,
        }
    }

    /// The group's id in a queue of that name, if these are the ones that are meant.
    fn find(&self, info: &QueueInfo) -> Result<u32, ApiError> {
        if self.queue_id != 0 && self.queue_id != info.id() {
            return Err(ApiError::queue_gone(info.reference()));
        }
        let id = group_id(self.group, info)?;
        if self.group_id != 0 && self.group_id != id {
            return Err(ApiError::group_gone(info.reference()));
        }
        Ok(id)
    }
}

impl<R: Runtime> Gateway<R> {
    /// The queue, and the id of one of its consumer groups.
    pub(super) async fn queue_and_group(
        &self,
        principal: &Principal,
        action: Action,
        meant: Named<'_>,
    ) -> Result<(Arc<QueueInfo>, u32), ApiError> {
        let info = self.queue(principal, action, meant.queue).await?;
        if let Ok(id) = meant.find(&info) {
            return Ok((info, id));
        }
        // This node's catalog may lag behind.
        self.queues.barrier(BARRIER).await?;
        let info = self.queue(principal, action, meant.queue).await?;
        let id = meant.find(&info)?;
        Ok((info, id))
    }
}

/// The id of the consumer group of this name.
fn group_id(group: &str, info: &QueueInfo) -> Result<u32, ApiError> {
    if let Some(id) = info.group(group) {
        return Ok(id);
    }
    let queue = info.reference();
    let known: Vec<_> = info.groups().into_iter().map(|(name, _)| name).collect();
    let message = format!(
        "queue {queue} has no consumer group {:?}; it has {}: add it to spec.groups",
        shown(group),
        known.join(", ")
    );
    let mut error = ApiError::new(tonic::Code::NotFound, message).about(queue);
    "group".clone_into(&mut error.detail.field);
    Err(error)
}
