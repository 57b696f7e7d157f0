//! The `roadstead-node` binary.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use roadstead_node::config::{NodeConfig, units};
use roadstead_node::process::{NodeProcess, logging, scrub, storage};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// A tenth less CPU per message than glibc's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What closing files and connections may take beyond the grace for handing over.
const CLOSING: Duration = Duration::from_secs(4);

/// A node of a Roadstead cluster: replicated message queues. Without a command it runs until it is
/// told to stop
#[derive(Parser)]
#[command(
    name = "roadstead-node",
    version,
    args_conflicts_with_subcommands = true
)]
#[command(subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    config: Option<NodeConfig>,
}

#[derive(Subcommand)]
enum Command {
    /// Reads every row of a data directory, for a node that starts after a crash
    CheckData {
        /// The directory; without --while-running no node may be using it
        directory: PathBuf,
        /// Reads beside a node that uses it, and writes down what was found
        #[arg(long)]
        while_running: bool,
        /// Bytes a second that are read beside a node: 64Ki or more
        #[arg(long, value_name = "SIZE", value_parser = units::bytes, default_value = "8Mi")]
        #[arg(requires = "while_running")]
        rate: u64,
    },
    /// Gives up damaged data: the node comes back as a new one, the old data is kept beside
    SetAside {
        /// The directory; no node may be using it
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match (cli.command, cli.config) {
        (
            Some(Command::CheckData {
                directory,
                while_running: true,
                rate,
            }),
            _,
        ) => check_beside(&directory, rate),
        (Some(Command::CheckData { directory, .. }), _) => check_data(&directory),
        (Some(Command::SetAside { directory }), _) => set_aside(&directory),
        (None, Some(config)) => run(config),
        (None, None) => Err(anyhow::anyhow!(
            "nothing to do; give --data-dir, --name and --tls-dir, or see roadstead-node --help"
        )),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // Not every failure comes after logging has started.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("roadstead-node: {error:#}\n").as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}

fn run(config: NodeConfig) -> anyhow::Result<ExitCode> {
    config.validate()?;
    logging::start(&config)?;
    let runtime = runtime(config.worker_threads)?;
    let served = runtime.block_on(serve(config));
    // Whatever still blocks has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match served? {
        Served::Until(code) => Ok(code),
        Served::Damaged => Err(start_anew().into()),
    }
}

/// How a node's run ended.
enum Served {
    /// With this exit code.
    Until(ExitCode),
    /// What it holds is damaged: what to do about that is found out by the next start.
    Damaged,
}

/// Becomes the same command again; comes back only with an error.
fn start_anew() -> std::io::Error {
    match std::env::current_exe() {
        Ok(binary) => process::Command::new(binary)
            .args(std::env::args_os().skip(1))
            .exec(),
        Err(error) => error,
    }
}

fn runtime(workers: Option<usize>) -> std::io::Result<Runtime> {
    match workers {
        Some(1) => Builder::new_current_thread().enable_all().build(),
        Some(workers) => Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build(),
        None => Builder::new_multi_thread().enable_all().build(),
    }
}

async fn serve(config: NodeConfig) -> anyhow::Result<Served> {
    let walker = std::env::current_exe()?;
    let grace = config.shutdown_grace;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut process = tokio::select! {
        biased;
        _ = terminate.recv() => return Ok(Served::Until(ExitCode::SUCCESS)),
        _ = interrupt.recv() => return Ok(Served::Until(ExitCode::SUCCESS)),
        started = NodeProcess::start_with(config, Some(walker)) => started?,
    };
    let failure = tokio::select! {
        biased;
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ending = process.failed() => {
            if process.is_damaged() {
                tracing::warn!("starting anew");
                if tokio::time::timeout(CLOSING, process.kill()).await.is_err() {
                    tracing::warn!("the store does not close; it is left");
                }
                return Ok(Served::Damaged);
            }
            ensure!(ending.in_order, "the node stops: {}", ending.why);
            Some(ending.why)
        }
    };
    tracing::info!(?grace, "stopping: leaderships move to other nodes");
    let stopped = async {
        tokio::select! {
            biased;
            () = process.shutdown(grace) => true,
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
        }
    };
    match tokio::time::timeout(grace + CLOSING, stopped).await {
        Ok(true) => {
            tracing::info!("stopped");
            failure.map_or(Ok(Served::Until(ExitCode::SUCCESS)), |why| {
                bail!("the node stops: {why}")
            })
        }
        Ok(false) => bail!("told to stop twice: stopped without finishing"),
        Err(_) => bail!("not stopped in order within {:?}", grace + CLOSING),
    }
}

fn check_data(directory: &Path) -> anyhow::Result<ExitCode> {
    Ok(if storage::walk(directory)? {
        ExitCode::SUCCESS
    } else {
        storage::DAMAGED.into()
    })
}

fn check_beside(directory: &Path, rate: u64) -> anyhow::Result<ExitCode> {
    ensure!(rate >= 64 << 10, "--rate {rate}: give 64Ki or more");
    let walked = scrub::walk(directory, rate)?;
    std::io::Write::write_all(&mut std::io::stdout(), walked.lines().as_bytes())?;
    Ok(match walked.damage {
        None => ExitCode::SUCCESS,
        Some(_) => storage::DAMAGED.into(),
    })
}

fn set_aside(directory: &Path) -> anyhow::Result<ExitCode> {
    let kept = storage::set_aside(directory)?;
    let line = format!("the old data is kept in {}\n", kept.display());
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
