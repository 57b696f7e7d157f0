//! Listening to the load of all clusters: one stream per node, kept as long as the node is there.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use roadstead_crds::{ConsumerScaler, Queue};
use roadstead_operator_core::queue::queue_name;
use roadstead_operator_core::scale::SourceKey;
use roadstead_proto::v1::WatchConsumerLoadRequest;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::debug;

use super::Loads;
use crate::backoff::{Backoff, jitter, key};
use crate::nodes::{ClusterKey, Links, Node};
use crate::queue::cluster_key;

const LOOK: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_secs(1);

/// Scalers that have to decide anew.
pub type Wakes = mpsc::Sender<ObjectRef<ConsumerScaler>>;

/// Who reads what the nodes say.
#[derive(Clone)]
pub struct Listener {
    /// What was said.
    pub loads: Arc<Loads>,
    /// Scalers as they were last seen.
    pub scalers: Store<ConsumerScaler>,
    /// Queues as they were last seen.
    pub queues: Store<Queue>,
    /// Scalers that failed: what is said of the load wakes none of them early.
    pub backoff: Arc<Backoff>,
    /// Where to say that a scaler has to decide anew.
    pub wakes: Wakes,
}

/// Listens to every node of every cluster until it is dropped.
pub async fn watch_all(links: Arc<Links>, listener: Listener) {
    let mut streams = Streams::default();
    loop {
        let mut present = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for (cluster, link) in links.all() {
            for node in &link.nodes {
                let key = (link.cluster_id.clone(), node.pod.clone());
                present.insert(key, (cluster.clone(), node.clone()));
            }
            ids.insert(link.cluster_id.clone());
        }
        listener.loads.keep(&ids);
        streams.follow(present, &listener);
        tokio::time::sleep(LOOK).await;
    }
}

/// Id of a cluster, and a pod of it.
type Place = (String, String);

/// The running streams; they end when this is dropped.
#[derive(Default)]
struct Streams {
    running: BTreeMap<Place, AbortHandle>,
}

impl Streams {
    fn follow(&mut self, present: BTreeMap<Place, (ClusterKey, Node)>, listener: &Listener) {
        self.running.retain(|key, stream| {
            let stays = present.contains_key(key) && !stream.is_finished();
            if !stays {
                stream.abort();
            }
            stays
        });
        for (key, (cluster, node)) in present {
            let id = key.0.clone();
            self.running.entry(key).or_insert_with(|| {
                tokio::spawn(listen((cluster, id), node, listener.clone())).abort_handle()
            });
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}

/// Reads one node's frames until the stream ends; then a new one is opened with the node's present
/// address.
async fn listen((cluster, id): (ClusterKey, String), node: Node, listener: Listener) {
    let stream = node
        .admin()
        .watch_consumer_load(WatchConsumerLoadRequest {})
        .await;
    let mut stream = match stream {
        Ok(stream) => stream.into_inner(),
        Err(status) => {
            debug!(pod = node.pod, %status, "does not tell its load");
            tokio::time::sleep(jitter(RETRY)).await;
            return;
        }
    };
    loop {
        match stream.message().await {
            Ok(Some(frame)) => {
                for source in listener.loads.apply(&id, &frame) {
                    wake(&cluster, &source, &listener).await;
                }
            }
            Ok(None) => return,
            Err(status) => {
                debug!(pod = node.pod, %status, "stopped telling its load");
                tokio::time::sleep(jitter(RETRY)).await;
                return;
            }
        }
    }
}

/// Scalers of the namespace that name a Queue object which stands for this source.
async fn wake(cluster: &ClusterKey, source: &SourceKey, listener: &Listener) {
    for scaler in listener.scalers.state() {
        let namespace = scaler.namespace().unwrap_or_default();
        if namespace != source.namespace {
            continue;
        }
        let names = scaler.spec.sources.iter().any(|named| {
            let object = ObjectRef::new(&named.queue).within(&namespace);
            let queue = listener.queues.get(&object);
            named.group == source.group
                && queue.is_some_and(|queue| {
                    queue_name(&queue) == source.queue && cluster_key(&queue) == *cluster
                })
        });
        let rests = || {
            listener
                .backoff
                .rests(&key(scaler.as_ref()), Instant::now())
        };
        if names
            && !rests()
            && listener
                .wakes
                .send(ObjectRef::from_obj(scaler.as_ref()))
                .await
                .is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn load_wakes_a_scaler_unless_it_failed_just_now() {
        let queue = json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "Queue",
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"clusterRef": {"name": "main"}},
        });
        let scaler = json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "ConsumerScaler",
            "metadata": {"name": "worker", "namespace": "shop"},
            "spec": {
                "scaleTargetRef": {"name": "worker"}, "sources": [{"queue": "orders"}],
                "objective": {"messagesPerReplica": 100}, "maxReplicas": 10,
            },
        });
        let scaler: ConsumerScaler = serde_json::from_value(scaler).unwrap();
        let ((queues, mut queue_writer), (scalers, mut scaler_writer)) = (store(), store());
        let queue = serde_json::from_value(queue).unwrap();
        queue_writer.apply_watcher_event(&Event::Apply(queue));
        scaler_writer.apply_watcher_event(&Event::Apply(scaler.clone()));
        let (wakes, mut woken) = mpsc::channel(8);
        let listener = Listener {
            loads: Arc::default(),
            scalers,
            queues,
            backoff: Arc::default(),
            wakes,
        };
        let source = SourceKey {
            namespace: "shop".into(),
            queue: "orders".into(),
            group: "default".into(),
        };
        let cluster = ("shop".to_owned(), "main".to_owned());
        wake(&cluster, &source, &listener).await;
        assert!(woken.try_recv().is_ok());
        let now = Instant::now();
        listener.backoff.failed(&key(&scaler), "no", (1.0, now));
        wake(&cluster, &source, &listener).await;
        assert!(woken.try_recv().is_err(), "it is tried again later");
    }
}
