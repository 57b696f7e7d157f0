//! The custom resource types of Roadstead, API group `roadstead.dev/v1alpha1`.
//!
//! Rules that the API server enforces are CEL rules in the schema; `generate` turns the types
//! into `CustomResourceDefinition`s. A field is here only when something acts on it.

#![allow(
    clippy::duplicated_attributes,
    reason = "several printcolumn(…) of one type look alike to it"
)]

mod circuit_breaker;
mod cluster;
mod cluster_status;
mod deduplication;
mod fairness;
mod generate;
mod groups;
mod limits;
mod listener;
mod quantity;
mod queue;
mod quota;
mod retries;
mod scaler;
mod time;

pub use circuit_breaker::CircuitBreaker;
pub use cluster::{
    Approval, NamespacesFrom, PodSettings, QueueCluster, QueueClusterSpec, QueueNamespaces,
    Reclaim, ReclaimPolicy, Reconciliation, Storage, Upgrade,
};
pub use cluster_status::{
    BootstrapStatus, ClusterVersion, Endpoint, FounderStatus, MemberStatus, MemberStatusState,
    PlanEntry, QueueClusterStatus, ShardsStatus,
};
pub use deduplication::{DeduplicateBy, Deduplication, DeduplicationScope};
pub use fairness::{Fairness, Priorities, TenantWeight};
pub use generate::{crds, file_name, yaml};
pub use groups::{DEFAULT_GROUP, Group, GroupDelivery, GroupStart};
pub use limits::{Limits, Overflow};
pub use listener::{
    Authentication, Listener, ListenerConnections, ListenerProtocol, ListenerService, ListenerTls,
    ServiceType, TlsMode,
};
pub use quantity::ByteSize;
pub use queue::{
    ClusterRef, DeadLetter, DeletionPolicy, Delivery, Ordering, Queue, QueueObjectRef, QueueSample,
    QueueSpec, QueueStatus,
};
pub use quota::NamespaceQuota;
pub use retries::{Backoff, BackoffType, Expiry, ExpiryAction, Retries};
pub use scaler::{
    ConsumerScaler, ConsumerScalerSpec, ConsumerScalerStatus, DecisionStatus, LimitedBy, Objective,
    OnDelete, OnStaleData, ScaleDown, ScaleTargetRef, ScalerMode, Source, SourceStatus,
    StaleAction,
};
pub use time::{Span, Timestamp};

/// The API group of every type here.
pub const GROUP: &str = "roadstead.dev";
