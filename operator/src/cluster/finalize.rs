//! What goes with a cluster beside what its owner references take along.
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use roadstead_crds::{QueueCluster, ReclaimPolicy};
use roadstead_operator_core::desired::names;
use roadstead_operator_core::names::CLUSTER_NAMESPACE;

use crate::context::Context;
use crate::error::{Doing, ReconcileError, is_missing};

/// Removes what lies outside of the cluster's namespace. Volumes and the authority stay, unless
/// the specification says that the data goes too. Nothing here waits for a node.
pub async fn clean_up(cluster: &QueueCluster, context: &Context) -> Result<Action, ReconcileError> {
    let names = names(cluster);
    context
        .links
        .forget(&(names.namespace.clone(), names.cluster.clone()));
    let bindings: Api<ClusterRoleBinding> = Api::all(context.client.clone());
    let binding = names.token_review_binding();
    gone(bindings.delete(&binding, &DeleteParams::default()).await)
        .doing(|| format!("delete ClusterRoleBinding {binding}"))?;
    context.applier.forget::<ClusterRoleBinding>("", &binding);
    let maps: Api<ConfigMap> = Api::all(context.client.clone());
    let selector = format!(
        "{},{CLUSTER_NAMESPACE}={}",
        names.selector_text(),
        names.namespace
    );
    let found = maps
        .list_metadata(&ListParams::default().labels(&selector))
        .await;
    for map in found
        .doing(|| "list ConfigMaps with the CA".to_owned())?
        .items
    {
        let namespace = map.namespace().unwrap_or_default();
        let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
        gone(maps.delete(&map.name_any(), &DeleteParams::default()).await)
            .doing(|| format!("delete ConfigMap {namespace}/{}", map.name_any()))?;
        context
            .applier
            .forget::<ConfigMap>(&namespace, &map.name_any());
    }
    if cluster.spec.storage.reclaim.on_delete == ReclaimPolicy::Delete {
        context.authorities.delete(&names, None).await?;
    }
    Ok(Action::await_change())
}

fn gone<T>(deleted: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match deleted {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}
