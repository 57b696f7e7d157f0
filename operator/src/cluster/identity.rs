//! The id of a cluster: chosen once, or found again with its data.
use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use roadstead_crds::QueueCluster;
use roadstead_operator_core::desired::names;
use roadstead_operator_core::names::{CLUSTER_ID, Names};
use tracing::info;

use super::{SOON, refuse, write};
use crate::context::Context;
use crate::error::{Doing, ReconcileError};

/// Writes the id down, if nobody was faster. Everything else waits until it is read back.
pub async fn choose(
    api: &Api<QueueCluster>,
    cluster: &QueueCluster,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let names = names(cluster);
    let kept = kept(&names, context).await?;
    let id = match kept.len() {
        0 => uuid::Uuid::new_v4().to_string(),
        1 => kept.into_iter().next().unwrap_or_default(),
        _ => {
            let ids = kept.into_iter().collect::<Vec<_>>().join(", ");
            let message = format!(
                "volumes of several clusters are kept here ({ids}): delete the claims that are \
                 not wanted, labelled {CLUSTER_ID}"
            );
            let what = ("VolumesOfSeveralClusters", message.as_str());
            return refuse(api, cluster, what, Timestamp::now()).await;
        }
    };
    let mut status = cluster.status.clone().unwrap_or_default();
    status.cluster_id = Some(id.clone());
    status.observed_generation = cluster.metadata.generation;
    if write(api, cluster, &status).await? {
        info!(cluster = cluster.name_any(), id, "has its id");
    }
    Ok(Action::requeue(SOON))
}

/// Ids that kept volumes carry. Without volumes a kept authority does not count: its data is gone.
async fn kept(names: &Names, context: &Context) -> Result<BTreeSet<String>, ReconcileError> {
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(context.client.clone(), &names.namespace);
    let params = ListParams::default().labels(&names.selector_text());
    let claims = claims
        .list(&params)
        .await
        .doing(|| "list kept volume claims".to_owned())?;
    let ids: BTreeSet<_> = claims
        .items
        .iter()
        .filter_map(|claim| claim.labels().get(CLUSTER_ID).cloned())
        .collect();
    if ids.is_empty() && context.authorities.kept_id(names).await?.is_some() {
        context.authorities.delete(names, None).await?;
    }
    Ok(ids)
}
