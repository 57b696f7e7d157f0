//! Making the quotas of namespaces what the specification says.
use kube::ResourceExt;
use roadstead_crds::QueueCluster;
use roadstead_operator_core::desired::names;
use roadstead_operator_core::observed::Observed;
use roadstead_operator_core::quotas::changes;
use tracing::info;

use crate::context::Context;
use crate::error::{Doing, ReconcileError};

/// Sets what differs and takes away what is gone; asks for nothing where nothing does. Members and
/// pods may be in any state meanwhile: the catalog has a leader, or the cluster had said nothing.
pub async fn follow(
    cluster: &QueueCluster,
    seen: &Observed,
    context: &Context,
) -> Result<(), ReconcileError> {
    let names = names(cluster);
    let link = context.links.link(&(names.namespace, names.cluster));
    let seen = seen.served().and_then(|view| view.quotas.as_ref());
    let (Some(link), Some(seen)) = (link, seen) else {
        return Ok(());
    };
    let mut failed = None;
    for order in changes(&cluster.spec.namespace_quotas, seen, context.fence) {
        let asked = link.ask(|node| {
            let order = order.clone();
            async move { node.admin().set_namespace_quota(order).await }
        });
        let namespace = &order.namespace;
        let doing = || format!("set the quota of namespace {namespace}");
        if let Err(error) = asked.await.doing(doing) {
            // Another one may make room for it.
            failed.get_or_insert(error);
            continue;
        }
        info!(
            cluster = cluster.name_any(),
            namespace,
            quota = ?order.quota,
            "has the quota of a namespace"
        );
    }
    failed.map_or(Ok(()), Err)
}
