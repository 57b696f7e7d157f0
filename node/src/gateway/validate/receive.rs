//! What a receive must look like. Pure.

use std::time::Duration;

use roadstead_proto::v1::{Consumer, DeliveryGuarantee, QueueSpec};

use super::{ID_MAX, LEASE_MAX, check, known};
use crate::gateway::ApiError;
use crate::shard::wire::millis;

const CONSUMER_NAME_MAX: usize = 253;
const WAIT_MAX: Duration = Duration::from_mins(1);

/// Who receives.
pub fn consumer(consumer: Option<&Consumer>) -> Result<(), ApiError> {
    let Some(consumer) = consumer else {
        return Ok(());
    };
    for (field, value) in [
        ("consumer.name", &consumer.name),
        ("consumer.pod_uid", &consumer.pod_uid),
    ] {
        if value.len() > CONSUMER_NAME_MAX {
            let message = format!(
                "{field} has {} bytes, at most {CONSUMER_NAME_MAX}",
                value.len()
            );
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(())
}

/// A lease that the request asks for; absent: the queue's.
pub fn lease(lease: Option<&prost_types::Duration>) -> Result<(), ApiError> {
    check("lease", lease, LEASE_MAX)
}

/// Whether what a consumer is delivered is acked by that.
pub fn at_most_once(delivery: i32, spec: &QueueSpec) -> Result<bool, ApiError> {
    let of_queue = spec.delivery() == DeliveryGuarantee::AtMostOnce;
    match known("delivery", delivery)? {
        DeliveryGuarantee::Unspecified => Ok(of_queue),
        DeliveryGuarantee::AtMostOnce => Ok(true),
        DeliveryGuarantee::AtLeastOnce if of_queue => {
            let message = "delivery is AT_LEAST_ONCE, and the queue delivers at most once: change \
                           the queue, or leave it out";
            Err(ApiError::invalid("delivery", message))
        }
        DeliveryGuarantee::AtLeastOnce => Ok(false),
    }
}

/// How long to wait for a message, in milliseconds.
pub fn wait(wait: Option<&prost_types::Duration>) -> Result<u64, ApiError> {
    check("wait", wait, WAIT_MAX)?;
    Ok(wait.and_then(millis).unwrap_or(0))
}

/// The session that a retry token stands for; empty: none. No client can name one like it.
pub fn retry_session(token: &str) -> Result<String, ApiError> {
    if token.len() > ID_MAX {
        let message = format!("retry_token has {} bytes, at most {ID_MAX}", token.len());
        return Err(ApiError::invalid("retry_token", message));
    }
    Ok(if token.is_empty() {
        String::new()
    } else {
        // Longer than a session id may be.
        format!("{:.<ID_MAX$}{token}", "retry.")
    })
}
