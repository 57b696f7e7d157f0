//! What can be asked, and which remote procedure asks it.

/// One kind of thing that a caller may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Create a queue.
    CreateQueue,
    /// Change a queue's specification.
    UpdateQueue,
    /// Delete a queue with its messages.
    DeleteQueue,
    /// See a queue's specification.
    GetQueue,
    /// List queues; each queue listed needs [`Action::GetQueue`] too.
    ListQueues,
    /// See a queue's counts.
    GetQueueStats,
    /// Remove a queue's messages.
    PurgeQueue,
    /// Let a consumer group begin with another message.
    SeekGroup,
    /// See who receives.
    ListConsumers,
    /// Let consumers get no deliveries, or take that back.
    DrainConsumers,
    /// See messages without leasing them.
    PeekMessages,
    /// Delete one message.
    DeleteMessage,
    /// Move messages to other queues; it needs [`Action::Receive`] of the one and
    /// [`Action::Send`] of the other too.
    Redrive,
    /// Send messages, by call or stream.
    Send,
    /// Receive messages, by call or stream.
    Receive,
    /// Ack, nack, reject or extend deliveries.
    Settle,
    /// See shards, leaders and addresses.
    GetTopology,
    /// See members and replicas.
    GetClusterStatus,
    /// See the answering node as it sees itself.
    GetNode,
    /// Found the cluster.
    Bootstrap,
    /// See members with everything known of them.
    ListMembers,
    /// Let a node join.
    AddMember,
    /// Move a member's work away, or take that back.
    DrainMember,
    /// Remove a member for good.
    RemoveMember,
    /// Say what the queues of a namespace may ask for together.
    SetNamespaceQuota,
    /// See what they may ask for, and what they do ask for.
    ListNamespaceQuotas,
    /// Move leaderships.
    TransferLeadership,
    /// Follow the load of consumer groups.
    WatchConsumerLoad,
    /// Exchange frames as a node.
    Exchange,
}

/// What a remote procedure needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nothing: whoever can connect may call it.
    Public,
    /// The right to this action.
    Needs(Action),
}

/// The rule of a remote procedure by its path, as in `/roadstead.v1.MessageService/Send`.
///
/// `None` for what is not served: a procedure without a rule cannot be called.
pub fn rule(path: &str) -> Option<Rule> {
    use Action as A;
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let action = match (service, method) {
        (
            "grpc.health.v1.Health"
            | "grpc.reflection.v1.ServerReflection"
            | "grpc.reflection.v1alpha.ServerReflection",
            _,
        ) => return Some(Rule::Public),
        ("roadstead.v1.QueueService", "CreateQueue") => A::CreateQueue,
        ("roadstead.v1.QueueService", "UpdateQueue") => A::UpdateQueue,
        ("roadstead.v1.QueueService", "DeleteQueue") => A::DeleteQueue,
        ("roadstead.v1.QueueService", "GetQueue") => A::GetQueue,
        ("roadstead.v1.QueueService", "ListQueues") => A::ListQueues,
        ("roadstead.v1.QueueService", "GetQueueStats") => A::GetQueueStats,
        ("roadstead.v1.QueueService", "PurgeQueue") => A::PurgeQueue,
        ("roadstead.v1.QueueService", "SeekGroup") => A::SeekGroup,
        ("roadstead.v1.QueueService", "ListConsumers") => A::ListConsumers,
        ("roadstead.v1.QueueService", "DrainConsumers") => A::DrainConsumers,
        ("roadstead.v1.QueueService", "PeekMessages") => A::PeekMessages,
        ("roadstead.v1.QueueService", "DeleteMessage") => A::DeleteMessage,
        ("roadstead.v1.QueueService", "RedriveMessages" | "RedriveMessage") => A::Redrive,
        ("roadstead.v1.MessageService", "Send" | "SendStream") => A::Send,
        ("roadstead.v1.MessageService", "Receive" | "ReceiveStream") => A::Receive,
        ("roadstead.v1.MessageService", "Settle" | "Complete") => A::Settle,
        ("roadstead.v1.ClusterService", "GetTopology") => A::GetTopology,
        ("roadstead.v1.ClusterService", "GetClusterStatus") => A::GetClusterStatus,
        ("roadstead.v1.AdminService", "GetNode") => A::GetNode,
        ("roadstead.v1.AdminService", "Bootstrap") => A::Bootstrap,
        ("roadstead.v1.AdminService", "ListMembers") => A::ListMembers,
        ("roadstead.v1.AdminService", "AddMember") => A::AddMember,
        ("roadstead.v1.AdminService", "DrainMember") => A::DrainMember,
        ("roadstead.v1.AdminService", "RemoveMember") => A::RemoveMember,
        ("roadstead.v1.AdminService", "SetNamespaceQuota") => A::SetNamespaceQuota,
        ("roadstead.v1.AdminService", "ListNamespaceQuotas") => A::ListNamespaceQuotas,
        ("roadstead.v1.AdminService", "TransferLeadership") => A::TransferLeadership,
        ("roadstead.v1.AdminService", "WatchConsumerLoad") => A::WatchConsumerLoad,
        ("roadstead.v1.PeerService", "Exchange" | "FetchState" | "ReplaceMember") => A::Exchange,
        _ => return None,
    };
    Some(Rule::Needs(action))
}

impl Action {
    /// As a person would say it: `send to`, `create`.
    pub fn verb(self) -> &'static str {
        match self {
            Self::CreateQueue => "create",
            Self::UpdateQueue => "change",
            Self::DeleteQueue => "delete",
            Self::GetQueue => "see",
            Self::ListQueues => "list queues of",
            Self::GetQueueStats => "see counts of",
            Self::PurgeQueue => "purge",
            Self::SeekGroup => "seek in",
            Self::ListConsumers => "list consumers of",
            Self::DrainConsumers => "drain consumers of",
            Self::PeekMessages => "peek into",
            Self::DeleteMessage => "delete messages of",
            Self::Redrive => "move messages out of",
            Self::Send => "send to",
            Self::Receive => "receive from",
            Self::Settle => "settle deliveries of",
            Self::GetTopology => "see the topology",
            Self::GetClusterStatus => "see the cluster's status",
            Self::GetNode => "see this node",
            Self::Bootstrap => "found a cluster",
            Self::ListMembers => "list members",
            Self::AddMember => "add members",
            Self::DrainMember => "drain members",
            Self::RemoveMember => "remove members",
            Self::SetNamespaceQuota => "set quotas of namespaces",
            Self::ListNamespaceQuotas => "list quotas of namespaces",
            Self::TransferLeadership => "transfer leaderships",
            Self::WatchConsumerLoad => "watch consumer load",
            Self::Exchange => "exchange frames",
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_procedure_that_reflection_shows_has_a_rule() {
        let files = FileDescriptorSet::decode(roadstead_proto::DESCRIPTORS).unwrap();
        let mut procedures = 0;
        for file in files.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let rule = rule(&path);
                    assert!(
                        matches!(rule, Some(Rule::Needs(_))),
                        "{path} has no rule: {rule:?}"
                    );
                    procedures += 1;
                }
            }
        }
        assert!(procedures >= 27, "only {procedures} were walked");
    }

    #[test]
    fn what_is_not_served_has_no_rule() {
        for path in [
            "",
            "/",
            "/roadstead.v1.MessageService",
            "/roadstead.v1.MessageService/",
            "/roadstead.v1.MessageService/Steal",
            "/roadstead.v2.MessageService/Send",
            "roadstead.v1.MessageService/Send",
            "/roadstead.v1.QueueService/Send",
        ] {
            assert_eq!(rule(path), None, "{path}");
        }
    }
}
