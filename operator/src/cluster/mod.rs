//! From a `QueueCluster` to a cluster: observe → validate → desired → apply → one step → status.
mod finalize;
mod identity;
mod objects;
mod observe;
mod quotas;
mod step;
pub mod sweep;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::{Api, Resource, ResourceExt};
use roadstead_crds::{QueueCluster, QueueClusterStatus, Reconciliation};
use roadstead_operator_core::conditions::{merge, stuck};
use roadstead_operator_core::names::NEW_AUTHORITY;
use roadstead_operator_core::observed::Observed;
use roadstead_operator_core::plan::{Action as Todo, Step, plan};
use roadstead_operator_core::{desired, members, status, validate};
use tracing::info;

use crate::apply::write_status;
use crate::backoff::jitter;
use crate::context::Context;
use crate::error::{Doing, ReconcileError, is_conflict};

/// Field manager of everything that this controller applies.
pub const MANAGER: &str = "roadstead-cluster";
const FINALIZER: &str = "roadstead.dev/cluster";
/// Where all is well, one looks again after this time: a tenth more is less than 30 s.
const CALM: Duration = Duration::from_secs(27);
const WAITING: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(200);

/// Brings a cluster one step nearer to its specification.
///
/// # Errors
/// When the API server or a node refuses; then it is tried again later.
pub async fn reconcile(
    cluster: Arc<QueueCluster>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let api: Api<QueueCluster> = Api::namespaced(context.client.clone(), &namespace);
    let work = finalizer(&api, FINALIZER, cluster.clone(), |event| async {
        match event {
            Event::Apply(cluster) => advance(&api, &cluster, &context).await,
            Event::Cleanup(cluster) => finalize::clean_up(&cluster, &context).await,
        }
    });
    let work = Box::pin(async { Ok(work.await?) });
    context.run("queuecluster", cluster.as_ref(), work).await
}

async fn advance(
    api: &Api<QueueCluster>,
    cluster: &QueueCluster,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let now = Timestamp::now();
    let violations = validate::cluster(&cluster.spec);
    if !violations.is_empty() {
        let message = violations
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        return refuse(api, cluster, ("InvalidSpecification", &message), now).await;
    }
    let chosen = cluster
        .status
        .as_ref()
        .and_then(|status| status.cluster_id.clone());
    let Some(cluster_id) = chosen else {
        return identity::choose(api, cluster, context).await;
    };
    let names = desired::names(cluster);
    let may_make = may_make_authority(cluster);
    let issued = context
        .authorities
        .ensure(&names, &cluster_id, may_make, now)
        .await?;
    let image = objects::image(cluster, context).await?;
    let Some(mut goal) = validate::goal(cluster, &image) else {
        return Ok(Action::requeue(WAITING));
    };
    goal.controls = context.config.controls;
    let seen = observe::observe(cluster, &goal, &issued, context).await?;
    let active = cluster.spec.reconciliation == Reconciliation::Active;
    let step = if active { plan(&goal, &seen) } else { paused() };
    if active {
        let around = desired::Surroundings {
            operator_namespace: context.config.namespace.clone(),
            image,
            replicas: members::statefulset_replicas(&goal, &seen),
        };
        objects::apply(cluster, &cluster_id, (&around, &issued), &step, context).await?;
    }
    let mut wanted = status::cluster(cluster, &goal, &seen, &step, now);
    step::record(&step, &mut wanted);
    if !write(api, cluster, &wanted).await? {
        return Ok(Action::requeue(SOON));
    }
    // What hinders the one does not hinder the other.
    let followed = if active {
        quotas::follow(cluster, &seen, context).await
    } else {
        Ok(())
    };
    let next = carry_out(cluster, (&step, &seen), context).await?;
    followed.map(|()| next)
}

/// Nodes that were founded know their CA by now: another one would cut off every client.
fn may_make_authority(cluster: &QueueCluster) -> bool {
    let status = cluster.status.as_ref();
    let bootstrap = status.and_then(|status| status.bootstrap.as_ref());
    let founded = bootstrap.is_some_and(|bootstrap| bootstrap.done);
    let asked = cluster.annotations().get(NEW_AUTHORITY);
    !founded || asked.is_some_and(|value| value == "true")
}

fn paused() -> Step {
    Step::wait(
        "",
        "spec.reconciliation is Paused",
        "spec.reconciliation to be Active",
    )
}

async fn carry_out(
    cluster: &QueueCluster,
    (step, seen): (&Step, &Observed),
    context: &Context,
) -> Result<Action, ReconcileError> {
    match step.action {
        Todo::Done => Ok(Action::requeue(jitter(CALM))),
        Todo::Wait => Ok(Action::requeue(jitter(WAITING))),
        Todo::RecordFounders(_) | Todo::RecordFounded => Ok(Action::requeue(SOON)),
        _ => {
            info!(
                cluster = cluster.name_any(),
                step = step.name(),
                target = step.target,
                reason = step.reason,
                "takes a step"
            );
            step::carry_out(cluster, (step, seen), context).await?;
            let note = format!("{} {}: {}", step.name(), step.target, step.reason);
            context
                .event(&cluster.object_ref(&()), false, (step.name(), note))
                .await;
            Ok(Action::requeue(SOON))
        }
    }
}

/// Writes the status; `false` when the object has changed meanwhile.
async fn write(
    api: &Api<QueueCluster>,
    cluster: &QueueCluster,
    wanted: &QueueClusterStatus,
) -> Result<bool, ReconcileError> {
    match write_status(api, MANAGER, cluster, (cluster.status.as_ref(), wanted)).await {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error).doing(|| "write the status of the cluster".to_owned()),
    }
}

async fn refuse(
    api: &Api<QueueCluster>,
    cluster: &QueueCluster,
    (reason, message): (&'static str, &str),
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let mut status = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let findings = stuck(&status.conditions, reason, message);
    status.conditions = merge(&status.conditions, &findings, generation, now);
    status.observed_generation = generation;
    write(api, cluster, &status).await?;
    Ok(Action::requeue(jitter(CALM * 10)))
}
