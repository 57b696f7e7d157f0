//! The calls that change the catalog, answered by its leader.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use roadstead_core::catalog::{Op, Refusal, Reply, encode_entry};
use roadstead_proto::v1::{ShardCall, ShardReply, shard_call::Call, shard_reply};
use tonic::Code;

use super::reports::Reports;
use super::view::CatalogView;
use crate::auth::Principal;
use crate::gateway::ApiError;
use crate::gateway::route::Router;
use crate::node::Directory;
use crate::raft::types::Response;
use crate::raft::{Group, ProposeError};
use crate::runtime::Runtime;

/// Time for a call that goes to other groups' leaders.
pub(super) const STEP_PATIENCE: Duration = Duration::from_secs(5);

/// Answers what only the leader of the catalog may.
pub struct CatalogService<R: Runtime> {
    pub(super) view: CatalogView<R>,
    pub(super) directory: Directory<R>,
    pub(super) router: Arc<Router<R>>,
    pub(super) reports: Arc<Reports>,
    /// Somebody decides on giving up a node's data.
    pub(super) giving_up: AtomicBool,
}

impl<R: Runtime> CatalogService<R> {
    /// On the node that `directory` and `router` belong to.
    pub fn new(view: CatalogView<R>, directory: Directory<R>, router: Arc<Router<R>>) -> Self {
        Self {
            view,
            directory,
            router,
            reports: Arc::default(),
            giving_up: AtomicBool::new(false),
        }
    }

    /// What the members reported.
    pub fn reports(&self) -> &Arc<Reports> {
        &self.reports
    }

    /// Answers one call.
    pub async fn call(&self, call: ShardCall) -> Result<ShardReply, ApiError> {
        use shard_reply::Reply as R;
        let leadership = self.group().leadership();
        if !leadership.is_leader {
            return Err(ApiError::not_leader(self.group().id(), leadership.leader));
        }
        let principal = Principal::from_info(call.principal.as_ref());
        let reply = match call.call {
            Some(Call::CreateQueue(request)) => {
                R::CreateQueue(self.create_queue(&principal, request).await?)
            }
            Some(Call::UpdateQueue(request)) => {
                R::UpdateQueue(self.update_queue(&principal, request).await?)
            }
            Some(Call::DeleteQueue(request)) => {
                R::DeleteQueue(self.delete_queue(&principal, request).await?)
            }
            Some(Call::AddMember(request)) => {
                self.add_member(&principal, request).await?;
                R::Done(true)
            }
            Some(Call::DrainMember(request)) => {
                self.drain_member(&principal, request).await?;
                R::Done(true)
            }
            Some(Call::RemoveMember(request)) => {
                self.remove_member(&principal, request).await?;
                R::Done(true)
            }
            Some(Call::ReplaceMember(request)) => {
                self.replace_member(request).await?;
                R::Done(true)
            }
            Some(Call::SetQuota(request)) => {
                self.set_quota(&principal, request).await?;
                R::Done(true)
            }
            Some(Call::ListQuotas(_)) => R::Quotas(self.list_quotas(&principal).await?),
            Some(Call::ReportMember(report)) => R::Report(self.report(report).await?),
            Some(Call::ReadIndex(_)) => R::ReadIndex(self.view.own_read_index().await?),
            Some(Call::Status(_)) => R::Status(self.status(leadership.epoch).await),
            _ => {
                return Err(ApiError::new(
                    Code::Unimplemented,
                    "the catalog has no such call",
                ));
            }
        };
        Ok(ShardReply { reply: Some(reply) })
    }

    pub(super) fn group(&self) -> &Arc<Group<R>> {
        self.view.group()
    }

    /// Proposes one op; a refusal is an error.
    pub(super) async fn propose(&self, op: Op) -> Result<Reply, ApiError> {
        let entry = encode_entry(self.group().cluster_time(), &[op]);
        let applied = match self.group().propose(entry).await {
            Ok(Response::Catalog(applied)) => applied,
            Ok(_) => return Err(ApiError::unavailable("the catalog answered another way")),
            Err(ProposeError::NotLeader(leader)) => {
                return Err(ApiError::not_leader(self.group().id(), leader));
            }
            Err(ProposeError::Unknown(why)) => {
                let message = format!(
                    "the catalog's leader changed, whether the change was made is not known: {why}"
                );
                return Err(ApiError::new(Code::Unknown, message));
            }
        };
        match applied.replies.into_iter().next() {
            Some(Reply::Refused(refusal)) => Err(refused(&refusal)),
            Some(reply) => Ok(reply),
            None => Err(ApiError::unavailable("the catalog gave no answer")),
        }
    }
}

/// A refusal of the catalog as the API tells it.
fn refused(refusal: &Refusal) -> ApiError {
    let message = refusal.to_string();
    let code = match refusal {
        Refusal::NotFounded
        | Refusal::StillPlaced { .. }
        | Refusal::Lost(_)
        | Refusal::Immutable { .. }
        | Refusal::OtherCluster(_)
        | Refusal::OldBoot { .. }
        | Refusal::VersionTooHigh { .. }
        | Refusal::NoDeadLetterQueue(_)
        | Refusal::TakesDeadLetters { .. }
        | Refusal::Deleting(_) => Code::FailedPrecondition,
        Refusal::BadBootstrap(_) | Refusal::BadPlacement { .. } | Refusal::Invalid(_) => {
            Code::InvalidArgument
        }
        Refusal::Fenced { .. } | Refusal::WrongGeneration { .. } => Code::Aborted,
        Refusal::NoMember(_) | Refusal::NoQueue(_) => Code::NotFound,
        Refusal::Exists(_) => Code::AlreadyExists,
        Refusal::QuotaExceeded(_) => Code::ResourceExhausted,
    };
    let mut error = ApiError::new(code, message);
    match refusal {
        Refusal::Invalid(violations) => {
            error.detail.field = violations
                .first()
                .map(|v| v.field.to_owned())
                .unwrap_or_default();
        }
        Refusal::Immutable { field, .. } => (*field).clone_into(&mut error.detail.field),
        // Unlike other limits this one does not pass by itself: it is not to be tried again.
        Refusal::QuotaExceeded(excess) => excess.bound.field().clone_into(&mut error.detail.field),
        // Not the queue itself is in the way: whoever deletes both asks again.
        Refusal::TakesDeadLetters { .. } => "dead_letter.queue".clone_into(&mut error.detail.field),
        Refusal::Deleting(_) => error = error.retryable(),
        _ => {}
    }
    error
}
