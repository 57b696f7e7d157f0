//! What a node shows of itself.

use std::collections::BTreeMap;

use roadstead_proto::v1::{ConsumerLoad, GroupReport};

use crate::api::ConnectionNumbers;
use crate::catalog::divergence::DigestCounts;
use crate::metrics::LatencyNumbers;
use crate::raft::types::GroupId;
use crate::store::StoreNumbers;

/// A node as its HTTP listener sees it.
pub trait Observe: Send + Sync + 'static {
    /// Whether this node can serve; the error says why not.
    fn readiness(&self) -> Result<(), String>;

    /// Everything that metrics show, at this moment.
    fn observe(&self) -> Observation;
}

/// The numbers of one node at one moment.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// Milliseconds since 1970 by which ages are reckoned.
    pub now_ms: u64,
    /// The Raft groups that run here.
    pub groups: Vec<GroupReport>,
    /// This node's id.
    pub node_id: u64,
    /// Comparisons of replicas that this node has made, leading the catalog, by group.
    pub digests: BTreeMap<GroupId, DigestCounts>,
    /// Partitions that are led here.
    pub loads: Vec<ConsumerLoad>,
    /// Journal and state file.
    pub store: StoreNumbers,
    /// From a proposal to its being applied, over all shards led here.
    pub commits: LatencyNumbers,
    /// Bytes that may be written before sends are refused.
    pub room_for_sends: u64,
    /// By listener.
    pub connections: Vec<(&'static str, ConnectionNumbers)>,
    /// When the certificate of a listener expires, in seconds since 1970.
    pub certificates: Vec<(&'static str, i64)>,
}
