//! Applying what a cluster consists of.
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use roadstead_crds::{NamespacesFrom, QueueCluster};
use roadstead_operator_core::admission::allows;
use roadstead_operator_core::desired::{
    self, Surroundings, admin_secret, ca_config_map, desired, names, tls_secret,
    token_review_binding,
};
use roadstead_operator_core::names::CLUSTER_NAMESPACE;
use roadstead_operator_core::plan::{Action, Step};

use super::MANAGER;
use crate::authority::Issued;
use crate::context::Context;
use crate::error::{Doing, ReconcileError};

/// A Secret, which may be written and not read, is written again after this time: shorter than the
/// time after which one looks at a cluster that is well. The API server stores no write that
/// changes nothing.
const BLIND: Duration = Duration::from_secs(20);

/// The image of the nodes; see [`desired::image`].
pub async fn image(cluster: &QueueCluster, context: &Context) -> Result<String, ReconcileError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let api: Api<StatefulSet> = Api::namespaced(context.client.clone(), &namespace);
    let live = api.get_opt(&cluster.name_any()).await;
    let live = live.doing(|| "read the StatefulSet".to_owned())?;
    let default = &context.config.node_image;
    Ok(desired::image(cluster, live.as_ref(), default))
}

/// How old the last write of a Secret may be: a pod that is restarted finds it there.
fn stale(step: &Step) -> Duration {
    match step.action {
        Action::Restart { .. } => Duration::ZERO,
        _ => BLIND,
    }
}

/// Applies everything, before the step is taken; what is unchanged costs no write.
pub async fn apply(
    cluster: &QueueCluster,
    cluster_id: &str,
    (around, issued): (&Surroundings, &Issued),
    step: &Step,
    context: &Context,
) -> Result<(), ReconcileError> {
    let names = names(cluster);
    let namespace = names.namespace.as_str();
    let client = &context.client;
    let applier = &context.applier;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for secret in [
        tls_secret(cluster, &issued.node, &issued.client),
        admin_secret(cluster, &issued.admin),
    ] {
        applier
            .apply_blind(&secrets, &names.tls_manager(), (&secret, stale(step)))
            .await?;
    }
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let binding = token_review_binding(cluster, &context.config.token_review_role);
    applier.apply(&bindings, MANAGER, &binding).await?;
    let objects = desired(cluster, cluster_id, around);
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    applier
        .apply(&accounts, MANAGER, &objects.service_account)
        .await?;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    applier.apply(&services, MANAGER, &objects.headless).await?;
    applier.apply(&services, MANAGER, &objects.client).await?;
    let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), namespace);
    applier
        .apply(&policies, MANAGER, &objects.network_policy)
        .await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), namespace);
    let budget = &objects.disruption_budget;
    if objects.has_disruption_budget {
        applier.apply(&budgets, MANAGER, budget).await?;
    } else {
        applier.remove(&budgets, MANAGER, budget).await?;
    }
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    applier.apply(&sets, MANAGER, &objects.statefulset).await?;
    authorities(cluster, &issued.client.ca, context).await
}

/// The CA that clients trust, in every namespace that may use the cluster, and in no other.
async fn authorities(
    cluster: &QueueCluster,
    ca: &str,
    context: &Context,
) -> Result<(), ReconcileError> {
    let own = cluster.namespace().unwrap_or_default();
    let allowed = allowed(cluster, &own, context).await?;
    for namespace in &allowed {
        let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
        let map = ca_config_map(cluster, namespace, ca);
        match context.applier.apply(&maps, MANAGER, &map).await {
            // Another namespace does not hold up the cluster. The first CA of a name stays there,
            // or two clusters would write in turns; clients get this one's from its own namespace.
            Err(error) if *namespace != own && is_local(&error) => {
                tracing::debug!(%namespace, %error, "the CA is not there");
            }
            done => done?,
        }
    }
    for namespace in authority_namespaces(cluster, context).await? {
        if namespace != own && !allowed.contains(&namespace) {
            match remove_authority(cluster, &namespace, context).await {
                Err(error) if is_local(&error) => {
                    tracing::debug!(%namespace, %error, "the CA stays there");
                }
                done => done?,
            }
        }
    }
    Ok(())
}

/// The namespaces with the cluster's CA.
pub async fn authority_namespaces(
    cluster: &QueueCluster,
    context: &Context,
) -> Result<Vec<String>, ReconcileError> {
    let names = names(cluster);
    let selector = format!(
        "{},{CLUSTER_NAMESPACE}={}",
        names.selector_text(),
        names.namespace
    );
    let maps: Api<ConfigMap> = Api::all(context.client.clone());
    let params = ListParams::default().labels(&selector);
    let found = maps.list_metadata(&params).await;
    let found = found.doing(|| "list ConfigMaps with the CA".to_owned())?;
    Ok(found
        .items
        .iter()
        .filter_map(ResourceExt::namespace)
        .collect())
}

/// Takes the cluster's CA away from a namespace.
pub async fn remove_authority(
    cluster: &QueueCluster,
    namespace: &str,
    context: &Context,
) -> Result<(), ReconcileError> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let map = ca_config_map(cluster, namespace, "");
    context.applier.remove(&maps, MANAGER, &map).await
}

fn is_local(error: &ReconcileError) -> bool {
    error.refusal().is_some() || matches!(error, ReconcileError::Leaving { .. })
}

async fn allowed(
    cluster: &QueueCluster,
    own: &str,
    context: &Context,
) -> Result<Vec<String>, ReconcileError> {
    if cluster.spec.queue_namespaces.from == NamespacesFrom::Same {
        return Ok(vec![own.to_owned()]);
    }
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let list = namespaces.list(&ListParams::default()).await;
    let list = list.doing(|| "list namespaces".to_owned())?;
    let usable = list.items.iter().filter(|namespace| {
        let terminating = namespace.metadata.deletion_timestamp.is_some();
        !terminating && allows(cluster, &namespace.name_any(), namespace.labels())
    });
    Ok(usable.map(ResourceExt::name_any).collect())
}

#[cfg(test)]
mod tests {
    use super::super::CALM;
    use super::*;

    #[test]
    fn secrets_are_there_before_a_restart_and_soon_otherwise() {
        let restart = Action::Restart {
            node: None,
            uid: "u".into(),
        };
        assert_eq!(stale(&Step::new(restart, "main-0", "")), Duration::ZERO);
        assert!(stale(&Step::done()) < CALM * 9 / 10, "each look writes");
    }
}
