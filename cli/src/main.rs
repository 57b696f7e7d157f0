//! The `roadstead` command.
#![allow(
    clippy::cast_precision_loss,
    reason = "figures for people, of a few digits"
)]

mod command;
mod connection;
mod embedded;
mod exit;
mod format;
mod names;
mod output;
mod payloads;
mod stop;
mod units;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser};
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;

use crate::command::Command;
use crate::connection::Connection;
use crate::output::Output;

/// The nodes' own, which `roadstead dev` runs, and `roadstead bench` loads.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Queues on Kubernetes that do not lose messages.
#[derive(Debug, Parser)]
#[command(
    name = "roadstead",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("ROADSTEAD_LOG").unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let error = without_what_is_given(error);
            return exit::usage(&error, output::json_is_asked_for(std::env::args_os()));
        }
    };
    let result = cli.command.run(&cli.connection, &cli.output).await;
    exit::code(result, cli.output.is_json())
}

/// The usage in an error shows what is missing, not what the environment gives.
fn without_what_is_given(mut error: clap::Error) -> clap::Error {
    fn plain(command: clap::Command) -> clap::Command {
        let command = command.mut_args(|argument| argument.env(None));
        command.mut_subcommands(plain)
    }
    let missing = ErrorKind::MissingRequiredArgument;
    if error.kind() == missing
        && let Err(other) = plain(Cli::command()).try_get_matches()
        && other.kind() == missing
        && let Some(usage) = other.get(ContextKind::Usage)
    {
        error.insert(ContextKind::Usage, usage.clone());
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_argument_is_explained() {
        fn walk(command: &clap::Command) {
            assert!(
                command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
            for argument in command.get_arguments() {
                let (command, id) = (command.get_name(), argument.get_id());
                assert!(argument.get_help().is_some(), "{command} {id} has no help");
            }
            command
                .get_subcommands()
                .filter(|one| one.get_name() != "help")
                .for_each(walk);
        }
        walk(&Cli::command());
    }
}
