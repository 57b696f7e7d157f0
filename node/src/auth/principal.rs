//! Who asks.

use std::fmt;

use roadstead_proto::v1::principal_info::Kind;
use roadstead_proto::v1::{PrincipalInfo, ServiceAccountPrincipal};

/// Who makes a call. Carried with it wherever it is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    /// Nobody in particular; only where the listener lets anonymous clients in.
    Anonymous,
    /// A Kubernetes `ServiceAccount`, proven by a token for the audience `roadstead`.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A node of this cluster, proven by its certificate.
    Node(u64),
    /// The operator or an administrator, proven by an admin certificate.
    Operator,
}

impl Principal {
    /// The form that travels between nodes.
    pub fn to_info(&self) -> PrincipalInfo {
        let kind = match self {
            Self::Anonymous => Kind::Anonymous(true),
            Self::ServiceAccount { namespace, name } => {
                Kind::ServiceAccount(ServiceAccountPrincipal {
                    namespace: namespace.clone(),
                    name: name.clone(),
                })
            }
            Self::Node(id) => Kind::NodeId(*id),
            Self::Operator => Kind::Operator(true),
        };
        PrincipalInfo { kind: Some(kind) }
    }

    /// Reads the form that travels between nodes; what is absent is anonymous.
    pub fn from_info(info: Option<&PrincipalInfo>) -> Self {
        match info.and_then(|info| info.kind.as_ref()) {
            None | Some(Kind::Anonymous(_)) => Self::Anonymous,
            Some(Kind::ServiceAccount(account)) => Self::ServiceAccount {
                namespace: account.namespace.clone(),
                name: account.name.clone(),
            },
            Some(Kind::NodeId(id)) => Self::Node(*id),
            Some(Kind::Operator(_)) => Self::Operator,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::ServiceAccount { namespace, name } => {
                write!(f, "serviceaccount {namespace}/{name}")
            }
            Self::Node(id) => write!(f, "node {id:016x}"),
            Self::Operator => f.write_str("operator"),
        }
    }
}
