//! `roadstead-operator`.
use anyhow::{Context, Result};
use clap::Parser;
use roadstead_operator::config::{Config, LogFormat};
use roadstead_operator::{nodes, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Runs Roadstead clusters on Kubernetes.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

#[tokio::main]
async fn main() -> Result<()> {
    let config = Arguments::parse().config;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another TLS provider was installed first");
    }
    let client = kube::Client::try_default()
        .await
        .context("cannot reach the API server: run in a pod, or set KUBECONFIG")?;
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody listens any more when the operator has ended by itself.
        let _ = stop.send(true);
    });
    run(client, config, nodes::resolve(), stopped).await
}
