//! Log lines of a node's process, on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, NodeConfig};

/// Starts logging as configured. Once per process; what embeds nodes has its own.
///
/// # Errors
/// When the filter cannot be read or something logs already.
pub fn start(config: &NodeConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| {
        anyhow::anyhow!(
            "--log {:?}: {error}; write for example info,h2=warn",
            config.log
        )
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let lines = lines.with_ansi(stderr().is_terminal());
    let started = match config.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
