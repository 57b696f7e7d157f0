//! Wiring: what is watched, and who works on it.
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use roadstead_crds::{ConsumerScaler, NamespacesFrom, Queue, QueueCluster};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

use crate::context::Context;
use crate::queue::{Pace, Queues, cluster_key};
use crate::scaler::{Listener, Loads, Scalers, watch_all};
use crate::{cluster, queue, scaler, stopped};

const WAKES: usize = 1_024;

/// Runs all controllers until `stop` is true; what is begun is finished.
pub async fn run(context: Arc<Context>, stop: watch::Receiver<bool>) {
    let client = context.client.clone();
    let config = controller::Config::default().concurrency(context.config.concurrency);
    let any = watcher::Config::default();
    let clusters = Controller::new(Api::<QueueCluster>::all(client.clone()), any.clone());
    let store = clusters.store();
    let clusters = clusters
        .watches(
            Api::<Namespace>::all(client.clone()),
            any.clone(),
            move |_| open_clusters(&store),
        )
        .owns(Api::<StatefulSet>::all(client.clone()), any.clone())
        .with_config(config.clone())
        .graceful_shutdown_on(stopped(stop.clone()));
    let queues = watch_queues(&client)
        .with_config(config.clone())
        .graceful_shutdown_on(stopped(stop.clone()));
    let (wakes, woken) = mpsc::channel(WAKES);
    let scalers = Controller::new(Api::<ConsumerScaler>::all(client), any)
        .with_config(config)
        .reconcile_on(ReceiverStream::new(woken))
        .graceful_shutdown_on(stopped(stop));
    let loads = Arc::new(Loads::default());
    let listener = Listener {
        loads: loads.clone(),
        scalers: scalers.store(),
        queues: queues.store(),
        backoff: context.backoff.clone(),
        wakes,
    };
    let queue_context = Arc::new(Queues {
        context: context.clone(),
        clusters: clusters.store(),
        queues: queues.store(),
        pace: Pace::default(),
    });
    let stores = (queues.store(), scalers.store());
    let scaler_context = Arc::new(Scalers::new(context.clone(), stores, loads));
    let links = context.links.clone();
    let work = async {
        tokio::join!(
            clusters
                .run(
                    cluster::reconcile,
                    |c, e, x| x.failed(c.as_ref(), e),
                    context
                )
                .for_each(async |result| report(result)),
            queues
                .run(
                    queue::reconcile,
                    |q, e, x| x.context.failed(q.as_ref(), e),
                    queue_context
                )
                .for_each(async |result| report(result)),
            scalers
                .run(
                    scaler::reconcile,
                    |s, e, x| x.context.failed(s.as_ref(), e),
                    scaler_context
                )
                .for_each(async |result| report(result)),
        );
    };
    tokio::select! {
        () = work => {}
        () = watch_all(links, listener) => {}
    }
}

/// Clusters that other namespaces may use: a new one gets their CA.
fn open_clusters(clusters: &Store<QueueCluster>) -> Vec<ObjectRef<QueueCluster>> {
    let open =
        |cluster: &Arc<QueueCluster>| cluster.spec.queue_namespaces.from != NamespacesFrom::Same;
    clusters
        .state()
        .iter()
        .filter(|c| open(c))
        .map(|c| ObjectRef::from_obj(c.as_ref()))
        .collect()
}

/// Queues, and what wakes them.
fn watch_queues(client: &Client) -> Controller<Queue> {
    let any = watcher::Config::default();
    let queues = Controller::new(Api::<Queue>::all(client.clone()), any.clone());
    let store = queues.store();
    let spaces = Api::<Namespace>::all(client.clone());
    queues.watches(spaces, any, move |space| guests(&store, &space.name_any()))
}

/// Queues in clusters of other namespaces, which may let this one in by its labels.
fn guests(queues: &Store<Queue>, namespace: &str) -> Vec<ObjectRef<Queue>> {
    let all = queues.state();
    let guests = all.iter().filter(|queue| is_guest(queue, namespace));
    guests
        .map(|queue| ObjectRef::from_obj(queue.as_ref()))
        .collect()
}

fn is_guest(queue: &Queue, namespace: &str) -> bool {
    queue.namespace().as_deref() == Some(namespace) && cluster_key(queue).0 != namespace
}

fn report<T: Debug, E: std::error::Error>(result: Result<T, E>) {
    match result {
        Ok(done) => debug!(?done, "reconciled"),
        Err(error) => debug!(%error, "reconcile ended with an error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_of_a_namespace_matter_to_its_queues_in_clusters_of_others() {
        for (own, cluster, woken) in [
            ("shop", json!({"name": "main", "namespace": "queues"}), true),
            ("shop", json!({"name": "main", "namespace": "shop"}), false),
            ("shop", json!({"name": "main"}), false),
            ("bank", json!({"name": "main", "namespace": "shop"}), false),
        ] {
            let queue = json!({
                "apiVersion": "roadstead.dev/v1alpha1", "kind": "Queue",
                "metadata": {"name": "orders", "namespace": own}, "spec": {"clusterRef": cluster},
            });
            let queue: Queue = serde_json::from_value(queue).unwrap();
            assert_eq!(is_guest(&queue, "shop"), woken, "{own} {cluster}");
        }
    }
}
