//! The HTTP listener: health for Kubernetes, metrics for Prometheus. It shows no messages and no
//! names beside those of queues, and changes nothing.

mod connections;
mod metrics;
mod observation;
mod process;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::connections::{Limits, accept};
pub use self::observation::{Observation, Observe};

/// Serves until `stop` is cancelled.
///
/// * `/livez`: 200 while the process answers at all.
/// * `/readyz`: 200 when this node can serve, else 503 with the reason. Whether the cluster is
///   healthy makes no difference.
/// * `/metrics`: the node's numbers.
///
/// # Errors
/// Never: the log tells of a connection that cannot be accepted.
pub async fn serve(
    listener: TcpListener,
    node: Arc<dyn Observe>,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_within(listener, node, stop, Limits::default()).await;
    Ok(())
}

async fn serve_within(
    listener: TcpListener,
    node: Arc<dyn Observe>,
    stop: CancellationToken,
    limits: Limits,
) {
    let app = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        never = accept(listener, app, limits) => match never {},
    }
}

async fn ready(State(node): State<Arc<dyn Observe>>) -> Response {
    match node.readiness() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        )
            .into_response(),
    }
}

async fn metrics(State(node): State<Arc<dyn Observe>>) -> Response {
    let headers: [(HeaderName, &str); 1] = [(CONTENT_TYPE, metrics::CONTENT_TYPE)];
    match metrics::encode(node.observe()) {
        Ok(text) => (headers, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
