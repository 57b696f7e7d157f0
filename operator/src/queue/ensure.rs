//! Creating or changing a queue until it is as specified.
use roadstead_crds::Queue;
use roadstead_operator_core::queue::{Difference, difference, queue_ref, specification};
use roadstead_proto::v1;
use tonic::Code;

use crate::error::{Doing, ReconcileError};
use crate::nodes::{Link, NodeError};

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// The queue is there, as specified.
    There(Box<v1::Queue>),
    /// It cannot be.
    Refused {
        /// In one word.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// Creates or changes the queue.
pub async fn ensure(
    queue: &Queue,
    dead_letter: Option<String>,
    link: &Link,
) -> Result<Outcome, ReconcileError> {
    let want = match specification(&queue.spec, dead_letter) {
        Ok(want) => want,
        Err(violation) => {
            let message = violation.to_string();
            return Ok(Outcome::Refused {
                reason: "InvalidSpecification",
                message,
            });
        }
    };
    let named = queue_ref(queue, "default");
    let request = v1::GetQueueRequest {
        queue: Some(named.clone()),
    };
    let found = link.ask(|node| {
        let request = request.clone();
        async move { node.queues().get_queue(request).await }
    });
    match found.await {
        Ok(found) => {
            let found = found.queue.unwrap_or_default();
            change(named, found, want, link).await
        }
        Err(error) if error.code() == Some(Code::NotFound) => create(named, want, link).await,
        Err(error) => Err(error).doing(|| "look for the queue".to_owned()),
    }
}

async fn create(
    named: v1::QueueRef,
    want: v1::QueueSpec,
    link: &Link,
) -> Result<Outcome, ReconcileError> {
    let request = v1::CreateQueueRequest {
        queue: Some(named),
        spec: Some(want),
    };
    let answer = link.ask(|node| {
        let request = request.clone();
        async move { node.queues().create_queue(request).await }
    });
    settled(answer.await.map(|answer| answer.queue), "create the queue")
}

async fn change(
    named: v1::QueueRef,
    found: v1::Queue,
    want: v1::QueueSpec,
    link: &Link,
) -> Result<Outcome, ReconcileError> {
    match difference(
        found.spec.as_ref().unwrap_or(&v1::QueueSpec::default()),
        &want,
    ) {
        Difference::None => Ok(Outcome::There(Box::new(found))),
        Difference::Fixed(what) => {
            let message = format!(
                "the cluster has a queue {}/{} that differs in what cannot change: {what}",
                named.namespace, named.name
            );
            Ok(Outcome::Refused {
                reason: "Incompatible",
                message,
            })
        }
        Difference::Changeable => {
            let request = v1::UpdateQueueRequest {
                queue: Some(named),
                spec: Some(want),
                expected_generation: found.generation,
            };
            let answer = link.ask(|node| {
                let request = request.clone();
                async move { node.queues().update_queue(request).await }
            });
            settled(answer.await.map(|answer| answer.queue), "change the queue")
        }
    }
}

fn settled(
    answer: Result<Option<v1::Queue>, NodeError>,
    doing: &str,
) -> Result<Outcome, ReconcileError> {
    match answer {
        Ok(queue) => Ok(Outcome::There(Box::new(queue.unwrap_or_default()))),
        Err(error) if is_about_quota(&error) => Ok(Outcome::Refused {
            reason: "QuotaExceeded",
            message: error.to_string(),
        }),
        Err(error)
            if matches!(
                error.code(),
                Some(Code::InvalidArgument | Code::FailedPrecondition)
            ) =>
        {
            Ok(Outcome::Refused {
                reason: "RefusedByCluster",
                message: error.to_string(),
            })
        }
        Err(error) => Err(error).doing(|| doing.to_owned()),
    }
}

/// Other resources that are exhausted are there again soon.
fn is_about_quota(error: &NodeError) -> bool {
    error.code() == Some(Code::ResourceExhausted) && error.to_string().contains("its quota")
}
