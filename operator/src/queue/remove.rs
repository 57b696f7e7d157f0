//! What happens to a queue when its object goes. It never blocks the object for long: a cluster
//! that is gone, or going, takes its queues with it.
use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use roadstead_crds::{DeletionPolicy, Queue};
use roadstead_operator_core::queue::queue_ref;
use roadstead_proto::v1;
use tonic::Code;

use super::{Queues, cluster_key};
use crate::error::ReconcileError;
use crate::nodes::{Link, NodeError};

/// A cluster that does not answer is waited for so long; then the queue is kept.
const DEADLINE: SignedDuration = SignedDuration::from_secs(45);

/// Carries out `deletionPolicy`.
pub async fn clean_up(queue: &Queue, queues: &Queues) -> Result<Action, ReconcileError> {
    let policy = match queue.spec.deletion_policy {
        DeletionPolicy::Retain => return Ok(Action::await_change()),
        DeletionPolicy::DeleteIfEmpty => v1::DeletePolicy::IfEmpty,
        DeletionPolicy::Delete => v1::DeletePolicy::Always,
    };
    let cluster = queues.cluster(queue);
    let going = cluster.is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some());
    let accepted = queue
        .status
        .as_ref()
        .is_some_and(|status| status.queue_id.is_some());
    let owned_by_another = queues.rival(queue).is_some();
    if going || !accepted || owned_by_another {
        return Ok(Action::await_change());
    }
    let link = queues.context.links.link(&cluster_key(queue));
    let request = v1::DeleteQueueRequest {
        queue: Some(queue_ref(queue, "default")),
        policy: policy.into(),
    };
    let answer = match link {
        Some(link) => delete(&link, request).await,
        None => Err(NodeError::Nobody),
    };
    match answer {
        Ok(_) => Ok(Action::await_change()),
        Err(error) if error.code() == Some(Code::NotFound) => Ok(Action::await_change()),
        Err(source) if waits_for_feeder(&source, queue, queues) => {
            let feeder = queues.feeder(queue).unwrap_or_default();
            let doing =
                format!("delete the queue before Queue {feeder}, whose dead letters it takes");
            Err(ReconcileError::Node { doing, source })
        }
        Err(error) if error.code() == Some(Code::FailedPrecondition) => {
            let note = format!("the queue is kept: {error}");
            warn(queue, queues, ("Retained", note)).await;
            Ok(Action::await_change())
        }
        Err(error) if overdue(queue) => {
            let note = format!("the queue is kept, for the cluster does not answer: {error}");
            warn(queue, queues, ("Retained", note)).await;
            Ok(Action::await_change())
        }
        Err(source) => {
            let doing = format!("delete the queue (given up after {} s)", DEADLINE.as_secs());
            Err(ReconcileError::Node { doing, source })
        }
    }
}

async fn delete(
    link: &Link,
    request: v1::DeleteQueueRequest,
) -> Result<v1::DeleteQueueResponse, NodeError> {
    link.ask(|node| {
        let request = request.clone();
        async move { node.queues().delete_queue(request).await }
    })
    .await
}

/// Whether the queue may be deleted once another, which names it for its dead letters, is gone: as
/// when the namespace goes with both.
fn waits_for_feeder(error: &NodeError, queue: &Queue, queues: &Queues) -> bool {
    let refused = error.code() == Some(Code::FailedPrecondition);
    refused && queues.feeder(queue).is_some() && !overdue(queue)
}

fn overdue(queue: &Queue) -> bool {
    let since = queue.meta().deletion_timestamp.as_ref();
    since.is_some_and(|since| Timestamp::now().duration_since(since.0) > DEADLINE)
}

async fn warn(queue: &Queue, queues: &Queues, what: (&str, String)) {
    tracing::warn!(queue = queue.name_any(), note = what.1, "deleted object");
    queues
        .context
        .event(&queue.object_ref(&()), true, what)
        .await;
}
