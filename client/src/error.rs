//! What can go wrong, one type per operation; every one keeps what the server said.

use std::time::Duration;

use prost::Message as _;
use roadstead_proto::v1::{EntryError, ErrorDetail};
use tonic::{Code, Status};

/// What a server, or the way to it, answered to a call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The gRPC status code.
    pub code: Code,
    /// What happened, to which queue, why, and what to do.
    pub message: String,
    /// The queue in question as `namespace/name`; empty when there is none.
    pub queue: String,
    /// The field of the request in question; empty when there is none.
    pub field: String,
    /// The same request may succeed later.
    pub retryable: bool,
    /// Client address of the node that leads; empty when it is not known or does not matter.
    pub leader_address: String,
    /// No server said this: the connection failed, or there was none.
    pub transport: bool,
}

/// `google.rpc.Status`, as it travels in the `grpc-status-details-bin` trailer.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

impl Fault {
    /// A fault of the way to the server, found out here.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self {
            code: Code::Unavailable,
            message: message.into(),
            queue: String::new(),
            field: String::new(),
            retryable: true,
            leader_address: String::new(),
            transport: true,
        }
    }

    /// A message that no server takes.
    pub(crate) fn too_large(size: usize, most: usize) -> Self {
        let message = format!(
            "the message has {size} bytes with its attributes; at most {most} can be sent: split \
             it, or send a reference to where it lies"
        );
        Self::invalid("body", message)
    }

    /// What no server would take; `field` says which part of it.
    pub(crate) fn invalid(field: &str, message: String) -> Self {
        Self {
            code: Code::InvalidArgument,
            message,
            queue: String::new(),
            field: field.to_owned(),
            retryable: false,
            leader_address: String::new(),
            transport: false,
        }
    }

    fn from_detail(code: Code, message: String, detail: ErrorDetail) -> Self {
        Self {
            code,
            message,
            queue: detail.queue,
            field: detail.field,
            retryable: detail.retryable,
            leader_address: detail.leader_address,
            transport: false,
        }
    }
}

fn detail_of(status: &Status) -> Option<ErrorDetail> {
    let rpc = RpcStatus::decode(status.details()).ok()?;
    let mut details = rpc.details.iter();
    let any = details.find(|any| any.type_url.ends_with("roadstead.v1.ErrorDetail"))?;
    ErrorDetail::decode(any.value.as_slice()).ok()
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        if let Some(detail) = detail_of(&status) {
            return Self::from_detail(status.code(), status.message().to_owned(), detail);
        }
        // What tonic says of an answer by plain HTTP.
        let no_grpc = status.message().starts_with("grpc-status header missing");
        let transport = no_grpc
            || matches!(
                status.code(),
                Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
            );
        let busy = matches!(
            status.code(),
            Code::ResourceExhausted | Code::DeadlineExceeded
        );
        let mut message = status.message().to_owned();
        let mut source = std::error::Error::source(&status);
        while let Some(error) = source {
            // Each layer says again what the one below it said.
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = error.source();
        }
        if no_grpc {
            message = format!(
                "this is no client listener of Roadstead, perhaps its port for health and metrics \
                 ({message})"
            );
        }
        if message.is_empty() {
            message = format!("the call ended with {}", status.code());
        }
        Self {
            retryable: transport || busy,
            transport,
            ..Self::from_detail(status.code(), message, ErrorDetail::default())
        }
    }
}

impl From<EntryError> for Fault {
    fn from(error: EntryError) -> Self {
        let detail = ErrorDetail {
            retryable: error.retryable,
            ..ErrorDetail::default()
        };
        Self::from_detail(Code::from_i32(error.code), error.message, detail)
    }
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// An option is wrong.
    #[error("{option} is wrong: {reason}")]
    Option {
        /// Which one.
        option: &'static str,
        /// What is wrong with it and what it should be.
        reason: String,
    },
    /// A file could not be read.
    #[error("cannot read {what} {path}: {reason}")]
    File {
        /// What it is for.
        what: &'static str,
        /// Where it should be.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// No endpoint answered in time.
    #[error(
        "no answer from {endpoints} within {waited:.1?}: {last}; check that the cluster runs and \
         that the address, port and TLS settings are right"
    )]
    Unreachable {
        /// The endpoints that were tried.
        endpoints: String,
        /// For how long.
        waited: Duration,
        /// The last failure.
        last: Box<Fault>,
    },
    /// The server refused the first call.
    #[error("{0}")]
    Refused(Box<Fault>),
}

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The server refused it, or could not serve it; asking again had not helped.
    #[error("{0}")]
    Refused(Box<Fault>),
    /// No server answered; whether the call took effect is not known.
    #[error("no answer from the cluster within {waited:.1?}: {last}")]
    Unreachable {
        /// For how long it was tried.
        waited: Duration,
        /// The last failure.
        last: Box<Fault>,
    },
}

impl CallError {
    /// What the server said, or the last failure on the way to it.
    pub fn fault(&self) -> &Fault {
        match self {
            Self::Refused(fault) | Self::Unreachable { last: fault, .. } => fault,
        }
    }
}

/// Why a message was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// It was refused; it is not in the queue.
    #[error("the message was not accepted: {0}")]
    Refused(Box<Fault>),
    /// It was not sent in time; it is not in the queue.
    #[error("the message was not sent within {waited:.1?} ({attempts} attempts): {last}")]
    NotSent {
        /// From the call to the end of its time.
        waited: Duration,
        /// Times that it was handed to a server that then refused it.
        attempts: u32,
        /// The last failure.
        last: Box<Fault>,
    },
    /// It was sent and never acknowledged: it may be in the queue or not.
    #[error(
        "the message was sent and not acknowledged within {waited:.1?} ({attempts} attempts), so \
         it may or may not be in the queue: {last}"
    )]
    Unknown {
        /// From the call to the end of its time.
        waited: Duration,
        /// Times that it was handed to a server.
        attempts: u32,
        /// The last failure.
        last: Box<Fault>,
    },
    /// The producer was closed before it was sent.
    #[error("the producer was closed before the message was sent")]
    Closed,
}

/// Why a consumer cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReceiveError {
    /// The server refuses to deliver, and asking again would be of no use.
    #[error("cannot receive: {0}")]
    Refused(Box<Fault>),
}

/// Why a delivery could not be settled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SettleError {
    /// The lease had ended before: the message goes to somebody again.
    #[error("the lease of this delivery has ended; the message is delivered again: {0}")]
    Stale(Box<Fault>),
    /// The first answer was lost and the second try found the receipt stale: the first may have
    /// done it.
    #[error("whether this was done is not known, the first answer was lost: {0}")]
    Unknown(Box<Fault>),
    /// The server refused it.
    #[error("cannot settle: {0}")]
    Refused(Box<Fault>),
    /// The consumer was closed before the server answered.
    #[error("the consumer was closed before the settlement was answered")]
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(detail: Option<&ErrorDetail>) -> Status {
        let details = detail.into_iter().map(|detail| prost_types::Any {
            type_url: "type.googleapis.com/roadstead.v1.ErrorDetail".into(),
            value: detail.encode_to_vec(),
        });
        let rpc = RpcStatus {
            code: 5,
            message: "m".into(),
            details: details.collect(),
        };
        Status::with_details(Code::NotFound, "no such queue", rpc.encode_to_vec().into())
    }

    #[test]
    fn keeps_the_detail() {
        let detail = ErrorDetail {
            queue: "default/orders".into(),
            retryable: true,
            field: "queue".into(),
            leader_address: "n1:7701".into(),
        };
        let fault = Fault::from(status(Some(&detail)));
        assert_eq!(fault.code, Code::NotFound);
        assert_eq!(fault.message, "no such queue");
        assert_eq!(fault.queue, "default/orders");
        assert_eq!(fault.leader_address, "n1:7701");
        assert!(fault.retryable && !fault.transport);
    }

    #[test]
    fn without_detail_the_code_decides() {
        assert!(!Fault::from(status(None)).retryable);
        let lost = Fault::from(Status::unavailable("connection refused"));
        assert!(lost.retryable && lost.transport);
        let http = "grpc-status header missing, mapped from HTTP status code 404";
        let other_port = Fault::from(Status::unimplemented(http));
        assert!(
            other_port.retryable && other_port.transport,
            "another one may do"
        );
        assert!(
            other_port.message.contains("no client listener"),
            "{other_port}"
        );
        let garbage = Status::with_details(Code::NotFound, "x", vec![0xff; 9].into());
        assert!(!Fault::from(garbage).retryable);
    }
}
