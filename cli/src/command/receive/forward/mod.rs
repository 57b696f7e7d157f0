//! `roadstead receive QUEUE --forward ENDPOINT/NAMESPACE/QUEUE`: on to another cluster.

mod address;
mod target;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use roadstead_client::proto::OutgoingMessage;
use roadstead_client::{Client, Message, ReceivedMessage, SendError};
use tokio::time::sleep;

use self::address::Address;
use self::target::Target;
use super::Receive;
use super::several::{Verdict, Work};
use crate::connection::Connection;
use crate::exit::{Failure, Kind};
use crate::output::note;
use crate::stop::Stop;

/// Messages that are forwarded at once where nobody says how many: a batch.
pub const CONCURRENCY: usize = 256;
/// Between two tries to send a message. Each of them tries itself for longer.
const PAUSE: Duration = Duration::from_millis(500);

/// How messages are forwarded.
#[derive(Debug, Args)]
#[command(next_help_heading = "To another cluster")]
pub struct ForwardOptions {
    /// Send each message to this queue of another cluster, and ack it when it is acknowledged
    /// there. While the other cluster does not answer or is full, messages are held; one that it
    /// does not take goes back with the reason
    #[arg(long, value_name = "HOST:PORT[,...]/NAMESPACE/QUEUE", groups = ["done", "work"])]
    #[arg(value_parser = address::parse)]
    pub forward: Option<Address>,
    /// Speak TLS to the other cluster and trust the certificates in this PEM file
    #[arg(long, value_name = "FILE", requires = "forward")]
    forward_ca_file: Option<PathBuf>,
    /// Name in the other cluster's certificate, where it is not the host in the address
    #[arg(long, value_name = "NAME", requires = "forward")]
    forward_server_name: Option<String>,
    /// File with a `ServiceAccount` token of the other cluster, for the audience roadstead
    #[arg(long, value_name = "FILE", requires = "forward")]
    forward_token_file: Option<PathBuf>,
    /// Forward also to a queue without deduplication: a message whose acknowledgement was lost may
    /// be in it twice
    #[arg(long, requires = "forward")]
    at_least_once: bool,
}

/// Forwards messages.
pub struct Forwarder {
    target: Target,
    /// The cluster that messages come from, of which their ids are.
    origin: String,
    stop: Stop,
    /// It has been said that the target takes nothing now.
    waits: AtomicBool,
}

impl ForwardOptions {
    /// Looks at the target, if there is one. With --follow it waits until the target answers;
    /// `None` also when it is time to stop before that.
    ///
    /// # Errors
    /// When the target does not answer, is not there, or could not keep what is promised.
    pub async fn forwarder(
        &self,
        connection: &Connection,
        (client, stop): (&Client, &Stop),
        receive: &Receive,
    ) -> anyhow::Result<Option<Forwarder>> {
        let Some(address) = &self.forward else {
            return Ok(None);
        };
        let origin = client.topology().cluster_id.clone();
        let Some(target) = self
            .target(address, connection, stop, receive.follow)
            .await?
        else {
            return Ok(None);
        };
        if origin == target.cluster_id() && client.queue_ref(&receive.queue) == address.queue() {
            let message = format!("{address} is the queue that messages come from");
            return Err(Failure(Kind::Usage, message).into());
        }
        if !target.deduplicates && !self.at_least_once {
            let message = format!(
                "{address} has no deduplication: a message whose acknowledgement is lost would be \
                 in it twice. Give it some there, for longer than an outage may last: roadstead \
                 queue update {} --deduplication id --deduplication-window 24h; or take it as it \
                 is, with --at-least-once",
                address.name()
            );
            return Err(Failure(Kind::Refused, message).into());
        }
        Ok(Some(Forwarder {
            target,
            origin,
            stop: stop.clone(),
            waits: AtomicBool::new(false),
        }))
    }

    async fn target(
        &self,
        address: &Address,
        connection: &Connection,
        stop: &Stop,
        follow: bool,
    ) -> anyhow::Result<Option<Target>> {
        let secure = address.asks_for_tls() && self.forward_ca_file.is_none();
        if secure {
            let message = format!("{address} needs --forward-ca-file");
            return Err(Failure(Kind::Usage, message).into());
        }
        let builder = address.builder(connection);
        let builder = match &self.forward_ca_file {
            Some(file) => builder.ca_file(file),
            None => builder,
        };
        let builder = match &self.forward_server_name {
            Some(name) => builder.server_name(name),
            None => builder,
        };
        let builder = match &self.forward_token_file {
            Some(file) => builder.token_file(file),
            None => builder,
        };
        tokio::select! {
            biased;
            () = stop.once() => Ok(None),
            target = Target::find(builder, address, follow) => target.map(Some),
        }
    }
}

impl Work for Forwarder {
    async fn work(&self, message: &ReceivedMessage) -> anyhow::Result<Verdict> {
        loop {
            let sent = tokio::select! {
                biased;
                sent = self.target.send(self.copy(message)) => sent,
                () = self.stop.once(), if self.waits.load(Ordering::Relaxed) => {
                    return Ok(Verdict::Stopped);
                }
            };
            let error = match sent {
                Ok(accepted) => {
                    if self.waits.swap(false, Ordering::Relaxed) {
                        note(&format!("{} takes messages again", self.target.address()));
                    }
                    let before = accepted.duplicate && accepted.attempts == 1;
                    return Ok(Verdict::Taken { before });
                }
                Err(error) => error,
            };
            match &error {
                SendError::Refused(fault) if is_lost(fault.code.into()) => {}
                SendError::Refused(fault) if is_about_all(fault.code.into()) => {
                    return Err(self.target.failed(error));
                }
                SendError::Refused(fault) => {
                    self.check_target().await?;
                    let error = format!("{} refused it: {fault}", self.target.address());
                    return Ok(Verdict::Refused { delay: None, error });
                }
                SendError::NotSent { .. } | SendError::Unknown { .. } => {
                    if !self.waits.swap(true, Ordering::Relaxed) {
                        let address = self.target.address();
                        note(&format!(
                            "{address} takes nothing now, messages wait: {error}"
                        ));
                    }
                }
                SendError::Closed => return Err(self.target.failed(error)),
            }
            sleep(PAUSE).await;
        }
    }
}

impl Forwarder {
    /// The message as it goes on. Its id is of its cluster, and names its queue there.
    fn copy(&self, message: &ReceivedMessage) -> Message {
        let mut deduplication_id = String::new();
        if self.target.deduplicates {
            deduplication_id = format!("{}/{}", self.origin, message.id);
        }
        Message::from(OutgoingMessage {
            body: message.body.clone(),
            attributes: message.attributes.clone().into_iter().collect(),
            content_type: message.content_type.clone(),
            ordering_key: message.ordering_key.clone(),
            schema_id: message.schema_id.clone(),
            trace_parent: message.trace_parent.clone(),
            trace_state: message.trace_state.clone(),
            deduplication_id,
            priority: message.priority,
            fairness_key: message.fairness_key.clone(),
            ..OutgoingMessage::default()
        })
    }

    /// Fails when the queue itself, not the message, is in the way.
    async fn check_target(&self) -> anyhow::Result<()> {
        if self.target.has_changed().await? {
            let address = self.target.address();
            bail!("{address} has no deduplication any more; give it some, or say --at-least-once");
        }
        Ok(())
    }
}

/// Whether the number of a send, not the message, was refused (`ABORTED`, `OUT_OF_RANGE`): it was
/// given up before, and is sent anew.
fn is_lost(code: i32) -> bool {
    matches!(code, 10 | 11)
}

/// Whether it is no message's fault (`NOT_FOUND`, `PERMISSION_DENIED`, `FAILED_PRECONDITION`,
/// `UNAUTHENTICATED`).
fn is_about_all(code: i32) -> bool {
    matches!(code, 5 | 7 | 9 | 16)
}
