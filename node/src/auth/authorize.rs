//! Who may do what.

use roadstead_proto::v1::QueueRef;
use tonic::Code;

use super::{Action, Principal};
use crate::gateway::ApiError;

/// Decides whether `principal` may do `action`, to `queue` where the action is about one.
///
/// * Anonymous (only where the listener lets such clients in): everything with queues, messages
///   and topology; nothing of administration.
/// * A `ServiceAccount`: uses the queues of its own namespace: see, list, count, peek, send,
///   receive, settle, redrive. Queues are made, changed, purged and deleted by the operator, for
///   whoever may edit Queue objects there; single messages are deleted and consumers drained by an
///   administrator.
/// * A node: exchanges frames and reads the state of the cluster. What it forwards is authorized as
///   the one who asked it.
/// * The operator and administrators: everything but exchanging frames.
///
/// Without a queue (`None`) the answer says whether the action can be allowed at all.
///
/// # Errors
/// `PERMISSION_DENIED`, or `UNAUTHENTICATED` where knowing the caller could help.
pub fn authorize(
    principal: &Principal,
    action: Action,
    queue: Option<&QueueRef>,
) -> Result<(), ApiError> {
    let allowed = match principal {
        Principal::Anonymous => is_for_clients(action),
        Principal::ServiceAccount { namespace, .. } => {
            let own = queue.is_none_or(|queue| queue.namespace == *namespace);
            is_use(action) && own || is_topology(action)
        }
        Principal::Node(_) => is_for_nodes(action),
        Principal::Operator => action != Action::Exchange,
    };
    if allowed {
        Ok(())
    } else {
        Err(refusal(principal, action, queue))
    }
}

fn is_topology(action: Action) -> bool {
    matches!(action, Action::GetTopology | Action::GetClusterStatus)
}

fn is_use(action: Action) -> bool {
    matches!(
        action,
        Action::GetQueue
            | Action::ListQueues
            | Action::GetQueueStats
            | Action::PeekMessages
            | Action::SeekGroup
            | Action::ListConsumers
            | Action::Send
            | Action::Receive
            | Action::Settle
            | Action::Redrive
    )
}

fn is_management(action: Action) -> bool {
    matches!(
        action,
        Action::CreateQueue
            | Action::UpdateQueue
            | Action::DeleteQueue
            | Action::PurgeQueue
            | Action::DeleteMessage
            | Action::DrainConsumers
    )
}

fn is_for_clients(action: Action) -> bool {
    is_use(action) || is_management(action) || is_topology(action)
}

fn is_for_nodes(action: Action) -> bool {
    is_topology(action)
        || matches!(
            action,
            Action::Exchange | Action::GetNode | Action::ListMembers
        )
}

fn refusal(principal: &Principal, action: Action, queue: Option<&QueueRef>) -> ApiError {
    let verb = action.verb();
    let object = queue.map_or(String::new(), |q| {
        format!(" queue {}/{}", q.namespace, q.name)
    });
    let hint = match principal {
        Principal::Anonymous => "authenticate, or use the peer and admin listener",
        Principal::ServiceAccount { .. } if is_management(action) => {
            "edit the Queue object, or use an admin certificate on the peer and admin listener"
        }
        Principal::ServiceAccount { .. } if is_use(action) => {
            "ServiceAccounts use the queues of their own namespace"
        }
        Principal::ServiceAccount { .. } => "use an admin certificate on the admin listener",
        Principal::Node(_) => "nodes act for themselves only in frames",
        Principal::Operator => "only nodes exchange frames",
    };
    let code = match principal {
        Principal::Anonymous => Code::Unauthenticated,
        _ => Code::PermissionDenied,
    };
    let error = ApiError::new(code, format!("{principal} may not {verb}{object}; {hint}"));
    match queue {
        Some(queue) => error.about(queue),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(namespace: &str) -> QueueRef {
        QueueRef {
            namespace: namespace.to_owned(),
            name: "orders".to_owned(),
        }
    }

    fn account() -> Principal {
        Principal::ServiceAccount {
            namespace: "shop".to_owned(),
            name: "worker".to_owned(),
        }
    }

    const QUEUE_ACTIONS: [Action; 16] = [
        Action::CreateQueue,
        Action::UpdateQueue,
        Action::DeleteQueue,
        Action::PurgeQueue,
        Action::DeleteMessage,
        Action::DrainConsumers,
        Action::GetQueue,
        Action::ListQueues,
        Action::GetQueueStats,
        Action::PeekMessages,
        Action::SeekGroup,
        Action::ListConsumers,
        Action::Send,
        Action::Receive,
        Action::Settle,
        Action::Redrive,
    ];

    const OTHER_ACTIONS: [Action; 13] = [
        Action::GetTopology,
        Action::GetClusterStatus,
        Action::GetNode,
        Action::ListMembers,
        Action::Bootstrap,
        Action::AddMember,
        Action::DrainMember,
        Action::RemoveMember,
        Action::SetNamespaceQuota,
        Action::ListNamespaceQuotas,
        Action::TransferLeadership,
        Action::WatchConsumerLoad,
        Action::Exchange,
    ];

    /// One letter per principal that is allowed: anonymous, service account, node, operator.
    fn allowed(action: Action, queue: Option<&QueueRef>) -> String {
        let principals = [
            ("a", Principal::Anonymous),
            ("s", account()),
            ("n", Principal::Node(7)),
            ("o", Principal::Operator),
        ];
        principals
            .iter()
            .filter(|(_, principal)| authorize(principal, action, queue).is_ok())
            .map(|(letter, _)| *letter)
            .collect()
    }

    #[test]
    fn the_table_of_rights() {
        let (own, foreign) = (queue("shop"), queue("bank"));
        let own: Vec<String> = QUEUE_ACTIONS
            .iter()
            .map(|a| allowed(*a, Some(&own)))
            .collect();
        assert_eq!(
            own.join(" "),
            "ao ao ao ao ao ao aso aso aso aso aso aso aso aso aso aso"
        );
        let foreign: Vec<String> = QUEUE_ACTIONS
            .iter()
            .map(|a| allowed(*a, Some(&foreign)))
            .collect();
        assert_eq!(
            foreign.join(" "),
            "ao ao ao ao ao ao ao ao ao ao ao ao ao ao ao ao"
        );
        let other: Vec<String> = OTHER_ACTIONS.iter().map(|a| allowed(*a, None)).collect();
        assert_eq!(other.join(" "), "asno asno no no o o o o o o o o n");
    }

    #[test]
    fn a_refusal_says_who_what_and_what_to_do() {
        let error = authorize(&account(), Action::Send, Some(&queue("bank"))).unwrap_err();
        assert_eq!(error.code, Code::PermissionDenied);
        assert_eq!(
            error.message,
            "serviceaccount shop/worker may not send to queue bank/orders; \
             ServiceAccounts use the queues of their own namespace"
        );
        assert_eq!(error.detail.queue, "bank/orders");
        assert!(!error.detail.retryable);

        let error = authorize(&Principal::Anonymous, Action::Bootstrap, None).unwrap_err();
        assert_eq!(error.code, Code::Unauthenticated);
    }
}
