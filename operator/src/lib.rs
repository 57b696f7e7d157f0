//! The Roadstead operator: the shell around [`roadstead_operator_core`].
//!
//! Controllers look at objects and nodes, ask the core for ONE next step, and carry it out.

pub mod apply;
pub mod authority;
pub mod backoff;
pub mod cluster;
pub mod config;
pub mod context;
mod controllers;
pub mod error;
pub mod http;
pub mod leader;
pub mod metrics;
pub mod nodes;
pub mod queue;
pub mod refusal;
pub mod scaler;
pub mod zones;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kube::{Api, Client};
use roadstead_crds::{ConsumerScaler, Queue, QueueCluster};
use tokio::sync::watch;
use tracing::{info, warn};

use config::Config;
use context::Context;
use leader::LeaseLock;
use metrics::Metrics;
use nodes::Resolve;

const AGAIN: Duration = Duration::from_secs(2);
const FINISH: Duration = Duration::from_secs(15);

/// Runs the operator until `stop` is true. Boxed, so that it is compiled into this crate, and not
/// again into each program that runs it.
///
/// # Errors
/// When the HTTP listener cannot be opened, or the Lease was lost: then the process has to end.
pub fn run(
    client: Client,
    config: Config,
    resolve: Resolve,
    stop: watch::Receiver<bool>,
) -> BoxFuture<'static, Result<()>> {
    serve(client, config, resolve, stop).boxed()
}

async fn serve(
    client: Client,
    config: Config,
    resolve: Resolve,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let metrics = Arc::new(Metrics::default());
    let ready = Arc::new(AtomicBool::new(false));
    let health = http::Health {
        ready: ready.clone(),
        metrics: metrics.clone(),
    };
    let (address, server) = http::listen(config.http_listen, health)
        .await
        .with_context(|| {
            format!(
                "cannot listen on {}: choose --http-listen",
                config.http_listen
            )
        })?;
    info!(%address, version = env!("CARGO_PKG_VERSION"), "listens");
    tokio::select! {
        ended = server => ended.context("the HTTP listener failed"),
        led = lead(client, config, (resolve, metrics, ready), stop) => led,
    }
}

type Shared = (Resolve, Arc<Metrics>, Arc<AtomicBool>);

/// Waits for definitions and Lease, then works until the Lease is lost or it is told to stop.
async fn lead(
    client: Client,
    config: Config,
    (resolve, metrics, ready): Shared,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let lock = LeaseLock::new(&client, &config.namespace, &config.lease, &config.identity);
    let wait = async {
        definitions(&client).await;
        ready.store(true, Ordering::Relaxed);
        lock.acquire().await
    };
    let fence = tokio::select! {
        fence = wait => fence,
        () = stopped(stop.clone()) => return Ok(()),
    };
    metrics.leads.set(1);
    let context = Arc::new(Context::new(
        client,
        config,
        fence,
        resolve,
        metrics.clone(),
    ));
    let lost = tokio::select! {
        () = controllers::run(context.clone(), stop.clone()) => false,
        () = cluster::sweep::run(&context) => false,
        () = lock.hold(fence) => true,
        () = overdue(stop) => false,
    };
    metrics.leads.set(0);
    if lost {
        bail!("the Lease was lost: another operator may act now, so this one ends");
    }
    lock.release().await;
    Ok(())
}

/// Waits until the operator is told to stop.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means stop as well.
    drop(stop.wait_for(|stop| *stop).await);
}

/// What is begun when the operator is told to stop gets this long to finish.
async fn overdue(stop: watch::Receiver<bool>) {
    stopped(stop).await;
    tokio::time::sleep(FINISH).await;
}

/// Waits until all three kinds can be listed.
async fn definitions(client: &Client) {
    let params = kube::api::ListParams::default().limit(1);
    loop {
        let clusters = Api::<QueueCluster>::all(client.clone());
        let queues = Api::<Queue>::all(client.clone());
        let scalers = Api::<ConsumerScaler>::all(client.clone());
        let found = async {
            clusters.list_metadata(&params).await?;
            queues.list_metadata(&params).await?;
            scalers.list_metadata(&params).await
        };
        match found.await {
            Ok(_) => return,
            Err(error) => {
                warn!(%error, "waits for the definitions of chart roadstead-crds");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
