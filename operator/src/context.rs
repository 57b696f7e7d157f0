//! What every controller needs.
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tracing::{debug, warn};

use crate::apply::Applier;
use crate::authority::Authorities;
use crate::backoff::{Backoff, key};
use crate::config::Config;
use crate::error::ReconcileError;
use crate::metrics::Metrics;
use crate::nodes::{Links, Resolve};
use crate::refusal::{self, Told};
use crate::zones::Zones;

/// A reconcile may take so long.
const LONGEST: Duration = Duration::from_mins(1);
/// The action of an event has at most so many bytes.
const ACTION_MAX: usize = 128;

/// What every controller needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the operator was told.
    pub config: Config,
    /// The number that goes with orders to nodes.
    pub fence: u64,
    /// Certificates.
    pub authorities: Authorities,
    /// Connections to nodes.
    pub links: Arc<Links>,
    /// Where pods are.
    pub resolve: Resolve,
    /// Server-side apply.
    pub applier: Applier,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Where pods run.
    pub zones: Zones,
    /// Objects that failed.
    pub backoff: Arc<Backoff>,
    recorder: Recorder,
}

impl Context {
    /// For an operator that leads with this fence.
    pub fn new(
        client: Client,
        config: Config,
        fence: u64,
        resolve: Resolve,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reporter = Reporter {
            controller: "roadstead-operator".to_owned(),
            instance: Some(config.identity.clone()),
        };
        Self {
            authorities: Authorities::new(&client, &config.namespace),
            recorder: Recorder::new(client.clone(), reporter),
            zones: Zones::new(&client),
            links: Arc::default(),
            applier: Applier::default(),
            backoff: Arc::default(),
            client,
            config,
            fence,
            resolve,
            metrics,
        }
    }

    /// Tells people what happened to an object. That it cannot be told stops nothing.
    pub async fn event(
        &self,
        object: &ObjectReference,
        warning: bool,
        (reason, note): (&str, String),
    ) {
        let event = told(warning, reason, &note);
        if let Err(error) = self.recorder.publish(&event, object).await {
            warn!(%error, reason, "cannot write an event");
        }
    }

    /// Bounds, counts and times a reconcile.
    ///
    /// # Errors
    /// Those of the reconcile, and when it took too long.
    pub async fn run<K>(
        &self,
        controller: &'static str,
        object: &K,
        reconcile: impl Future<Output = Result<Action, ReconcileError>>,
    ) -> Result<Action, ReconcileError>
    where
        K: Told,
    {
        let start = Instant::now();
        let result = tokio::time::timeout(LONGEST, Box::pin(reconcile)).await;
        let result = result.unwrap_or(Err(ReconcileError::TooLong(LONGEST.as_secs())));
        self.metrics
            .ran(controller, start.elapsed().as_secs_f64(), result.is_ok());
        match &result {
            Ok(_) => self.backoff.succeeded(&key(object)),
            Err(error) => {
                if let Some(reason) = error.refusal() {
                    refusal::tell(self, object, (reason, error.to_string())).await;
                }
            }
        }
        result
    }

    /// When to try again after a failure.
    pub fn failed<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        error: &ReconcileError,
    ) -> Action {
        let object = key(object);
        let said = error.to_string();
        let failed = self
            .backoff
            .failed(&object, &said, (rand::random(), Instant::now()));
        if failed.is_new {
            warn!(object, error = said, "reconcile failed");
        } else {
            debug!(object, error = said, "reconcile failed as before");
        }
        Action::requeue(failed.wait)
    }
}

/// The recorder folds events of one action and keeps the note of the first: so the action holds
/// what the note speaks of, which stands before its colon.
fn told(warning: bool, reason: &str, note: &str) -> Event {
    let about = note.split(": ").next().unwrap_or_default();
    let mut action = format!("{reason}: {about}");
    action.truncate(action.floor_char_boundary(ACTION_MAX));
    Event {
        type_: if warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: reason.to_owned(),
        note: Some(note.chars().take(1_000).collect()),
        action,
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::Router;
    use axum::body::Bytes;
    use axum::http::{Method, header};
    use serde_json::Value;

    use super::*;

    type Written = Arc<Mutex<Vec<(Method, String)>>>;

    /// An API server that takes everything, and what it was given: the method, and the note.
    async fn api_server() -> (Client, Written) {
        // Another test of this process may have chosen it already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let written = Written::default();
        let takes = written.clone();
        let take = async move |method: Method, body: Bytes| {
            let event: Value = serde_json::from_slice(&body).unwrap();
            let note = event["note"].as_str().unwrap().to_owned();
            takes.lock().unwrap().push((method, note));
            ([(header::CONTENT_TYPE, "application/json")], body)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = axum::serve(listener, Router::new().fallback(take));
        tokio::spawn(server.into_future());
        let config = kube::Config::new(url.parse().unwrap());
        (Client::try_from(config).unwrap(), written)
    }

    #[tokio::test]
    async fn events_about_different_nodes_are_not_folded() {
        let (client, written) = api_server().await;
        let recorder = Recorder::new(client, "operator".into());
        let object = ObjectReference {
            name: Some("main".into()),
            namespace: Some("queues".into()),
            ..ObjectReference::default()
        };
        for (pod, reason) in [("main-1", "a"), ("main-2", "b"), ("main-1", "c")] {
            let event = told(false, "Restart", &format!("Restart {pod}: {reason}"));
            recorder.publish(&event, &object).await.unwrap();
        }
        let said = |method, note: &str| (method, note.to_owned());
        let wanted = [
            said(Method::POST, "Restart main-1: a"),
            said(Method::POST, "Restart main-2: b"),
            said(Method::PATCH, "Restart main-1: a"),
        ];
        assert_eq!(*written.lock().unwrap(), wanted);
    }

    #[test]
    fn an_action_is_no_longer_than_the_api_server_takes() {
        let event = told(true, "Refused", &"ü".repeat(500));
        assert_eq!(event.action.len(), 127);
    }
}
