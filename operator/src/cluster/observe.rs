//! Looking at a cluster: its StatefulSet, its pods, and what the nodes in them say.
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use roadstead_crds::QueueCluster;
use roadstead_operator_core::account::is_former;
use roadstead_operator_core::names::REVISION;
use roadstead_operator_core::observed::{ClusterView, NodeView, Observed, PodView};
use roadstead_operator_core::plan::Goal;
use roadstead_operator_core::trouble::trouble;
use roadstead_proto::v1::{
    GetNodeRequest, ListMembersRequest, ListNamespaceQuotasRequest, NamespaceQuota,
};
use tokio::time::timeout;
use tonic::{Response, Status};
use tracing::debug;

use crate::authority::Issued;
use crate::context::Context;
use crate::error::{Doing, ReconcileError};
use crate::nodes::{Link, Node};

const ANSWER: Duration = Duration::from_secs(2);

/// What there is of a cluster.
pub async fn observe(
    cluster: &QueueCluster,
    goal: &Goal,
    issued: &Issued,
    context: &Context,
) -> Result<Observed, ReconcileError> {
    let namespace = goal.names.namespace.as_str();
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), namespace);
    let set = sets.get_opt(&goal.names.cluster).await;
    let set = set.doing(|| "read the StatefulSet".to_owned())?;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let params = ListParams::default().labels(&goal.names.selector_text());
    let listed = pods
        .list(&params)
        .await
        .doing(|| "list the pods".to_owned())?;
    let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), namespace);
    let name = goal.names.service_account();
    let account = accounts.get_metadata_opt(&name).await;
    let account = account.doing(|| "read the ServiceAccount".to_owned())?;
    let account = account.as_ref().map(|account| &account.metadata);
    let mut seen = Observed {
        statefulset_replicas: set.and_then(|set| set.spec).and_then(|spec| spec.replicas),
        ..Observed::default()
    };
    for pod in listed
        .items
        .iter()
        .filter(|pod| goal.names.ordinal(&pod.name_any()).is_some())
    {
        let mut view = view(pod, context.zones.of(pod).await);
        view.former_account = is_former(cluster, &pod.metadata, account);
        seen.pods.insert(pod.name_any(), view);
    }
    let links = connect(&seen.pods, goal, issued, context)?;
    seen.nodes = ask(&links).await;
    let members: Vec<_> = links
        .into_iter()
        .filter(|node| {
            seen.nodes
                .get(&node.pod)
                .is_some_and(|n| n.cluster_id == goal.cluster_id)
        })
        .collect();
    let link = Link {
        cluster_id: goal.cluster_id.clone(),
        nodes: ready_first(members, &seen),
    };
    seen.cluster = describe(&link).await;
    let key = (namespace.to_owned(), goal.names.cluster.clone());
    context.links.publish(&key, link);
    Ok(seen)
}

fn view(pod: &Pod, zone: String) -> PodView {
    let status = pod.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    PodView {
        uid: pod.uid().unwrap_or_default(),
        address: status
            .and_then(|status| status.pod_ip.clone())
            .unwrap_or_default(),
        revision: pod.annotations().get(REVISION).cloned().unwrap_or_default(),
        ready,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        zone,
        former_account: false,
        trouble: trouble(pod),
    }
}

fn connect(
    pods: &BTreeMap<String, PodView>,
    goal: &Goal,
    issued: &Issued,
    context: &Context,
) -> Result<Vec<Node>, ReconcileError> {
    let key = (goal.names.namespace.clone(), goal.names.cluster.clone());
    pods.iter()
        .filter(|(_, pod)| !pod.address.is_empty())
        .map(|(name, pod)| {
            let url = (context.resolve)(name, &pod.address);
            let target = (name.as_str(), url);
            let node = context
                .links
                .node(&key, target, &goal.cluster_id, &issued.operator);
            node.doing(|| format!("connect to {name}"))
        })
        .collect()
}

async fn ask(links: &[Node]) -> BTreeMap<String, NodeView> {
    let asked = links.iter().map(|node| async move {
        let answer = timeout(ANSWER, async {
            node.admin().get_node(GetNodeRequest {}).await
        });
        match answer.await {
            Ok(Ok(answer)) => Some((node.pod.clone(), NodeView::from(answer.into_inner()))),
            Ok(Err(status)) => {
                debug!(pod = node.pod, %status, "does not say what it is");
                None
            }
            Err(_) => None,
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn ready_first(mut members: Vec<Node>, seen: &Observed) -> Vec<Node> {
    members.sort_by_key(|node| !seen.nodes.get(&node.pod).is_some_and(|node| node.ready));
    members
}

async fn describe(link: &Link) -> Option<ClusterView> {
    let asked = link
        .ask(|node| async move { in_time(node.admin().list_members(ListMembersRequest {})).await });
    match asked.await {
        Ok(answer) => Some(ClusterView {
            members: answer.members,
            shards: answer.shards,
            quotas: quotas(link).await,
        }),
        Err(error) => {
            debug!(%error, "the cluster does not say what it is");
            None
        }
    }
}

async fn quotas(link: &Link) -> Option<Vec<NamespaceQuota>> {
    let asked = link.ask(|node| async move {
        let request = ListNamespaceQuotasRequest {};
        in_time(node.admin().list_namespace_quotas(request)).await
    });
    let quotas = asked.await.map(|answer| answer.quotas);
    quotas
        .inspect_err(|error| debug!(%error, "the cluster does not say its quotas"))
        .ok()
}

async fn in_time<T>(
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    let late = |_| Status::unavailable("no answer in time");
    timeout(ANSWER, answer).await.map_err(late)?
}
