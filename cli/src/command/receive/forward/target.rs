//! The queue that messages are forwarded to.

use std::time::Duration;

use anyhow::anyhow;
use roadstead_client::{
    Accepted, CallError, Client, ClientBuilder, ConnectError, Message, Producer, SendError,
};
use tokio::time::sleep;

use super::address::Address;
use crate::exit;
use crate::output::note;

/// How long one try to send lasts: within the time for which a server knows it again.
const SEND: Duration = Duration::from_secs(15);
/// Between two looks for a cluster that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// A queue of another cluster.
pub struct Target {
    address: Address,
    client: Client,
    producer: Producer,
    /// It knows messages again by an id.
    pub deduplicates: bool,
}

impl Target {
    /// Looks for it, again and again when `patient`.
    ///
    /// # Errors
    /// When it is not there, may not be used, or, unless `patient`, does not answer.
    pub async fn find(
        builder: ClientBuilder,
        address: &Address,
        patient: bool,
    ) -> anyhow::Result<Self> {
        let mut waits = false;
        loop {
            let error = match Self::open(builder.clone(), address).await {
                Ok(target) => return Ok(target),
                Err(error) if patient && is_silent(&error) => error,
                Err(error) => return Err(error.context(format!("cannot forward to {address}"))),
            };
            if !waits {
                note(&format!(
                    "{address} does not answer yet: {}",
                    exit::text(&error)
                ));
                waits = true;
            }
            sleep(PAUSE).await;
        }
    }

    async fn open(builder: ClientBuilder, address: &Address) -> anyhow::Result<Self> {
        let client = builder.connect().await?;
        let producer = client
            .producer(address.name())
            .timeout(SEND)
            .attempts(u32::MAX);
        let producer = producer.start().await?;
        let deduplicates = deduplicates(&client, address).await?;
        Ok(Self {
            address: address.clone(),
            client,
            producer,
            deduplicates,
        })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn cluster_id(&self) -> String {
        self.client.topology().cluster_id.clone()
    }

    /// Whether it has deduplication no more and refuses every id, which is no message's fault.
    ///
    /// # Errors
    /// When the queue may not be looked at.
    pub async fn has_changed(&self) -> Result<bool, CallError> {
        match deduplicates(&self.client, &self.address).await {
            Ok(deduplicates) => Ok(self.deduplicates && !deduplicates),
            Err(CallError::Unreachable { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub async fn send(&self, message: Message) -> Result<Accepted, SendError> {
        self.producer.send(message).await
    }

    /// The error of a target that takes no message at all.
    pub fn failed(&self, error: SendError) -> anyhow::Error {
        anyhow!(error).context(format!("cannot forward to {}", self.address))
    }
}

async fn deduplicates(client: &Client, address: &Address) -> Result<bool, CallError> {
    let queue = client.queue(address.name()).await?;
    Ok(queue.spec.is_some_and(|spec| spec.deduplication.is_some()))
}

/// Whether nobody answered.
fn is_silent(error: &anyhow::Error) -> bool {
    let connect = error.downcast_ref::<ConnectError>();
    let call = error.downcast_ref::<CallError>();
    matches!(connect, Some(ConnectError::Unreachable { .. }))
        || matches!(call, Some(CallError::Unreachable { .. }))
}
