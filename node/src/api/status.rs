//! How the error of a call looks on the wire.

use bytes::Bytes;
use prost::Message;
use prost_types::Any;
use roadstead_proto::v1::ErrorDetail;
use tonic::{Code, Status};

use crate::gateway::ApiError;

const DETAIL_TYPE: &str = "type.googleapis.com/roadstead.v1.ErrorDetail";
/// The message travels in a header, percent-encoded; longer ones could break the header limit.
const MAX_MESSAGE: usize = 2_048;

/// google.rpc.Status.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// A gRPC status with a google.rpc.Status that carries the error's detail.
pub fn to_status(error: ApiError) -> Status {
    let mut message = error.message;
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    let detail = Any {
        type_url: DETAIL_TYPE.to_owned(),
        value: error.detail.encode_to_vec(),
    };
    let rpc = RpcStatus {
        code: error.code.into(),
        message: message.clone(),
        details: vec![detail],
    };
    Status::with_details(error.code, message, Bytes::from(rpc.encode_to_vec()))
}

/// A status of the gRPC library as one of ours: it has no details, and what it cannot decode is
/// `INTERNAL` to it, as if the server were at fault.
pub fn explained(status: Status) -> Status {
    if status.code() == Code::Ok || !status.details().is_empty() {
        return status;
    }
    let (code, message) = match (status.code(), status.message()) {
        (Code::Internal, message) if message.contains("decode") => (Code::InvalidArgument, message),
        (Code::Unimplemented, "") => (Code::Unimplemented, "this call is not served here"),
        other => other,
    };
    let error = ApiError::new(code, message);
    to_status(match code {
        Code::Unavailable => error.retryable(),
        _ => error,
    })
}

/// The detail in a status, if it has one.
pub fn detail_of(status: &Status) -> Option<ErrorDetail> {
    let rpc = RpcStatus::decode(status.details()).ok()?;
    let detail = rpc
        .details
        .into_iter()
        .find(|any| any.type_url == DETAIL_TYPE)?;
    ErrorDetail::decode(&*detail.value).ok()
}

#[cfg(test)]
mod tests {
    use roadstead_proto::v1::QueueRef;
    use tonic::Code;

    use super::*;

    #[test]
    fn code_message_and_detail_arrive() {
        let queue = QueueRef {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
        };
        let mut error = ApiError::exhausted("full").about(&queue);
        error.detail.leader_address = "node-1:7701".to_owned();
        let expected = error.detail.clone();
        let status = to_status(error);
        assert_eq!(
            (status.code(), status.message()),
            (Code::ResourceExhausted, "full")
        );
        let detail = detail_of(&status).unwrap();
        assert_eq!(detail, *expected);
        assert!(detail.retryable && detail.queue == "shop/orders");
    }

    #[test]
    fn what_the_library_refuses_has_details_too() {
        let table = [
            (
                Status::internal("failed to decode it"),
                Code::InvalidArgument,
                "failed to decode it",
            ),
            (
                Status::unimplemented(""),
                Code::Unimplemented,
                "this call is not served here",
            ),
            (Status::cancelled("gone"), Code::Cancelled, "gone"),
        ];
        for (status, code, message) in table {
            let status = explained(status);
            assert_eq!((status.code(), status.message()), (code, message));
            assert_eq!(detail_of(&status), Some(ErrorDetail::default()));
        }
        let detail = detail_of(&explained(Status::unavailable("later")));
        assert!(detail.is_some_and(|detail| detail.retryable));
        let ours = to_status(ApiError::unavailable("later"));
        let again = explained(ours.clone());
        assert_eq!(again.details(), ours.details());
    }

    #[test]
    fn the_details_are_a_google_rpc_status() {
        let status = to_status(ApiError::invalid("body", "no"));
        // code 3, message "no", one Any of ErrorDetail{field: "body"}; golden, for other languages.
        let mut golden = b"\x08\x03\x12\x02no\x1a\x36\x0a\x2c".to_vec();
        golden.extend(b"type.googleapis.com/roadstead.v1.ErrorDetail");
        golden.extend(b"\x12\x06\x1a\x04body");
        assert_eq!(status.details(), golden);
    }

    #[test]
    fn an_endless_message_is_cut_between_characters() {
        let status = to_status(ApiError::unavailable("é".repeat(5_000)));
        assert_eq!(status.message().chars().count(), MAX_MESSAGE / 2 + 1);
        assert!(status.message().ends_with('…'));
    }

    #[test]
    fn a_plain_status_has_no_detail() {
        assert_eq!(detail_of(&Status::unknown("x")), None);
    }
}
