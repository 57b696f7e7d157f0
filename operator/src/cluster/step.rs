//! Carrying out one step.
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use roadstead_crds::{BootstrapStatus, QueueCluster, QueueClusterStatus};
use roadstead_operator_core::names::{Names, PEER_PORT};
use roadstead_operator_core::observed::Observed;
use roadstead_operator_core::plan::{Action, Step};
use roadstead_proto::v1;

use crate::context::Context;
use crate::error::{Doing, ReconcileError, is_conflict, is_missing};
use crate::nodes::{Link, NodeError};

const HAND_OVER: Duration = Duration::from_secs(10);

/// What a step changes in the status alone.
pub fn record(step: &Step, status: &mut QueueClusterStatus) {
    match &step.action {
        Action::RecordFounders(founders) => {
            status.bootstrap = Some(BootstrapStatus {
                founders: founders.clone(),
                done: false,
            });
        }
        Action::RecordFounded => status.bootstrap.get_or_insert_default().done = true,
        _ => {}
    }
}

/// Carries out a step. Each can be repeated without harm.
pub async fn carry_out(
    cluster: &QueueCluster,
    (step, seen): (&Step, &Observed),
    context: &Context,
) -> Result<(), ReconcileError> {
    context.metrics.steps.get_or_create(&label(step)).inc();
    let names = roadstead_operator_core::desired::names(cluster);
    let fence = context.fence;
    let orders = Orders {
        cluster,
        names: &names,
        context,
    };
    match &step.action {
        Action::Bootstrap => orders.bootstrap(&step.target).await,
        Action::Join(id) => orders.join(*id, &step.target, seen).await,
        Action::Drain(id) | Action::CancelDrain(id) => {
            let drain = matches!(step.action, Action::Drain(_));
            let request = v1::DrainMemberRequest {
                node_id: *id,
                drain,
                fence,
            };
            orders
                .ask(|node| async move { node.admin().drain_member(request).await })
                .await
        }
        Action::Remove(id) => {
            let request = v1::RemoveMemberRequest {
                node_id: *id,
                fence,
            };
            orders
                .ask(|node| async move { node.admin().remove_member(request).await })
                .await
        }
        Action::Restart { node, uid } => orders.restart(*node, &step.target, uid).await,
        Action::Done | Action::Wait | Action::RecordFounders(_) | Action::RecordFounded => Ok(()),
    }
    .map_err(|error| match error {
        ReconcileError::Node { source, .. } => ReconcileError::Node {
            doing: format!("{} {}", step.name(), step.target),
            source,
        },
        other => other,
    })
}

fn label(step: &Step) -> crate::metrics::StepLabel {
    crate::metrics::StepLabel {
        step: step.name().to_owned(),
    }
}

struct Orders<'a> {
    cluster: &'a QueueCluster,
    names: &'a Names,
    context: &'a Context,
}

impl Orders<'_> {
    fn key(&self) -> (String, String) {
        (self.names.namespace.clone(), self.names.cluster.clone())
    }

    async fn ask<T, F>(&self, call: impl Fn(crate::nodes::Node) -> F) -> Result<(), ReconcileError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let link = self.context.links.link(&self.key());
        let asked = match link {
            Some(link) => link.ask(call).await.map(drop),
            None => Err(NodeError::Nobody),
        };
        asked.doing(|| "give an order".to_owned())
    }

    /// The founders stand in the status since before this was planned.
    async fn bootstrap(&self, pod: &str) -> Result<(), ReconcileError> {
        let status = self.cluster.status.clone().unwrap_or_default();
        let founders = status.bootstrap.unwrap_or_default().founders;
        let port = self
            .cluster
            .spec
            .listeners
            .first()
            .map_or(0, |listener| listener.port);
        let request = v1::BootstrapRequest {
            cluster_id: status.cluster_id.clone().unwrap_or_default(),
            founders: founders
                .iter()
                .map(|founder| v1::Founder {
                    node_id: founder.id.parse().unwrap_or(0),
                    name: founder.pod.clone(),
                    peer_address: format!("{}:{PEER_PORT}", self.names.pod_host(&founder.pod)),
                    client_address: format!("{}:{port}", self.names.pod_host(&founder.pod)),
                    zone: founder.zone.clone(),
                })
                .collect(),
            shards: u32::try_from(self.cluster.spec.shards).unwrap_or(1),
            replication_factor: u32::try_from(self.cluster.spec.replication_factor).unwrap_or(1),
        };
        let id = request.cluster_id.clone();
        let node = self.node(pod, &id).await?;
        let link = Link {
            cluster_id: id,
            nodes: vec![node],
        };
        let answer = link.ask(|node| {
            let request = request.clone();
            async move { node.admin().bootstrap(request).await }
        });
        answer
            .await
            .map(drop)
            .doing(|| format!("found the cluster at {pod}"))
    }

    /// A connection to a pod that may not belong to the cluster yet.
    async fn node(&self, pod: &str, id: &str) -> Result<crate::nodes::Node, ReconcileError> {
        let now = jiff::Timestamp::now();
        let issued = self
            .context
            .authorities
            .ensure(self.names, id, false, now)
            .await?;
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.names.namespace);
        let live = pods.get(pod).await.doing(|| format!("read {pod}"))?;
        let address = live
            .status
            .and_then(|status| status.pod_ip)
            .unwrap_or_default();
        let url = (self.context.resolve)(pod, &address);
        let node = self
            .context
            .links
            .node(&self.key(), (pod, url), id, &issued.operator);
        node.doing(|| format!("connect to {pod}"))
    }

    async fn join(&self, id: u64, pod: &str, seen: &Observed) -> Result<(), ReconcileError> {
        let node = seen.nodes.get(pod).cloned().unwrap_or_default();
        let request = v1::AddMemberRequest {
            member: Some(v1::Founder {
                node_id: id,
                name: pod.to_owned(),
                peer_address: node.peer_address,
                client_address: node.client_address,
                zone: seen
                    .pods
                    .get(pod)
                    .map(|pod| pod.zone.clone())
                    .unwrap_or_default(),
            }),
            fence: self.context.fence,
        };
        self.ask(|node| {
            let request = request.clone();
            async move { node.admin().add_member(request).await }
        })
        .await
    }

    /// Moves leaderships away, then deletes exactly this pod.
    async fn restart(&self, node: Option<u64>, pod: &str, uid: &str) -> Result<(), ReconcileError> {
        if let Some(id) = node {
            let request = v1::TransferLeadershipRequest {
                from_node: id,
                shard: None,
                to_node: 0,
                fence: self.context.fence,
                timeout: HAND_OVER.try_into().ok(),
            };
            self.ask(|node| async move { node.admin().transfer_leadership(request).await })
                .await?;
        }
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.names.namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match pods.delete(pod, &params).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) || is_conflict(&error) => Ok(()),
            Err(error) => Err(error).doing(|| format!("delete {pod}")),
        }
    }
}
