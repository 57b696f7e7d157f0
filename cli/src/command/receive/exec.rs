//! The command that runs for a message.

use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use roadstead_client::Delivery;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Bytes that are read of what a command prints: more than a message may have.
const PRINTED_MAX: u64 = 17 << 20;

/// A command in a process group of its own: what it started ends with it when it is cut short, and
/// Ctrl-C reaches whoever runs it alone.
pub struct Running {
    child: Child,
    /// `None` once the command has ended by itself.
    group: Option<u32>,
}

impl Running {
    /// Starts it, described to it by the environment. `kept`: what it prints is for [`end`].
    ///
    /// [`end`]: Self::end
    pub fn start(
        command: &str,
        queue: &str,
        delivery: &Delivery,
        kept: bool,
    ) -> anyhow::Result<Self> {
        let stdout = if kept {
            Stdio::piped()
        } else {
            Stdio::inherit()
        };
        let child = Command::new("sh")
            .args(["-c", command])
            .env("ROADSTEAD_MESSAGE_ID", &delivery.id)
            .env("ROADSTEAD_KEY", &delivery.ordering_key)
            .env(
                "ROADSTEAD_DELIVERY_COUNT",
                delivery.delivery_count.to_string(),
            )
            .env("ROADSTEAD_QUEUE", queue)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        let group = child.id();
        Ok(Self { child, group })
    }

    /// Hands it the body, and waits until it has ended. What it printed, where that is kept; of
    /// more than can be sent, a little more than that.
    pub async fn end(&mut self, body: &[u8]) -> anyhow::Result<(ExitStatus, Vec<u8>)> {
        let (stdin, stdout) = (self.child.stdin.take(), self.child.stdout.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A command that does not read its input is fine.
                let _ = stdin.write_all(body).await;
            }
        };
        let read = async {
            let mut printed = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(PRINTED_MAX).read_to_end(&mut printed).await?;
            }
            std::io::Result::Ok(printed)
        };
        let ((), printed) = tokio::join!(write, read);
        let printed = printed.context("cannot read what the command prints")?;
        let status = self.wait().await?;
        self.group = None;
        Ok((status, printed))
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal("TERM");
        self.wait().await
    }

    async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = self.child.wait().await;
        ended.context("cannot wait for the command")
    }

    fn signal(&self, name: &str) {
        let Some(group) = self.group else { return };
        // The shell that runs the command is there; its kill takes a group without unsafe code.
        let mut kill = std::process::Command::new("sh");
        kill.args(["-c", "kill -s \"$0\" -- \"-$1\"", name, &group.to_string()]);
        // A group that has ended already is fine.
        let _ = kill.stderr(Stdio::null()).status();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}
