//! What clients see of the cluster.

use roadstead_proto::v1::{
    GetClusterStatusRequest, GetClusterStatusResponse, GetTopologyRequest, GetTopologyResponse,
};

use super::{ApiError, Gateway};
use crate::auth::{Action, Principal, authorize};
use crate::runtime::Runtime;

impl<R: Runtime> Gateway<R> {
    /// Shards with their leaders, and the addresses of the nodes.
    #[expect(
        clippy::unused_async,
        reason = "every call of the gateway is asynchronous"
    )]
    pub async fn get_topology(
        &self,
        principal: &Principal,
        _: GetTopologyRequest,
    ) -> Result<GetTopologyResponse, ApiError> {
        authorize(principal, Action::GetTopology, None)?;
        Ok(self.cluster.topology())
    }

    /// Members and replicas.
    pub async fn get_cluster_status(
        &self,
        principal: &Principal,
        _: GetClusterStatusRequest,
    ) -> Result<GetClusterStatusResponse, ApiError> {
        authorize(principal, Action::GetClusterStatus, None)?;
        self.cluster.status().await
    }
}
