//! From a Queue object to a queue, and back into its status.
mod ensure;
mod pace;
mod remove;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use roadstead_crds::{Queue, QueueCluster, QueueStatus};
use roadstead_operator_core::admission::allows;
use roadstead_operator_core::conditions::{Finding, is_true, merge};
use roadstead_operator_core::dead_letter::cycle;
use roadstead_operator_core::overflow::overflowing;
use roadstead_operator_core::queue::{precedes, queue_name};
use roadstead_operator_core::sample::{sample, worth_writing};
use roadstead_proto::v1;

pub use pace::Pace;

use crate::apply::write_status;
use crate::backoff::jitter;
use crate::context::Context;
use crate::error::{Doing, ReconcileError, is_conflict};
use crate::nodes::Link;
use ensure::Outcome;

/// Field manager of the status of queues.
pub const MANAGER: &str = "roadstead-queue";
const FINALIZER: &str = "roadstead.dev/queue";
const CALM: Duration = Duration::from_secs(30);
const WAITING: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(200);
/// Objects of one `kubectl apply` come within this.
const SAME_APPLY: SignedDuration = SignedDuration::from_secs(10);

/// What the controller of queues needs.
pub struct Queues {
    /// What every controller needs.
    pub context: Arc<Context>,
    /// Clusters as they were last seen.
    pub clusters: Store<QueueCluster>,
    /// Queues as they were last seen.
    pub queues: Store<Queue>,
    /// Bounds the writes of samples.
    pub pace: Pace,
}

impl Queues {
    /// The cluster that a queue names, where it exists.
    fn cluster(&self, queue: &Queue) -> Option<Arc<QueueCluster>> {
        let (namespace, name) = cluster_key(queue);
        self.clusters.get(&ObjectRef::new(&name).within(&namespace))
    }

    /// The queue name of another Queue object of the same namespace and cluster.
    fn resolve(&self, queue: &Queue, name: &str) -> Option<String> {
        let namespace = queue.namespace()?;
        let other = self.queues.get(&ObjectRef::new(name).within(&namespace))?;
        (cluster_key(&other) == cluster_key(queue)).then(|| queue_name(&other))
    }

    /// What is wrong with it and the object of its dead-letter queue, where they name each other.
    fn cycle(&self, queue: &Queue) -> Option<String> {
        let letters = queue.spec.dead_letter.as_ref()?;
        let namespace = queue.namespace()?;
        let other = ObjectRef::new(&letters.queue_ref.name).within(&namespace);
        cycle(queue, self.queues.get(&other)?.as_ref())
    }

    /// Whether the object of its dead-letter queue has made no queue yet, or comes with this one.
    fn awaits_dead_letter(&self, queue: &Queue, now: Timestamp) -> bool {
        let Some(letters) = &queue.spec.dead_letter else {
            return false;
        };
        let namespace = queue.namespace().unwrap_or_default();
        let other = ObjectRef::new(&letters.queue_ref.name).within(&namespace);
        if let Some(other) = self.queues.get(&other) {
            let status = other.status.as_ref();
            return status.is_none_or(|status| status.queue_id.is_none());
        }
        let made = queue.metadata.creation_timestamp.as_ref();
        made.is_some_and(|made| now.duration_since(made.0) < SAME_APPLY)
    }

    /// Another object of the namespace that stands for the same queue of the same cluster.
    fn rival(&self, queue: &Queue) -> Option<String> {
        let same = |other: &Queue| {
            other.namespace() == queue.namespace()
                && other.name_any() != queue.name_any()
                && queue_name(other) == queue_name(queue)
                && cluster_key(other) == cluster_key(queue)
                && precedes(other, queue)
        };
        self.queues.find(same).map(|other| other.name_any())
    }

    /// Another object of the namespace that names this one for its dead letters.
    fn feeder(&self, queue: &Queue) -> Option<String> {
        let feeds = |other: &Queue| {
            let letters = other.spec.dead_letter.as_ref();
            other.namespace() == queue.namespace()
                && letters.is_some_and(|to| to.queue_ref.name == queue.name_any())
        };
        self.queues.find(feeds).map(|other| other.name_any())
    }
}

/// Namespace and name of the cluster that a queue names.
pub fn cluster_key(queue: &Queue) -> (String, String) {
    let reference = &queue.spec.cluster_ref;
    let own = || queue.namespace().unwrap_or_default();
    (
        reference.namespace.clone().unwrap_or_else(own),
        reference.name.clone(),
    )
}

/// Brings a queue to its specification and its counts into the status.
///
/// # Errors
/// When the API server or a node refuses; then it is tried again later.
pub async fn reconcile(queue: Arc<Queue>, queues: Arc<Queues>) -> Result<Action, ReconcileError> {
    let namespace = queue.namespace().unwrap_or_default();
    let api: Api<Queue> = Api::namespaced(queues.context.client.clone(), &namespace);
    let work = finalizer(&api, FINALIZER, queue.clone(), |event| async {
        match event {
            Event::Apply(queue) => advance(&api, &queue, &queues).await,
            Event::Cleanup(queue) => remove::clean_up(&queue, &queues).await,
        }
    });
    let work = Box::pin(async { Ok(work.await?) });
    queues.context.run("queue", queue.as_ref(), work).await
}

/// What was found out about a queue.
struct Found {
    findings: Vec<Finding>,
    queue: Option<v1::Queue>,
    stats: Option<v1::QueueStats>,
    again: Duration,
}

impl Found {
    fn refused(reason: &'static str, message: String, again: Duration) -> Self {
        let ready = Finding::new("Ready", false, reason, message.clone());
        let accepted = Finding::new("Accepted", false, reason, message);
        Self {
            findings: vec![accepted, ready],
            queue: None,
            stats: None,
            again,
        }
    }

    fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        let findings = vec![Finding::new("Ready", false, reason, message)];
        Self {
            findings,
            queue: None,
            stats: None,
            again: WAITING,
        }
    }
}

async fn advance(
    api: &Api<Queue>,
    queue: &Queue,
    queues: &Queues,
) -> Result<Action, ReconcileError> {
    let found = find(queue, queues).await?;
    let now = Timestamp::now();
    let before = queue.status.clone().unwrap_or_default();
    let mut wanted = QueueStatus {
        observed_generation: queue.metadata.generation,
        queue_id: found
            .queue
            .as_ref()
            .map(|q| q.id.to_string())
            .or(before.queue_id.clone()),
        sample: before.sample.clone(),
        conditions: merge(
            &before.conditions,
            &found.findings,
            queue.metadata.generation,
            now,
        ),
    };
    if let Some(stats) = &found.stats {
        let new = sample(stats, now);
        let other_write = wanted != before;
        // Counts without those of a partition that does not answer would say that it is empty.
        let is_whole = stats.partitions_unavailable == 0;
        if is_whole
            && worth_writing(before.sample.as_ref(), &new)
            && (other_write || queues.pace.may(now))
        {
            wanted.sample = Some(new);
        }
    }
    let was_ready = is_true(&before.conditions, "Ready");
    let again = match write_status(api, MANAGER, queue, (queue.status.as_ref(), &wanted)).await {
        Ok(_) => jitter(found.again),
        Err(error) if is_conflict(&error) => return Ok(Action::requeue(SOON)),
        Err(error) => return Err(error).doing(|| "write the status of the queue".to_owned()),
    };
    tell(queue, queues, (was_ready, &wanted)).await;
    Ok(Action::requeue(again))
}

/// An event when the queue got ready, or stopped being accepted.
async fn tell(queue: &Queue, queues: &Queues, (was_ready, status): (bool, &QueueStatus)) {
    let ready = is_true(&status.conditions, "Ready");
    let accepted = status.conditions.iter().find(|c| c.type_ == "Accepted");
    let object = queue.object_ref(&());
    if ready && !was_ready {
        let note = format!("queue {} can be used", queue_name(queue));
        queues.context.event(&object, false, ("Ready", note)).await;
    } else if let Some(condition) = accepted.filter(|c| c.status == "False") {
        let before = queue.status.iter().flat_map(|status| &status.conditions);
        if !before
            .into_iter()
            .any(|old| old.type_ == "Accepted" && old.status == "False")
        {
            let note = condition.message.clone();
            queues
                .context
                .event(&object, true, ("NotAccepted", note))
                .await;
        }
    }
}

async fn find(queue: &Queue, queues: &Queues) -> Result<Found, ReconcileError> {
    let (namespace, name) = cluster_key(queue);
    let Some(cluster) = queues.cluster(queue) else {
        let message = format!("there is no QueueCluster {namespace}/{name}: see spec.clusterRef");
        return Ok(Found::refused("ClusterMissing", message, WAITING * 5));
    };
    let own = queue.namespace().unwrap_or_default();
    if !allowed(&cluster, &own, queues).await? {
        let message = format!(
            "QueueCluster {namespace}/{name} lets no queues of namespace {own} in: see its \
             spec.queueNamespaces"
        );
        return Ok(Found::refused("NamespaceNotAllowed", message, WAITING * 5));
    }
    if let Some(rival) = queues.rival(queue) {
        let message = format!(
            "Queue {rival} stands for {} already: choose another spec.queueName in a new object",
            queue_name(queue)
        );
        return Ok(Found::refused("NameConflict", message, CALM));
    }
    let link = queues
        .context
        .links
        .link(&(namespace.clone(), name.clone()));
    if let Some(link) = link {
        return ask(queue, queues, &link).await;
    }
    let message = format!("QueueCluster {namespace}/{name} has no node that answers yet");
    Ok(Found::waiting("ClusterNotReady", message))
}

async fn allowed(
    cluster: &QueueCluster,
    namespace: &str,
    queues: &Queues,
) -> Result<bool, ReconcileError> {
    if allows(cluster, namespace, &std::collections::BTreeMap::new()) {
        return Ok(true);
    }
    if cluster.spec.queue_namespaces.selector.is_none() {
        return Ok(false);
    }
    let namespaces: Api<Namespace> = Api::all(queues.context.client.clone());
    let found = namespaces.get_metadata_opt(namespace).await;
    let found = found.doing(|| format!("read namespace {namespace}"))?;
    Ok(found.is_some_and(|found| allows(cluster, namespace, found.labels())))
}

async fn ask(queue: &Queue, queues: &Queues, link: &Link) -> Result<Found, ReconcileError> {
    let dead_letter = queue.spec.dead_letter.as_ref();
    let dead_letter = dead_letter.and_then(|d| queues.resolve(queue, &d.queue_ref.name));
    match ensure::ensure(queue, dead_letter, link).await? {
        Outcome::Refused { reason, message } => Ok(refused(queue, queues, (reason, message))),
        Outcome::There(there) => {
            let request = v1::GetQueueStatsRequest {
                queue: there.queue.clone(),
                ..v1::GetQueueStatsRequest::default()
            };
            let stats = link.ask(|node| {
                let request = request.clone();
                async move { node.queues().get_queue_stats(request).await }
            });
            let stats = stats
                .await
                .doing(|| "read the counts of the queue".to_owned())?
                .stats;
            let accepted = Finding::new("Accepted", true, "Accepted", "the queue is as specified");
            let (ready, again) = ready(stats.as_ref());
            let spec = there.spec.clone().unwrap_or_default();
            let before = queue.status.as_ref().map(|status| &status.conditions[..]);
            let before = before.unwrap_or_default();
            let overflow = stats
                .as_ref()
                .map(|stats| overflowing(&spec, stats, before));
            let findings = [accepted, ready].into_iter().chain(overflow);
            Ok(Found {
                findings: findings.collect(),
                queue: Some(*there),
                stats,
                again,
            })
        }
    }
}

/// A queue whose dead-letter queue is still to come waits for it.
fn refused(queue: &Queue, queues: &Queues, (reason, message): (&'static str, String)) -> Found {
    if is_about_dead_letter(&message) {
        if let Some(cycle) = queues.cycle(queue) {
            return Found::refused("DeadLetterCycle", cycle, WAITING * 5);
        }
        if queues.awaits_dead_letter(queue, Timestamp::now()) {
            return Found::waiting("DeadLetterQueueMissing", message);
        }
    }
    Found::refused(reason, message, CALM)
}

fn is_about_dead_letter(message: &str) -> bool {
    message.contains("dead-letter") || message.contains("deadLetter")
}

fn ready(stats: Option<&v1::QueueStats>) -> (Finding, Duration) {
    let missing = stats.map_or(0, |stats| stats.partitions_unavailable);
    if missing > 0 {
        let message = format!("{missing} partitions have no leader that answers");
        (
            Finding::new("Ready", false, "PartitionsUnavailable", message),
            WAITING,
        )
    } else {
        (
            Finding::new("Ready", true, "Serving", "every partition is served"),
            CALM,
        )
    }
}
