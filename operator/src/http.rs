//! `/livez`, `/readyz` and `/metrics`.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Router, serve};
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What the endpoints tell.
#[derive(Clone)]
pub struct Health {
    /// The custom resource definitions are there and the API server answers.
    pub ready: Arc<AtomicBool>,
    /// See [`Metrics`].
    pub metrics: Arc<Metrics>,
}

/// Opens the listener; returns its address and the future that serves it.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn listen(
    address: SocketAddr,
    health: Health,
) -> std::io::Result<(SocketAddr, impl Future<Output = std::io::Result<()>>)> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(async |State(health): State<Health>| health.metrics.text()),
        )
        .with_state(health);
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((address, serve(listener, router).into_future()))
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        let text = "the custom resource definitions are missing: install chart roadstead-crds\n";
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}
