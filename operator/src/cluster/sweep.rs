//! Authorities of clusters that left nothing behind. A cluster's finalizer keeps its authority for
//! the volumes that it retains; when these go later, with their namespace or by hand, nobody says
//! so: one has to look.
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::ListParams;
use roadstead_crds::QueueCluster;
use roadstead_operator_core::names::CLUSTER_ID;
use tracing::{info, warn};

use crate::authority::Kept;
use crate::backoff::jitter;
use crate::context::Context;
use crate::error::{Doing, ReconcileError};

const EVERY: Duration = Duration::from_hours(1);

/// Sweeps now and then, for ever.
pub async fn run(context: &Context) {
    loop {
        if let Err(error) = sweep(context).await {
            warn!(%error, "cannot look for authorities that nothing needs");
        }
        tokio::time::sleep(jitter(EVERY)).await;
    }
}

/// Deletes the authorities that neither a cluster nor a retained volume needs. They were listed
/// before that was looked up, and exactly they are deleted: one that is made meanwhile stays.
async fn sweep(context: &Context) -> Result<(), ReconcileError> {
    for kept in context.authorities.list().await? {
        if !is_needed(&kept, context).await? {
            info!(
                namespace = kept.names.namespace,
                cluster = kept.names.cluster,
                "neither cluster nor volumes are there: its authority goes"
            );
            context.authorities.delete(&kept.names, kept.uid).await?;
        }
    }
    Ok(())
}

async fn is_needed(kept: &Kept, context: &Context) -> Result<bool, ReconcileError> {
    let namespace = kept.names.namespace.as_str();
    let clusters: Api<QueueCluster> = Api::namespaced(context.client.clone(), namespace);
    let cluster = clusters.get_metadata_opt(&kept.names.cluster).await;
    if cluster.doing(|| "look for a cluster".to_owned())?.is_some() {
        return Ok(true);
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{CLUSTER_ID}={}", kept.cluster_id));
    let found = claims.list_metadata(&params).await;
    let found = found.doing(|| "list kept volume claims".to_owned())?;
    Ok(!found.items.is_empty())
}
