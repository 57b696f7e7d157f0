//! The command that runs for a message.

use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use roadstead_client::Delivery;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// A command in a process group of its own: what it started ends with it when it is cut short, and
/// Ctrl-C reaches whoever runs it alone.
pub struct Running {
    child: Child,
    /// `None` once the command has ended by itself.
    group: Option<u32>,
}

impl Running {
    /// Starts it, described to it by the environment.
    pub fn start(command: &str, queue: &str, delivery: &Delivery) -> anyhow::Result<Self> {
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
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        let group = child.id();
        Ok(Self { child, group })
    }

    /// Hands it the body, and waits until it has ended.
    pub async fn end(&mut self, body: &[u8]) -> anyhow::Result<ExitStatus> {
        if let Some(mut stdin) = self.child.stdin.take() {
            // A command that does not read its input is fine.
            let _ = stdin.write_all(body).await;
        }
        let status = self.wait().await?;
        self.group = None;
        Ok(status)
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
