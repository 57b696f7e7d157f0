//! The error that every call of a node returns, wherever it is served.

use roadstead_proto::v1::{CallError, ErrorDetail, QueueRef};
use tonic::Code;

/// Why a call failed: a gRPC code, a message for a person, and details for a program.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The gRPC status code.
    pub code: Code,
    /// What, which queue, why, and what to do.
    pub message: String,
    /// For a program: the queue, the field, whether to retry, where the leader is.
    pub detail: Box<ErrorDetail>,
    /// The call came to a node that does not lead; the leader's id, 0 when it is not known.
    pub not_leader: Option<u64>,
}

impl ApiError {
    /// An error with a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: Box::default(),
            not_leader: None,
        }
    }

    /// A field of the request is wrong; asking again the same way is of no use.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(Code::InvalidArgument, message);
        field.clone_into(&mut error.detail.field);
        error
    }

    /// The queue does not exist.
    pub fn queue_not_found(queue: &QueueRef) -> Self {
        let message = format!(
            "queue {queue} does not exist; create it (roadstead queue create, or a Queue object)"
        );
        Self::new(Code::NotFound, message).about(queue)
    }

    /// The queue that was used so far was deleted; one that has its name now is another one.
    pub fn queue_gone(queue: &QueueRef) -> Self {
        let message = format!(
            "queue {queue} does not exist any more: it was deleted; if it was created anew, start \
             again to use the new one"
        );
        Self::new(Code::NotFound, message).about(queue)
    }

    /// The consumer group that was used so far was deleted; one that has its name now is another
    /// one.
    pub fn group_gone(queue: &QueueRef) -> Self {
        let message = format!(
            "the consumer group of queue {queue} does not exist any more: it was deleted; if it \
             was created anew, start again to use the new one"
        );
        let mut error = Self::new(Code::NotFound, message).about(queue);
        "group".clone_into(&mut error.detail.field);
        error
    }

    /// Something is missing for now; the same call may succeed soon.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message).retryable()
    }

    /// More is asked than can be served; slow down and try again.
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, message).retryable()
    }

    /// This node does not lead the group.
    pub fn not_leader(group: u16, leader: Option<u64>) -> Self {
        let mut error = Self::unavailable(format!(
            "this node does not lead group {group}; ask its leader, or any node with forwarding"
        ));
        error.not_leader = Some(leader.unwrap_or(0));
        error
    }

    /// Names the queue that the call was about.
    #[must_use]
    pub fn about(mut self, queue: &QueueRef) -> Self {
        self.detail.queue = queue.to_string();
        self
    }

    /// Says that the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.detail.retryable = true;
        self
    }
}

impl From<ApiError> for CallError {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.code.into(),
            message: error.message,
            detail: Some(*error.detail),
            not_leader: error.not_leader,
        }
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        Self {
            code: Code::from_i32(error.code),
            message: error.message,
            detail: Box::new(error.detail.unwrap_or_default()),
            not_leader: error.not_leader,
        }
    }
}
