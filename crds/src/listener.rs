//! Where clients connect to a cluster.
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where clients connect.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(
    "self.tls.mode != 'Disabled' || !('ServiceAccount' in self.authentication)"
).message(
    "a ServiceAccount's token would travel in the clear: use tls.mode Managed, or authentication \
     [Anonymous]"
))]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name.
    #[schemars(length(min = 1, max = 15), pattern(r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self != 'peer' && self != 'http'")
        .message("the names peer and http are taken by the node itself: choose another"))]
    pub name: String,
    /// What it speaks. Default: `GRPC`.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// Port of the pods and of the Service: 1024..65535, not 7702 and 7703. Default: 7701.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1024, max = 65535))]
    #[x_kube(validation = Rule::new("self != 7702 && self != 7703")
        .message("ports 7702 (peers) and 7703 (HTTP) are taken by the node itself"))]
    pub port: i32,
    /// Its encryption. Default: the defaults of its fields.
    #[serde(default)]
    pub tls: ListenerTls,
    /// How clients show who they are. `Anonymous` lets everybody in who reaches the port. Default:
    /// `ServiceAccount`.
    #[serde(default = "default_authentication")]
    #[schemars(length(min = 1, max = 1))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub authentication: Vec<Authentication>,
    /// How many connections a node takes. Default: the defaults of its fields.
    #[serde(default, skip_serializing_if = "ListenerConnections::is_default")]
    pub connections: ListenerConnections,
    /// The Service in front of it. Default: the defaults of its fields.
    #[serde(default)]
    pub service: ListenerService,
}

/// What a listener speaks.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerProtocol {
    /// gRPC, package `roadstead.v1`.
    #[default]
    #[serde(rename = "GRPC")]
    Grpc,
}

/// Encryption of a listener.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// Where its certificate comes from. Default: `Managed`.
    #[serde(default)]
    pub mode: TlsMode,
}

/// Where a listener's certificate comes from.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// The operator issues it; the CA is in a ConfigMap in every namespace that may use the
    /// cluster.
    #[default]
    Managed,
    /// No encryption: tokens and messages travel in the clear.
    Disabled,
}

/// How a client shows who it is.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authentication {
    /// A ServiceAccount token for the audience `roadstead`; it may use its namespace's queues.
    ServiceAccount,
    /// Not at all: everybody may use every queue.
    Anonymous,
}

/// How many connections a node takes at the same time.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerConnections {
    /// All of them: 1..100,000. Default: 2,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max: Option<i32>,
    /// Those of one ServiceAccount: 1..100,000. Default: three quarters of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_per_service_account: Option<i32>,
}

impl ListenerConnections {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The Service in front of a listener.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerService {
    /// Its type. Default: `ClusterIP`.
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
}

/// Type of a Service.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// Reachable within the cluster.
    #[default]
    ClusterIP,
    /// Reachable on a port of every node.
    NodePort,
    /// Reachable through a load balancer.
    LoadBalancer,
}

fn default_port() -> i32 {
    7701
}

fn default_authentication() -> Vec<Authentication> {
    vec![Authentication::ServiceAccount]
}

pub(crate) fn default_listeners() -> Vec<Listener> {
    vec![Listener {
        name: "grpc".to_owned(),
        protocol: ListenerProtocol::default(),
        port: default_port(),
        tls: ListenerTls::default(),
        authentication: default_authentication(),
        connections: ListenerConnections::default(),
        service: ListenerService::default(),
    }]
}
