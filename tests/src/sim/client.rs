//! How simulated clients reach a gateway: calls and streams that get lost, each in its own way.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt::{AsyncRuntime as _, Select2};
use roadstead_node::auth::Principal;
use roadstead_node::gateway::{ApiError, Gateway};
use roadstead_proto::v1::{ReceiveStreamRequest, ReceiveStreamResponse};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::context::{below, count, millis, note, one_in};
use super::net::within;
use super::process::{outside, spawn};
use super::runtime::Sim;

/// A call that takes longer is given up; what became of it is not known.
const PATIENCE: Duration = Duration::from_secs(7);

/// Why a call gave no answer.
#[derive(Debug)]
pub enum Failed {
    /// It was not made, or was refused before it had an effect.
    Refused(String),
    /// Whether it took effect is not known.
    Unknown(String),
    /// The gateway says what is wrong.
    Said(ApiError),
}

/// The clients' way to the cluster.
#[derive(Clone)]
pub struct Channel {
    cluster: Arc<Cluster>,
    /// One call or frame in so many is lost; 0 for none.
    lossy: Arc<std::sync::atomic::AtomicU64>,
}

impl Channel {
    /// A channel that loses one call in so many.
    pub fn new(cluster: Arc<Cluster>, lossy: u64) -> Self {
        Self {
            cluster,
            lossy: Arc::new(lossy.into()),
        }
    }

    /// From now on nothing is lost.
    pub fn calm_down(&self) {
        self.lossy.store(0, std::sync::atomic::Ordering::Relaxed);
    }

    fn loses(&self) -> bool {
        let lossy = self.lossy.load(std::sync::atomic::Ordering::Relaxed);
        lossy > 0 && one_in(lossy)
    }

    /// Some host.
    pub fn any_host(&self) -> usize {
        usize::try_from(below(self.cluster.hosts.len() as u64)).unwrap_or_default()
    }

    /// Calls the gateway of a host.
    pub async fn call<T, F>(
        &self,
        host: usize,
        call: impl FnOnce(Arc<Gateway<Sim>>) -> F,
    ) -> Result<T, Failed>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        Sim::sleep(Duration::from_micros(50 + below(500))).await;
        if self.loses() {
            count("client request lost");
            Sim::sleep(millis(200, 1_000)).await;
            return Err(Failed::Unknown("the request was lost".to_owned()));
        }
        let Some(running) = self.cluster.hosts[host].running() else {
            Sim::sleep(millis(1, 20)).await;
            return Err(Failed::Refused(format!("host {host} is down")));
        };
        let serving = running.process.spawn(call(running.node.gateway().clone()));
        let answer = match within(PATIENCE, serving).await {
            Some(Ok(Ok(answer))) => answer,
            Some(_) => return Err(Failed::Unknown(format!("host {host} crashed meanwhile"))),
            None => {
                return Err(Failed::Unknown(format!(
                    "host {host} did not answer in time"
                )));
            }
        };
        if self.loses() {
            count("client answer lost");
            Sim::sleep(millis(200, 1_000)).await;
            return Err(Failed::Unknown("the answer was lost".to_owned()));
        }
        Sim::sleep(Duration::from_micros(50 + below(500))).await;
        answer.map_err(Failed::Said)
    }

    /// Opens a stream of deliveries at a host; nothing when it is down.
    pub fn receive_stream(&self, host: usize) -> Option<Stream> {
        let running = self.cluster.hosts[host].running()?;
        let (up, frames) = mpsc::channel(16);
        let (far_up, far_frames) = mpsc::channel(16);
        let (near_down, down) = mpsc::channel(16);
        let gateway = running.node.gateway().clone();
        let far_down = running
            .process
            .enter(|| gateway.receive_stream(Principal::Anonymous, far_frames));
        let broken = CancellationToken::new();
        outside(|| {
            drop(spawn(carry(self.clone(), broken.clone(), frames, far_up)));
            drop(spawn(carry(self.clone(), broken, far_down, near_down)));
        });
        Some(Stream { up, down })
    }
}

/// A client's ends of a stream of deliveries.
pub struct Stream {
    /// To the gateway.
    pub up: mpsc::Sender<ReceiveStreamRequest>,
    /// From the gateway; ends when the stream is broken.
    pub down: mpsc::Receiver<Result<ReceiveStreamResponse, ApiError>>,
}

/// Carries one direction of a stream until either end closes it or it breaks.
async fn carry<T: Send>(
    channel: Channel,
    broken: CancellationToken,
    mut frames: mpsc::Receiver<T>,
    into: mpsc::Sender<T>,
) {
    let carrying = async {
        while let Some(frame) = frames.recv().await {
            Sim::sleep(Duration::from_micros(50 + below(800))).await;
            if channel.loses() && one_in(5) {
                count("client stream broken");
                note(format_args!("a client's stream breaks"));
                broken.cancel();
                return;
            }
            if into.send(frame).await.is_err() {
                return;
            }
        }
    };
    match Sim::select2(pin!(broken.cancelled()), pin!(carrying)).await {
        Select2::First(()) => {}
        // The other direction may go on: a client that ends its stream still reads answers.
        Select2::Second(()) => Sim::sleep(Duration::from_millis(50)).await,
    }
    broken.cancel();
}
