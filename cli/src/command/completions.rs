//! `roadstead completions SHELL`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// For which shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell; its script goes to stdout
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<()> {
        let mut command = crate::Cli::command();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "roadstead", &mut script);
        crate::output::line(String::from_utf8(script)?.trim_end())?;
        Ok(())
    }
}
