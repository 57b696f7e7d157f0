//! What an operator's order must look like before anything is done with it. Pure.

use std::time::Duration;

use roadstead_proto::v1::{AddMemberRequest, Founder};

use crate::config::check::is_host_port;
use crate::gateway::ApiError;
use crate::raft::types::NodeId;
use crate::shard::wire::millis;

/// A name or an address: a DNS name and a port.
const TEXT_MAX: usize = 260;
const TIMEOUT_MAX: Duration = Duration::from_hours(1);

/// A node that an order names.
pub fn node(field: &str, node: NodeId) -> Result<(), ApiError> {
    if node == 0 {
        let message = format!("{field} is 0, allowed are 1..: a node says its id (GetNode)");
        return Err(ApiError::invalid(field, message));
    }
    Ok(())
}

/// A node that is to join.
pub fn member(request: &AddMemberRequest) -> Result<(), ApiError> {
    match &request.member {
        Some(member) => founder(member),
        None => Err(ApiError::invalid(
            "member",
            "member is missing: say which node shall join",
        )),
    }
}

/// A node, as it introduces itself.
pub fn founder(member: &Founder) -> Result<(), ApiError> {
    let Founder {
        node_id,
        name,
        peer_address,
        client_address,
        ..
    } = member;
    node("member.node_id", *node_id)?;
    for (field, value) in [
        ("member.name", name),
        ("member.peer_address", peer_address),
        ("member.client_address", client_address),
    ] {
        if value.is_empty() || value.len() > TEXT_MAX {
            let message = format!(
                "{field} has {} bytes, allowed are 1..{TEXT_MAX}",
                value.len()
            );
            return Err(ApiError::invalid(field, message));
        }
    }
    for (field, address) in [
        ("member.peer_address", peer_address),
        ("member.client_address", client_address),
    ] {
        if !is_host_port(address) {
            let message = format!("{field} is {address:?}: give host:port, as in node-0:7702");
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(())
}

/// How long an order may take; absent: `default`.
pub fn timeout(
    timeout: Option<&prost_types::Duration>,
    default: Duration,
) -> Result<Duration, ApiError> {
    let Some(timeout) = timeout else {
        return Ok(default);
    };
    match millis(timeout).map(Duration::from_millis) {
        Some(timeout) if timeout <= TIMEOUT_MAX => Ok(timeout),
        _ => {
            let message = format!("timeout is {timeout}, allowed are 0 s..{TIMEOUT_MAX:?}");
            Err(ApiError::invalid("timeout", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_an_order_has_its_range() {
        let good = Founder {
            node_id: 1,
            name: "node-1".into(),
            peer_address: "node-1:7702".into(),
            client_address: "node-1:7701".into(),
            zone: String::new(),
        };
        let order = |change: &dyn Fn(&mut Founder)| {
            let mut one = good.clone();
            change(&mut one);
            let request = AddMemberRequest {
                member: Some(one),
                fence: 0,
            };
            member(&request).map_err(|error| error.detail.field)
        };
        assert_eq!(order(&|_| ()), Ok(()));
        assert_eq!(order(&|m| m.node_id = 0), Err("member.node_id".into()));
        assert_eq!(order(&|m| m.name.clear()), Err("member.name".into()));
        assert_eq!(
            order(&|m| m.peer_address = "x".repeat(261)),
            Err("member.peer_address".into())
        );
        for wrong in ["nope", ":7702", "node-1:", "node-1:0", "node-1:70000"] {
            assert_eq!(
                order(&|m| wrong.clone_into(&mut m.peer_address)),
                Err("member.peer_address".into()),
                "{wrong}"
            );
        }
        assert_eq!(
            order(&|m| m.client_address.clear()),
            Err("member.client_address".into())
        );
        let error = member(&AddMemberRequest::default()).unwrap_err();
        assert_eq!(error.detail.field, "member");
        let wait = |seconds| {
            let asked = prost_types::Duration { seconds, nanos: 0 };
            timeout(Some(&asked), Duration::ZERO).map_err(|error| error.detail.field)
        };
        assert_eq!(wait(3_600), Ok(TIMEOUT_MAX));
        assert_eq!(wait(3_601), Err("timeout".into()));
        assert_eq!(wait(-1), Err("timeout".into()));
        assert_eq!(timeout(None, PATIENCE), Ok(PATIENCE));
    }

    const PATIENCE: Duration = Duration::from_secs(7);
}
