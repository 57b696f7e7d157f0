//! Consumers that follow the backlog.
mod loads;
mod scale;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use roadstead_crds::{
    ConsumerScaler, ConsumerScalerStatus, DecisionStatus, LimitedBy, OnDelete, Queue, ScalerMode,
    SourceStatus,
};
use roadstead_operator_core::conditions::{Finding, is_true, merge};
use roadstead_operator_core::queue::queue_name;
use roadstead_operator_core::scale::{
    Decision, Memory, Millis, Policy, Snapshot, SourceKey, SourceLoad, active, decide, rival,
};
use tracing::info;

use crate::apply::write_status;
use crate::context::Context;
use crate::error::{Doing, ReconcileError, is_conflict};
use crate::queue::cluster_key;
pub use loads::Loads;
pub use scale::Targets;
pub use watch::{Listener, watch_all};

/// Field manager of the status of scalers.
pub const MANAGER: &str = "roadstead-scaler-status";
const FINALIZER: &str = "roadstead.dev/scaler";
const SOON: Duration = Duration::from_millis(200);
/// A decision is made at least this often: stale data has to show.
const CALM: Duration = Duration::from_secs(5);

/// What the controller of scalers needs.
pub struct Scalers {
    /// What every controller needs.
    pub context: Arc<Context>,
    /// Queues as they were last seen.
    pub queues: Store<Queue>,
    /// Scalers as they were last seen.
    pub scalers: Store<ConsumerScaler>,
    /// What the nodes said.
    pub loads: Arc<Loads>,
    /// What can be scaled.
    pub targets: Targets,
    /// What one decision hands to the next, by the scaler's uid.
    memories: Mutex<BTreeMap<String, Memory>>,
}

impl Scalers {
    /// For an operator that leads.
    pub fn new(
        context: Arc<Context>,
        (queues, scalers): (Store<Queue>, Store<ConsumerScaler>),
        loads: Arc<Loads>,
    ) -> Self {
        let targets = Targets::new(context.client.clone());
        Self {
            context,
            queues,
            scalers,
            loads,
            targets,
            memories: Mutex::default(),
        }
    }

    fn sources(&self, scaler: &ConsumerScaler) -> Vec<(SourceStatus, SourceLoad)> {
        let namespace = scaler.namespace().unwrap_or_default();
        let source = |source: &roadstead_crds::Source| {
            let object = ObjectRef::new(&source.queue).within(&namespace);
            let load = self.queues.get(&object).and_then(|queue| {
                let id = self.context.links.cluster_id(&cluster_key(&queue))?;
                let key = SourceKey {
                    namespace: namespace.clone(),
                    queue: queue_name(&queue),
                    group: source.group.clone(),
                };
                let partitions = u32::try_from(queue.spec.partitions).unwrap_or(1);
                Some(self.loads.source(&id, &key, partitions))
            });
            let load = load.unwrap_or_default();
            let status = SourceStatus {
                queue: source.queue.clone(),
                group: source.group.clone(),
                lag: i64::try_from(load.lag).unwrap_or(i64::MAX),
            };
            (status, load)
        };
        scaler.spec.sources.iter().map(source).collect()
    }

    /// The scaler that has the target of this one.
    fn rival(&self, scaler: &ConsumerScaler) -> Option<String> {
        let all = self.scalers.state();
        rival(scaler, all.iter().map(AsRef::as_ref))
    }

    fn memory(&self, uid: &str, current: u32, now: Millis) -> Memory {
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        // After a start the present size counts as just wanted: nothing shrinks in haste.
        let fresh = || Memory {
            wanted: [(now, current)].into(),
            idle_since: None,
        };
        memories.get(uid).cloned().unwrap_or_else(fresh)
    }

    fn remember(&self, uid: &str, memory: Option<Memory>) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        match memory {
            Some(memory) => memories.insert(uid.to_owned(), memory),
            None => memories.remove(uid),
        };
    }
}

/// Decides how many consumers there shall be, and sees to it.
///
/// # Errors
/// When the API server refuses; then it is tried again later.
pub async fn reconcile(
    scaler: Arc<ConsumerScaler>,
    scalers: Arc<Scalers>,
) -> Result<Action, ReconcileError> {
    let namespace = scaler.namespace().unwrap_or_default();
    let api: Api<ConsumerScaler> = Api::namespaced(scalers.context.client.clone(), &namespace);
    let work = async {
        let owes = scaler.finalizers().iter().any(|name| name == FINALIZER);
        if scaler.spec.on_delete == OnDelete::Leave && !owes {
            if scaler.metadata.deletion_timestamp.is_some() {
                return Ok(Action::await_change());
            }
            return advance(&api, &scaler, &scalers).await;
        }
        let done = finalizer(&api, FINALIZER, scaler.clone(), |event| async {
            match event {
                Event::Apply(scaler) => advance(&api, &scaler, &scalers).await,
                Event::Cleanup(scaler) => restore(&scaler, &scalers).await,
            }
        });
        Ok(done.await?)
    };
    scalers
        .context
        .run("consumerscaler", scaler.as_ref(), work)
        .await
}

async fn restore(scaler: &ConsumerScaler, scalers: &Scalers) -> Result<Action, ReconcileError> {
    scalers.remember(&scaler.uid().unwrap_or_default(), None);
    let original = scaler
        .status
        .as_ref()
        .and_then(|status| status.original_replicas);
    if let Some(replicas) = original
        && scalers.rival(scaler).is_none()
        && scaler.spec.on_delete == OnDelete::RestoreOriginal
        && scalers.targets.current(scaler).await?.is_some()
    {
        scalers
            .targets
            .scale(scaler, u32::try_from(replicas).unwrap_or(0))
            .await?;
    }
    Ok(Action::await_change())
}

async fn advance(
    api: &Api<ConsumerScaler>,
    scaler: &ConsumerScaler,
    scalers: &Scalers,
) -> Result<Action, ReconcileError> {
    let uid = scaler.uid().unwrap_or_default();
    let target = &scaler.spec.scale_target_ref;
    if let Some(rival) = scalers.rival(scaler) {
        scalers.remember(&uid, None);
        return yield_to(api, scaler, (&rival, scalers)).await;
    }
    let Some(current) = scalers.targets.current(scaler).await? else {
        let message = format!(
            "there is no {} {} with /scale here",
            target.kind, target.name
        );
        let finding = Finding::new("Ready", false, "TargetMissing", message);
        let status = scaler.status.clone().unwrap_or_default();
        return finish(api, scaler, (status, vec![finding]), CALM).await;
    };
    let now = scalers.loads.now();
    let policy = Policy::new(&scaler.spec);
    let (sources, loads): (Vec<_>, Vec<_>) = scalers.sources(scaler).into_iter().unzip();
    let snapshot = Snapshot {
        sources: loads,
        current,
    };
    let memory = scalers.memory(&uid, current, now);
    let decision = decide(&snapshot, &memory, &policy, now);
    let acts = scaler.spec.mode == ScalerMode::Active && decision.replicas != current;
    if acts {
        scalers.targets.scale(scaler, decision.replicas).await?;
        scalers.context.metrics.scalings.inc();
        let name = scaler.name_any();
        info!(
            scaler = name,
            from = current,
            to = decision.replicas,
            reason = decision.reason,
            "scales"
        );
        let note = format!(
            "{current} to {} replicas: {}",
            decision.replicas, decision.reason
        );
        scalers
            .context
            .event(&scaler.object_ref(&()), false, ("Scaled", note))
            .await;
    }
    scalers.remember(&uid, Some(decision.memory.clone()));
    let again = match decision.next_check {
        Some(at) => Duration::from_millis(at.saturating_sub(now)).clamp(SOON, CALM),
        None => CALM,
    };
    let status = describe(scaler, &decision, (current, acts), sources);
    let replicas = if acts { decision.replicas } else { current };
    let findings = findings(scaler, &decision, (replicas, &snapshot.sources));
    finish(api, scaler, (status, findings), again).await
}

/// Leaves the target to the scaler that has it, and says so.
async fn yield_to(
    api: &Api<ConsumerScaler>,
    scaler: &ConsumerScaler,
    (rival, scalers): (&str, &Scalers),
) -> Result<Action, ReconcileError> {
    let target = &scaler.spec.scale_target_ref;
    let message = format!(
        "ConsumerScaler {rival} has {} {}: name the sources of both in one of them, and delete the \
         other",
        target.kind, target.name
    );
    let status = scaler.status.clone().unwrap_or_default();
    if !is_true(&status.conditions, "Conflict") {
        let what = ("Conflict", message.clone());
        let object = scaler.object_ref(&());
        scalers.context.event(&object, true, what).await;
    }
    let findings = vec![
        Finding::new("Conflict", true, "TargetTaken", message.clone()),
        Finding::new("Ready", false, "Conflict", message),
    ];
    finish(api, scaler, (status, findings), CALM).await
}

/// The status that follows. Lags are those of the last change of size: live ones are metrics.
fn describe(
    scaler: &ConsumerScaler,
    decision: &Decision,
    (current, acts): (u32, bool),
    sources: Vec<SourceStatus>,
) -> ConsumerScalerStatus {
    let before = scaler.status.clone().unwrap_or_default();
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let desired = Some(number(decision.replicas));
    let changed = before.desired_replicas != desired || before.sources.len() != sources.len();
    let mut decisions = before.decisions;
    if acts {
        decisions.insert(
            0,
            DecisionStatus {
                at: Time(Timestamp::now()),
                from: number(current),
                to: number(decision.replicas),
                reason: decision.reason.chars().take(256).collect(),
            },
        );
        decisions.truncate(8);
    }
    ConsumerScalerStatus {
        observed_generation: scaler.metadata.generation,
        desired_replicas: desired,
        current_replicas: Some(number(if acts { decision.replicas } else { current })),
        original_replicas: before.original_replicas.or(Some(number(current))),
        limited_by: Some(decision.limited_by),
        sources: if changed { sources } else { before.sources },
        decisions,
        conditions: before.conditions,
    }
}

/// `replicas`: what the target asks for now.
fn findings(
    scaler: &ConsumerScaler,
    decision: &Decision,
    (replicas, loads): (u32, &[SourceLoad]),
) -> Vec<Finding> {
    let stale = decision.limited_by == LimitedBy::StaleData;
    let ready = match scaler.spec.mode {
        ScalerMode::Paused => Finding::new("Ready", false, "Paused", "spec.mode is Paused"),
        ScalerMode::DryRun => Finding::new(
            "Ready",
            true,
            "DryRun",
            "decides and does nothing: spec.mode is DryRun",
        ),
        ScalerMode::Active if stale => {
            let message = format!("the target stays as it is: {}", decision.reason);
            Finding::new("Ready", false, "BacklogUnknown", message)
        }
        ScalerMode::Active => Finding::new("Ready", true, "Scaling", "follows the backlog"),
    };
    let active = active(replicas, loads, stale);
    let stale = if stale {
        let message = "the backlog is not known: are the queues Ready, and their cluster?";
        Finding::new("Stale", true, "NoFreshData", message)
    } else {
        Finding::new("Stale", false, "Fresh", "the backlog is known")
    };
    let limited = match decision.limited_by {
        LimitedBy::MaxReplicas => Finding::new(
            "Limited",
            true,
            "MaxReplicas",
            "the backlog wants more than maxReplicas",
        ),
        LimitedBy::None
        | LimitedBy::MinReplicas
        | LimitedBy::Stabilization
        | LimitedBy::ToZeroAfter
        | LimitedBy::StaleData => Finding::new(
            "Limited",
            false,
            "WithinBounds",
            "maxReplicas does not bound it",
        ),
    };
    let conflict = Finding::new(
        "Conflict",
        false,
        "OnlyScaler",
        "no other ConsumerScaler has the target",
    );
    vec![ready, stale, active, limited, conflict]
}

async fn finish(
    api: &Api<ConsumerScaler>,
    scaler: &ConsumerScaler,
    (mut status, findings): (ConsumerScalerStatus, Vec<Finding>),
    again: Duration,
) -> Result<Action, ReconcileError> {
    let generation = scaler.metadata.generation;
    status.conditions = merge(&status.conditions, &findings, generation, Timestamp::now());
    match write_status(api, MANAGER, scaler, (scaler.status.as_ref(), &status)).await {
        Ok(_) => Ok(Action::requeue(again)),
        Err(error) if is_conflict(&error) => Ok(Action::requeue(SOON)),
        Err(error) => Err(error).doing(|| "write the status of the scaler".to_owned()),
    }
}
