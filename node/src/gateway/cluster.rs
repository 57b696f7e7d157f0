//! What clients see of the cluster.

use std::time::Duration;

use roadstead_proto::v1::{
    GetClusterStatusRequest, GetClusterStatusResponse, GetTopologyRequest, GetTopologyResponse,
    ShardCall, shard_call::Call, shard_reply::Reply,
};

use super::route::Again;
use super::{ApiError, Gateway};
use crate::auth::{Action, Principal, authorize};
use crate::raft::types::CATALOG;
use crate::runtime::Runtime;

/// Time for asking the catalog's leader.
const PATIENCE: Duration = Duration::from_secs(5);

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

    /// Members and replicas, as the catalog's leader knows them.
    pub async fn get_cluster_status(
        &self,
        principal: &Principal,
        _: GetClusterStatusRequest,
    ) -> Result<GetClusterStatusResponse, ApiError> {
        authorize(principal, Action::GetClusterStatus, None)?;
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(Call::Status(true)),
        };
        let asked = self.router.call(CATALOG, call, PATIENCE, Again::Safe);
        match asked.await?.reply {
            Some(Reply::Status(status)) => Ok(status),
            _ => Err(ApiError::unavailable(
                "the catalog's leader answered another way",
            )),
        }
    }
}
