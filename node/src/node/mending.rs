//! What the others do for a node that lost its rows, or all of its data.

use std::sync::Arc;
use std::time::Duration;

use roadstead_proto::v1::{ReplaceMemberRequest, ShardCall, StateChunk, shard_call::Call};
use tokio::sync::mpsc;
use tonic::Code;

use super::{Node, orders};
use crate::auth::Principal;
use crate::gateway::ApiError;
use crate::gateway::route::Again;
use crate::raft::types::{CATALOG, GroupId};
use crate::runtime::Runtime;
use crate::store::SnapshotReader;

/// Chunks on their way.
const WAITING_CHUNKS: usize = 2;
/// Who does not take the next chunk by then gets no more: the journal's space is held meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for a call of the catalog's leader.
const ORDER: Duration = Duration::from_secs(10);

type Chunks = mpsc::Sender<Result<StateChunk, ApiError>>;

impl<R: Runtime> Node<R> {
    /// The state of a group as applied here, in chunks for a
    /// [`SnapshotInstaller`](crate::store::SnapshotInstaller).
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` for another cluster, `NOT_FOUND` for a group that does not run here.
    pub async fn state_of(
        self: &Arc<Self>,
        cluster_id: &str,
        group: u32,
    ) -> Result<mpsc::Receiver<Result<StateChunk, ApiError>>, ApiError> {
        self.check_cluster(cluster_id)?;
        let known = GroupId::try_from(group).ok();
        let known = known.and_then(|id| self.groups().get(id));
        let known = known.ok_or_else(|| {
            ApiError::new(Code::NotFound, format!("group {group} does not run here"))
        })?;
        let capture = known
            .state()
            .capture()
            .map_err(|error| ApiError::unavailable(error.to_string()))?;
        let reader = self.store().open_snapshot(capture).await;
        let reader = reader.map_err(|error| ApiError::unavailable(error.to_string()))?;
        let (chunks, receiver) = mpsc::channel(WAITING_CHUNKS);
        self.shared().scope.spawn(send::<R>(reader, chunks));
        Ok(receiver)
    }

    /// Passes on to the catalog's leader that a node's data is damaged, or who takes its place.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` for another cluster, and as long as the cluster cannot do without it.
    pub async fn replace_member(&self, request: ReplaceMemberRequest) -> Result<(), ApiError> {
        self.check_cluster(&request.cluster_id)?;
        orders::node("former", request.former)?;
        if let Some(successor) = &request.successor {
            orders::founder(successor)?;
        }
        let call = ShardCall {
            principal: Some(Principal::Node(self.node_id()).to_info()),
            call: Some(Call::ReplaceMember(request)),
        };
        let called = self.router().call(CATALOG, call, ORDER, Again::Safe);
        called.await.map(drop)
    }

    fn check_cluster(&self, cluster_id: &str) -> Result<(), ApiError> {
        let own = self.cluster_id();
        if own == cluster_id {
            return Ok(());
        }
        let message = format!("this node belongs to cluster {own}");
        Err(ApiError::new(Code::FailedPrecondition, message))
    }
}

async fn send<R: Runtime>(mut reader: SnapshotReader, chunks: Chunks) {
    loop {
        let next = match reader.next().await {
            Ok(None) => return,
            Ok(Some(chunk)) => Ok(StateChunk { chunk }),
            Err(error) => Err(ApiError::unavailable(error.to_string())),
        };
        let failed = next.is_err();
        let sent = R::timeout(PATIENCE, chunks.send(next)).await;
        if failed || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}
