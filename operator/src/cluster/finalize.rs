//! What goes with a cluster beside what its owner references take along.
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use roadstead_crds::{QueueCluster, ReclaimPolicy};
use roadstead_operator_core::desired::{names, token_review_binding};
use roadstead_operator_core::names::{ADMIN_SECRET, Names, TLS_FILES, TLS_SECRET};
use serde_json::{Map, Value, json};

use super::MANAGER;
use super::objects::{authority_namespaces, remove_authority};
use crate::context::Context;
use crate::error::{Doing, ReconcileError, is_missing};

/// Removes what lies outside of the cluster's namespace, and its keys from the Secrets that it
/// shares with others there. Volumes and the authority stay, unless the specification says that
/// the data goes too. Nothing here waits for a node.
pub async fn clean_up(cluster: &QueueCluster, context: &Context) -> Result<Action, ReconcileError> {
    let names = names(cluster);
    context
        .links
        .forget(&(names.namespace.clone(), names.cluster.clone()));
    let applier = &context.applier;
    let bindings: Api<ClusterRoleBinding> = Api::all(context.client.clone());
    let binding = token_review_binding(cluster, &context.config.token_review_role);
    applier.remove(&bindings, MANAGER, &binding).await?;
    for namespace in authority_namespaces(cluster, context).await? {
        remove_authority(cluster, &namespace, context).await?;
    }
    let nodes = TLS_FILES.map(|file| [names.node_tls(file), names.client_tls(file)]);
    take_keys(&names, (TLS_SECRET, &nodes.concat()), context).await?;
    let people = TLS_FILES.map(|file| names.admin_tls(file));
    take_keys(&names, (ADMIN_SECRET, &people), context).await?;
    if cluster.spec.storage.reclaim.on_delete == ReclaimPolicy::Delete {
        context.authorities.delete(&names, None).await?;
    }
    Ok(Action::await_change())
}

/// Takes the cluster's keys out of a Secret of the namespace, where that is there. The owner
/// reference stays: with the last owner goes the Secret. (An apply would make a Secret that has
/// gone already anew, which a namespace that is being deleted refuses.)
async fn take_keys(
    names: &Names,
    (secret, keys): (&str, &[String]),
    context: &Context,
) -> Result<(), ReconcileError> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &names.namespace);
    let keys = keys.iter().map(|key| (key.clone(), Value::Null));
    let params = PatchParams {
        field_manager: Some(names.tls_manager()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"data": keys.collect::<Map<_, _>>()}));
    match secrets.patch(secret, &params, &patch).await {
        Err(error) if !is_missing(&error) => {
            Err(error).doing(|| format!("take the certificates out of {secret}"))
        }
        _ => Ok(()),
    }
}
